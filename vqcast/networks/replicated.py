"""Convolutions over video that go on beyond its first and last slice as it begins and ends.

What stands still then has the same features at all times. With zeros there instead, each slice of a resting
scene would have codes of its own, and a prior as many spellings to learn.

Shapes: B batch, C channels; T, H, W.
"""

import torch
from torch import Tensor, nn

from vqcast.networks.strided import conv3d, conv_transpose3d


class ReplicatedConv3d(nn.Conv3d):
    """A convolution with replicate padding along time, zeros along height and width."""

    def forward(self, x: Tensor) -> Tensor:
        time, height, width = self.padding
        x = _with_ends(x, time)
        return conv3d(x, self.weight, self.bias, self.stride, (0, height, width))


class ReplicatedConvTranspose3d(nn.ConvTranspose3d):
    """A transposed convolution with replicate padding of its input along time."""

    def forward(self, x: Tensor) -> Tensor:
        time, height, width = self.padding
        margin = -(-time // self.stride[0])  # input slices that reach into the output from outside
        x = _with_ends(x, margin)
        cut = time + margin * self.stride[0]  # output slices that are of those ends
        padded = min(cut, self.kernel_size[0] - self.stride[0])
        whole = conv_transpose3d(x, self.weight, self.bias, self.stride, (padded, height, width))
        return whole.narrow(2, cut - padded, whole.shape[2] - 2 * (cut - padded))


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
