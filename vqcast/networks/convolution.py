"""Every 3D convolution of the networks: torch's own, except for sizes that it gets wrong on a CPU.

There oneDNN convolves (3.12 in torch 2.13), and four of its ways are wrong. Nothing tells but a comparison:
tests/test_numerics.py makes one for every layer. Where such a way would be taken, the same products are
summed another way; everywhere else, and on other devices, this is torch to the byte.

Shapes: B batch, I input channels, O output channels; T, H, W. Of the two sides of a convolution, the *wide*
one has all positions and the *narrow* one those that the stride leaves. A convolution goes from wide to
narrow, a transposed one from narrow to wide; the weight of both is (narrow, wide channels, t, h, w).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 32  # bfloat16 numbers in a row of a processor's tile (AMX)
MOST_OF_A_SLICE = 2**16  # numbers of both sides together; the fewest that went wrong were 73,000

Sizes = tuple[int, ...]  # along (T, H, W)
ONES, ZEROS = (1, 1, 1), (0, 0, 0)


class Conv3d(nn.Conv3d):
    """nn.Conv3d without groups or dilation, right on a CPU too."""

    def forward(self, x: Tensor) -> Tensor:
        return conv3d(x, self.weight, self.bias, self.stride, self.padding)


def conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes = ONES, padding: Sizes = ZEROS
) -> Tensor:
    """F.conv3d of `x` (B, I, T, H, W) and `weight` (O, I, t, h, w)."""
    if x.device.type == "cpu" and computed_in(x) == torch.bfloat16:
        whole = x.shape[4] + 2 * padding[2]
        stride = _stride_of(1 if whole == weight.shape[4] else whole, stride)
        missing = _missing_channels(weight, stride)
        x, weight = _with_channels(x, missing), _with_channels(weight, missing)
    if _weight_gradient_is_wrong(x, x.shape[2:], weight, stride, padding):
        return _Convolution.apply(*_as_computed(x, weight, bias), stride, padding, False)
    return F.conv3d(x, weight, bias, stride, padding)


def conv_transpose3d(x: Tensor, weight: Tensor, bias: Tensor, stride: Sizes, padding: Sizes) -> Tensor:
    """F.conv_transpose3d of `x` (B, I, T, H, W) and `weight` (I, O, t, h, w)."""
    outputs = weight.shape[1]
    if x.device.type == "cpu" and computed_in(x) == torch.bfloat16:
        stride = _stride_of(x.shape[4], stride)
        missing = _missing_channels(weight, stride)
        weight, bias = _with_channels(weight, missing), F.pad(bias, (0, missing)) if missing else bias
    wide = [
        (size - 1) * step + taps - 2 * cut
        for size, step, taps, cut in zip(x.shape[2:], stride, weight.shape[2:], padding, strict=True)
    ]
    if _weight_gradient_is_wrong(x, wide, weight, stride, padding):
        y = _Convolution.apply(*_as_computed(x, weight, bias), stride, padding, True)
    else:
        y = F.conv_transpose3d(x, weight, bias, stride, padding)
    return y if y.shape[1] == outputs else y[:, :outputs]


def computed_in(x: Tensor) -> torch.dtype:
    """The type of number in which a convolution of `x` is computed."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _stride_of(width: int, stride: Sizes) -> Sizes:
    """`stride` of a narrow side of this width; one position has no need of any along it.

    With one and a stride, what AMX makes of the wide side in bfloat16 is wrong (pytorch#169688).
    """
    return (*stride[:2], 1) if width == 1 else stride


def _missing_channels(weight: Tensor, stride: Sizes) -> int:
    """Channels of zeros without which what AMX makes of the wide side in bfloat16 is wrong.

    Few channels by the kernel's width are one row to it, which goes wrong where it fills several of a tile.
    """
    channels, width = weight.shape[1], weight.shape[4]
    few = TILE if stride[2] == width else TILE // 2
    row = channels * width
    return TILE - channels if channels < few and row > TILE and row % TILE == 0 else 0


def _with_channels(x: Tensor, more: int) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 0, 0, 0, more)) if more else x


def _weight_gradient_is_wrong(
    x: Tensor, wide: list[int], weight: Tensor, stride: Sizes, padding: Sizes
) -> bool:
    """Whether oneDNN's is, for sizes `wide` (T, H, W) of the wide side.

    In bfloat16, AMX's is NaN or a few percent off where a slice of both sides is large.
    """
    dtype = computed_in(x) if x.device.type == "cpu" else None
    if dtype not in (torch.float32, torch.bfloat16):  # in float64 it is not oneDNN's
        return False
    slices, height, width = wide
    large = height * width * sum(weight.shape[:2]) > MOST_OF_A_SLICE
    return (large and dtype == torch.bfloat16) or _all_meet_padding(
        slices, weight.shape[2], stride[0], padding[0]
    )


def _all_meet_padding(slices: int, kernel: int, stride: int, padding: int) -> bool:
    """Whether every narrow slice meets padding, of which there is a stride or more.

    oneDNN then miscounts, and writes beyond its memory.
    """
    at_the_start = -(-padding // stride)  # narrow slices that meet it
    first_at_the_end = -(-(slices + padding - kernel + 1) // stride)
    return padding >= stride > 1 and first_at_the_end <= at_the_start


def _as_computed(*tensors: Tensor | None) -> list[Tensor | None]:
    dtype = computed_in(tensors[0])
    return [None if tensor is None else tensor.to(dtype) for tensor in tensors]


class _Convolution(torch.autograd.Function):
    """A convolution, or a transposed one, whose weight gradient oneDNN gets right."""

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.transposed = stride, padding, transposed
        return torch.convolution(x, weight, bias, stride, padding, ONES, transposed, ZEROS, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            how = (ctx.stride, ctx.padding, ONES, ctx.transposed, ZEROS, 1)
            parts = torch.ops.aten.convolution_backward(gradient, x, weight, None, *how, (True, False, False))
            of_x = parts[0]
        if ctx.needs_input_grad[1]:
            wide, narrow = (gradient, x) if ctx.transposed else (x, gradient)
            of_weight = _weight_gradient(wide, narrow, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3, 4))
        return of_x, of_weight, of_bias, None, None, None


def _weight_gradient(wide: Tensor, narrow: Tensor, weight: Tensor, stride: Sizes, padding: Sizes) -> Tensor:
    """Of a convolution from `wide` to `narrow`: in float32, and padded along time by hand."""
    time, height, width = padding
    wide = F.pad(wide.float(), (0, 0, 0, 0, time, time))
    how = (stride, (0, height, width), ONES, False, ZEROS, 1)
    parts = torch.ops.aten.convolution_backward(
        narrow.float(), wide, weight.float(), None, *how, (False, True, False)
    )
    return parts[1].to(weight.dtype)
