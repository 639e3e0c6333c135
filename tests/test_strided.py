"""Convolutions over blocks against torch's strided ones."""

import pytest
import torch
import torch.nn.functional as F

from vqcast.networks.strided import conv_of_blocks, conv_to_blocks

# Kernels, strides, paddings: Table 3's two layers, Table 5's, and Table 6's three kinds.
SHAPES = [
    ((4, 8, 8), (2, 4, 4), (1, 2, 2)),
    ((4, 4, 4), (2, 2, 2), (1, 1, 1)),
    ((4, 3, 3), (2, 1, 1), (1, 1, 1)),
    ((3, 4, 4), (1, 2, 2), (1, 1, 1)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("kind", ["convolution", "transposed"])
def test_values_and_gradients_are_those_of_torch(kind, kernel, stride, padding):
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    x, bias = drawn(2, 3, 4, 8, 12), drawn(5)
    if kind == "convolution":
        weight = drawn(5, 3, *kernel)
        wanted = F.conv3d(x, weight, bias, stride, padding)
        t, h, w = padding
        seen = conv_of_blocks(F.pad(x, (w, w, h, h, t, t)), weight, bias, stride)
    else:
        weight = drawn(3, 5, *kernel)
        wanted = F.conv_transpose3d(x, weight, bias, stride, padding)
        seen = conv_to_blocks(x, weight, bias, stride, padding)
    torch.testing.assert_close(seen, wanted)
    gradient = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(out, (x, weight, bias), gradient) for out in (seen, wanted))
    for value, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(value, other)
