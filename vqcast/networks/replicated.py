"""Convolutions over video that go on beyond its first and last slice as it begins and ends.

What stands still then has the same features at all times. With zeros there instead, each slice of a resting
scene would have codes of its own, and a prior as many spellings to learn.

Shapes: B batch, C or I input channels, O output channels; T, H, W.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_CHANNELS = 16  # with fewer, oneDNN's bfloat16 convolutions leave most of the processor's tiles empty


class ReplicatedConv3d(nn.Conv3d):
    """A convolution with replicate padding along time, zeros along height and width."""

    def forward(self, x: Tensor) -> Tensor:
        time, height, width = self.padding
        x = _with_ends(x, time)
        if self.in_channels < FEW_CHANNELS and _takes_blocks(x, self):
            x = F.pad(x, (width, width, height, height))
            if all(size % stride == 0 for size, stride in zip(x.shape[2:], self.stride, strict=True)):
                return _conv_of_blocks(x, self.weight, self.bias, self.stride)
            return F.conv3d(x, self.weight, self.bias, self.stride)
        return F.conv3d(x, self.weight, self.bias, self.stride, (0, height, width))


class ReplicatedConvTranspose3d(nn.ConvTranspose3d):
    """A transposed convolution with replicate padding of its input along time."""

    def forward(self, x: Tensor) -> Tensor:
        time, height, width = self.padding
        margin = -(-time // self.stride[0])  # input slices that reach into the output from outside
        x = _with_ends(x, margin)
        padding = (time + margin * self.stride[0], height, width)
        if self.out_channels < FEW_CHANNELS and _takes_blocks(x, self):
            return _conv_to_blocks(x, self.weight, self.bias, self.stride, padding)
        return F.conv_transpose3d(x, self.weight, self.bias, self.stride, padding)


def _takes_blocks(x: Tensor, conv: nn.Conv3d | nn.ConvTranspose3d) -> bool:
    """Whether `conv` is one of two taps an axis over blocks of the size of its stride, which is faster then.

    With bfloat16 on a CPU it takes half as long; in float32 it would take longer.
    """
    in_bfloat16 = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    twice = all(size == 2 * stride for size, stride in zip(conv.kernel_size, conv.stride, strict=True))
    return x.device.type == "cpu" and in_bfloat16 and twice


def _conv_of_blocks(x: Tensor, weight: Tensor, bias: Tensor, stride: tuple[int, ...]) -> Tensor:
    """F.conv3d without padding, of kernels twice the stride: the values of a block become channels."""
    (t, h, w), (batch, inputs, *sizes) = stride, x.shape
    grid = [size // step for size, step in zip(sizes, stride, strict=True)]
    blocks = x.bfloat16().view(batch, inputs, grid[0], t, grid[1], h, grid[2], w)
    blocks = blocks.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(batch, *grid, -1).movedim(-1, 1)
    taps = weight.view(-1, inputs, 2, t, 2, h, 2, w).permute(0, 3, 5, 7, 1, 2, 4, 6)
    taps = taps.reshape(len(weight), -1, 2, 2, 2).contiguous(memory_format=torch.channels_last_3d)
    return F.conv3d(blocks, taps, bias)


def _conv_to_blocks(
    x: Tensor, weight: Tensor, bias: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """F.conv_transpose3d of kernels twice the stride: channels become the values of a block."""
    (t, h, w), (inputs, outputs) = stride, weight.shape[:2]
    taps = weight.view(inputs, outputs, 2, t, 2, h, 2, w).flip(2, 4, 6).permute(3, 5, 7, 1, 0, 2, 4, 6)
    taps = taps.reshape(-1, inputs, 2, 2, 2).contiguous(memory_format=torch.channels_last_3d)
    blocks = F.conv3d(x, taps, bias.repeat(t * h * w), padding=1).movedim(1, -1)
    batch, *grid, _ = blocks.shape
    blocks = blocks.view(batch, *grid, t, h, w, outputs).permute(0, 1, 4, 2, 5, 3, 6, 7)
    whole = blocks.reshape(batch, grid[0] * t, grid[1] * h, grid[2] * w, outputs).movedim(-1, 1)
    inner = [slice(cut, size - cut) for cut, size in zip(padding, whole.shape[2:], strict=True)]
    return whole[:, :, *inner]


class _WithEnds(torch.autograd.Function):
    """`x` (B, C, T, H, W) with its first and last slice repeated `times` more on either side.

    Autograd's own derivative would be three tensors of full size, in another memory format, and their sum.
    """

    @staticmethod
    def forward(ctx, x: Tensor, times: int) -> Tensor:
        ctx.times = times
        first, last = x[:, :, :1], x[:, :, -1:]
        return torch.cat([first] * times + [x] + [last] * times, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        times = ctx.times
        own = gradient[:, :, times:-times].clone(memory_format=torch.channels_last_3d)
        own[:, :, :1] += gradient[:, :, :times].sum(2, keepdim=True)
        own[:, :, -1:] += gradient[:, :, -times:].sum(2, keepdim=True)
        return own, None


def _with_ends(x: Tensor, times: int) -> Tensor:
    return _WithEnds.apply(x, times) if times else x
