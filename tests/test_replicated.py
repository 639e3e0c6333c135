"""Convolutions of video against those of torch, what is beyond its ends made by hand."""

import pytest
import torch
import torch.nn.functional as F

from vqcast.networks.replicated import ReplicatedConv3d, ReplicatedConvTranspose3d

# Kernels, strides, paddings of the VQ-VAE's first and last layer, of others like them, and of a residual one.
SHAPES = [
    ((4, 8, 8), (2, 4, 4), (1, 2, 2)),
    ((4, 4, 4), (2, 2, 2), (1, 1, 1)),
    ((3, 4, 4), (1, 2, 2), (1, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
]


def with_ends(x: torch.Tensor, times: int) -> torch.Tensor:
    return torch.cat([x[:, :, :1]] * times + [x] + [x[:, :, -1:]] * times, 2)


def convolution(layer, x):
    time, *space = layer.padding
    return F.conv3d(with_ends(x, time), layer.weight, layer.bias, layer.stride, (0, *space))


def transposed(layer, x):
    """On an input that goes on much further than can be seen."""
    whole = F.conv_transpose3d(with_ends(x, 3), layer.weight, layer.bias, layer.stride, layer.padding)
    cut = 3 * layer.stride[0]
    return whole[:, :, cut:-cut]


@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["convolution", "transposed"])
def test_values_and_gradients_are_those_of_torch_in_float32(kind, dtype, kernel, stride, padding, channels):
    torch.manual_seed(0)
    if kind == "convolution":
        layer, expected, size = ReplicatedConv3d(channels, 24, kernel, stride, padding), convolution, 8
    else:
        layer = ReplicatedConvTranspose3d(24, channels, kernel, stride, padding)
        expected, size = transposed, 4
    x = torch.randn(2, layer.in_channels, size, 2 * size, 3 * size, requires_grad=True)
    wanted = expected(layer, x)
    gradient = torch.randn_like(wanted)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        seen = layer(x)
    assert seen.dtype == dtype
    learned = (x, layer.weight, layer.bias)
    ours = [seen, *torch.autograd.grad(seen, learned, gradient.to(dtype))]
    theirs = [wanted, *torch.autograd.grad(wanted, learned, gradient)]
    for value, other in zip(ours, theirs, strict=True):
        error = (value - other).square().mean().sqrt() / other.square().mean().sqrt()
        assert error < (1e-5 if dtype == torch.float32 else 1e-2)  # bfloat16 has 8 bits


@pytest.mark.parametrize("slices", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [24, 64])
def test_a_few_slices_are_transposed_as_many_are(slices, channels):
    """oneDNN's weight gradient is wrong, or writes where it must not, where all but a little is padding."""
    torch.manual_seed(0)
    layer = ReplicatedConvTranspose3d(channels, channels, 4, 2, 1)
    x = torch.randn(2, channels, slices, 8, 8, requires_grad=True)
    double = torch.nn.ConvTranspose3d(channels, channels, 4, 2, 1, dtype=torch.float64)
    double.load_state_dict(layer.state_dict())
    wanted = transposed(double, x.double())
    gradient = torch.randn(wanted.shape)
    ours = torch.autograd.grad(layer(x), (x, layer.weight, layer.bias), gradient)
    theirs = torch.autograd.grad(wanted, (x, double.weight, double.bias), gradient.double())
    for value, other in zip(ours, theirs, strict=True):
        assert torch.allclose(value.double(), other.double(), rtol=0, atol=1e-5 * float(other.abs().max()))


def test_a_size_that_no_block_divides_is_convolved_all_the_same():
    layer = ReplicatedConv3d(3, 24, (4, 8, 8), (2, 4, 4), (1, 2, 2))
    x = torch.randn(1, 3, 7, 18, 21)
    with torch.autocast("cpu", torch.bfloat16):
        seen = layer(x)
    torch.testing.assert_close(seen.float(), convolution(layer, x), rtol=0.05, atol=0.05)
