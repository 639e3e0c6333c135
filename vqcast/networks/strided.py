"""Strided convolutions of video, where that is faster as convolutions without strides over blocks.

A block, of the size of the stride, becomes one position whose values are channels. The products are the same.
cuDNN has no fast kernels for many of the strided ones (a layer of Table 6 took 18 times as long), and
tensor cores, as oneDNN's tiles on a CPU, want more channels than a video's three.

Shapes: B batch, I input channels, O output channels; T, H, W.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcast.networks import convolution
from vqcast.networks.convolution import Sizes, computed_in

FEW_CHANNELS = 16  # with fewer, oneDNN's bfloat16 convolutions leave most of the processor's tiles empty


class StridedConv3d(nn.Conv3d):
    """nn.Conv3d, over blocks where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        return conv3d(x, self.weight, self.bias, self.stride, self.padding)


class StridedConvTranspose3d(nn.ConvTranspose3d):
    """nn.ConvTranspose3d, over blocks where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        return conv_transpose3d(x, self.weight, self.bias, self.stride, self.padding)


def conv3d(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes) -> Tensor:
    """F.conv3d of `x` (B, I, T, H, W) and `weight` (O, I, t, h, w)."""
    whole = [size + 2 * added for size, added in zip(x.shape[2:], padding, strict=True)]
    if _takes_blocks(x, x.shape[1], weight, stride) and _divides(stride, whole):
        t, h, w = padding
        return conv_of_blocks(F.pad(x, (w, w, h, h, t, t)), weight, bias, stride)
    return convolution.conv3d(x, weight, bias, stride, padding)


def conv_transpose3d(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes) -> Tensor:
    """F.conv_transpose3d of `x` (B, I, T, H, W) and `weight` (I, O, t, h, w)."""
    if _takes_blocks(x, weight.shape[1], weight, stride):
        return conv_to_blocks(x, weight, bias, stride, padding)
    return convolution.conv_transpose3d(x, weight, bias, stride, padding)


def _takes_blocks(x: Tensor, channels: int, weight: Tensor, stride: Sizes) -> bool:
    """Whether blocks are faster; `channels` are those that become more.

    On a CPU, for few channels in bfloat16 and kernels of twice the stride, they take half as long; in float32
    they would take longer.
    """
    kernel = weight.shape[2:]
    if x.device.type == "cuda":
        return max(stride) > 1 and _divides(stride, kernel)
    twice = all(size == 2 * step for size, step in zip(kernel, stride, strict=True))
    return x.device.type == "cpu" and channels < FEW_CHANNELS and twice and computed_in(x) == torch.bfloat16


def _divides(steps: Sizes, sizes: Sizes | list[int]) -> bool:
    return all(size % step == 0 for size, step in zip(sizes, steps, strict=True))


def conv_of_blocks(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes) -> Tensor:
    """F.conv3d without padding, of kernels and sizes that are multiples of the stride."""
    (t, h, w), (batch, inputs, *sizes) = stride, x.shape
    grid = [size // step for size, step in zip(sizes, stride, strict=True)]
    taps = [size // step for size, step in zip(weight.shape[2:], stride, strict=True)]
    if computed_in(x) == torch.bfloat16:
        x = x.bfloat16()
    blocks = x.view(batch, inputs, grid[0], t, grid[1], h, grid[2], w)
    blocks = blocks.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(batch, *grid, -1).movedim(-1, 1)
    kernel = weight.view(-1, inputs, taps[0], t, taps[1], h, taps[2], w).permute(0, 3, 5, 7, 1, 2, 4, 6)
    kernel = kernel.reshape(len(weight), -1, *taps).contiguous(memory_format=torch.channels_last_3d)
    return convolution.conv3d(blocks, kernel, bias)


def conv_to_blocks(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes) -> Tensor:
    """F.conv_transpose3d of kernels that are multiples of the stride."""
    (t, h, w), (inputs, outputs) = stride, weight.shape[:2]
    taps = [size // step for size, step in zip(weight.shape[2:], stride, strict=True)]
    kernel = weight.view(inputs, outputs, taps[0], t, taps[1], h, taps[2], w)
    kernel = kernel.flip(2, 4, 6).permute(3, 5, 7, 1, 0, 2, 4, 6).reshape(-1, inputs, *taps)
    kernel = kernel.contiguous(memory_format=torch.channels_last_3d)
    margins = [tap - 1 for tap in taps]
    blocks = convolution.conv3d(x, kernel, bias.repeat(t * h * w), padding=margins).movedim(1, -1)
    batch, *grid, _ = blocks.shape
    blocks = blocks.view(batch, *grid, t, h, w, outputs).permute(0, 1, 4, 2, 5, 3, 6, 7)
    whole = blocks.reshape(batch, grid[0] * t, grid[1] * h, grid[2] * w, outputs).movedim(-1, 1)
    inner = [slice(cut, size - cut) for cut, size in zip(padding, whole.shape[2:], strict=True)]
    return whole[:, :, *inner]
