"""Inception-v1 I3D for Kinetics-400 (Carreira and Zisserman 2017), the network inside FVD.

Every tensor bears the name it has in DeepMind's `rgb_scratch` checkpoint: replace the dots of a
state_dict key by slashes and put `RGB/inception_i3d/` before it. A convolution's `w` is (out, in, T,
H, W) here and (T, H, W, in, out) there; all else has the same shape.

Shapes: B videos, C channels, T frames, H height, W width.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcast.networks.convolution import conv3d

LOGITS = 400
BATCH_NORM_EPSILON = 1e-3

# Filters of each inception block: 1x1 | 1x1 then 3x3 | 1x1 then 3x3 | 1x1 after pooling.
BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


Sizes = tuple[int, ...]  # along T, H, W


def same_padding(sizes: Sizes, filters: Sizes, strides: Sizes) -> list[tuple[int, int]]:
    """TensorFlow's SAME: (before, after) along each axis; the odd one goes after."""
    padding = []
    for size, filter_, stride in zip(sizes, filters, strides, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + filter_ - size, 0)
        padding.append((total // 2, total - total // 2))
    return padding


def _pad_same(x: Tensor, filters: Sizes, strides: Sizes, value: float) -> tuple[Tensor, Sizes]:
    """`x` padded by `value` where SAME is asymmetric, and the symmetric padding still to be applied."""
    padding = same_padding(tuple(x.shape[2:]), filters, strides)
    if all(before == after for before, after in padding):
        return x, tuple(before for before, _ in padding)
    last_axis_first = [amount for pair in reversed(padding) for amount in pair]
    return functional.pad(x, last_axis_first, value=value), (0, 0, 0)


def max_pool_same(x: Tensor, filters: Sizes, strides: Sizes) -> Tensor:
    """Max pooling with SAME padding, whose padded positions never win."""
    x, padding = _pad_same(x, filters, strides, -math.inf)
    return functional.max_pool3d(x, filters, strides, padding)


class Conv3d(nn.Module):
    """Weights of a convolution, with a bias only where no batch norm follows."""

    def __init__(self, in_channels: int, out_channels: int, filters: Sizes, bias: bool = False):
        super().__init__()
        self.w = nn.Parameter(torch.empty(out_channels, in_channels, *filters))
        self.b = nn.Parameter(torch.zeros(out_channels)) if bias else None


class BatchNorm(nn.Module):
    """Batch norm at inference, without scale: (x - mean) / sqrt(variance + epsilon) + beta."""

    def __init__(self, channels: int):
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("moving_mean", torch.zeros(channels))
        self.register_buffer("moving_variance", torch.ones(channels))

    def folded_into(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that equals `weight` followed by this."""
        scale = torch.rsqrt(self.moving_variance + BATCH_NORM_EPSILON)
        return weight * scale.view(-1, 1, 1, 1, 1), self.beta - self.moving_mean * scale


class Unit(nn.Module):
    """Convolution with SAME padding, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int = 1):
        super().__init__()
        self.filters, self.strides = (size,) * 3, (stride,) * 3
        self.conv_3d = Conv3d(in_channels, out_channels, self.filters)
        self.batch_norm = BatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.batch_norm.folded_into(self.conv_3d.w)
        x, padding = _pad_same(x, self.filters, self.strides, 0.0)
        return functional.relu_(conv3d(x, weight, bias, self.strides, padding))


class Inception(nn.Module):
    """Four branches side by side, joined along the channels."""

    def __init__(self, name: str, in_channels: int):
        super().__init__()
        one, narrow_1, wide_1, narrow_2, wide_2, pooled = BLOCKS[name]
        # The published checkpoint misnames this one convolution.
        second = "Conv3d_0a_3x3" if name == "Mixed_5b" else "Conv3d_0b_3x3"
        self.Branch_0 = nn.Sequential()
        self.Branch_0.add_module("Conv3d_0a_1x1", Unit(in_channels, one, 1))
        self.Branch_1 = nn.Sequential()
        self.Branch_1.add_module("Conv3d_0a_1x1", Unit(in_channels, narrow_1, 1))
        self.Branch_1.add_module("Conv3d_0b_3x3", Unit(narrow_1, wide_1, 3))
        self.Branch_2 = nn.Sequential()
        self.Branch_2.add_module("Conv3d_0a_1x1", Unit(in_channels, narrow_2, 1))
        self.Branch_2.add_module(second, Unit(narrow_2, wide_2, 3))
        self.Branch_3 = nn.Sequential()
        self.Branch_3.add_module("Conv3d_0b_1x1", Unit(in_channels, pooled, 1))
        self.channels = one + wide_1 + wide_2 + pooled

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.Branch_3(max_pool_same(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.Branch_0(x), self.Branch_1(x), self.Branch_2(x), pooled], dim=1)


class Logits(nn.Module):
    """Average over 2 time steps and all positions, a 1x1 convolution, average over the time left."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.Conv3d_0c_1x1 = nn.Module()
        self.Conv3d_0c_1x1.add_module("conv_3d", Conv3d(in_channels, LOGITS, (1, 1, 1), bias=True))

    def forward(self, x: Tensor) -> Tensor:
        _, _, time, height, width = x.shape  # 7x7 at 224x224
        x = functional.avg_pool3d(x, (min(2, time), height, width), stride=1)
        conv = self.Conv3d_0c_1x1.conv_3d
        return conv3d(x, conv.w, conv.b).mean(dim=(2, 3, 4))


class I3D(nn.Module):
    """Videos (B, 3, T, H, W) in [-1, 1] to Kinetics-400 logits (B, 400), averaged over time.

    Inference only. The logits are FVD's features at 224x224; any other size is averaged over all of
    its positions at the end, and T may be any number of frames.
    """

    def __init__(self):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        channels = 192
        for name in BLOCKS:
            block = Inception(name, channels)
            self.add_module(name, block)
            channels = block.channels
        self.Logits = Logits(channels)
        self.requires_grad_(False).eval()

    def forward(self, videos: Tensor) -> Tensor:
        x = self.Conv3d_1a_7x7(videos)
        x = max_pool_same(x, (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        x = max_pool_same(x, (1, 3, 3), (1, 2, 2))
        for name in BLOCKS:
            if name == "Mixed_4b":
                x = max_pool_same(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                x = max_pool_same(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        return self.Logits(x)


def random_i3d(seed: int = 0) -> I3D:
    """I3D with fixed random weights, the same on every machine, whose features tell videos apart.

    Filters are uniform, centred and scaled so that activations keep their variance from layer to layer
    (scaled weight standardisation, Brock et al. 2021). Batch norm's beta is 1: mostly open ReLUs. With
    beta 0 every layer multiplies small differences by 1.47, and at the end all videos are equally far
    apart; uncentred filters (He) end with one feature, contrast. The first filters alone stay
    uncentred, to see brightness and colour; their input is taken to be uniform in [-1, 1].
    """
    network = I3D()
    for name, tensor in network.named_parameters():
        if name.endswith(".beta"):
            tensor.fill_(1.0)
        elif name.endswith(".w"):
            first = name.startswith("Conv3d_1a")
            filters = _random_filters(seed, name, tensor.shape, centred=not first)
            variance_in = 1 / 3 if first else _variance_of_open_relu()
            fan_in = math.prod(tensor.shape[1:])
            tensor.copy_(torch.from_numpy(filters / math.sqrt(fan_in * variance_in)))
    return network


def _random_filters(seed: int, name: str, shape: Sizes, centred: bool) -> np.ndarray:
    """Uniform filters of mean square 1, each of mean 0 if `centred`."""
    filters = np.random.default_rng([seed, zlib.crc32(name.encode())]).random(shape) - 0.5
    within = (1, 2, 3, 4)
    if centred:
        filters -= filters.mean(axis=within, keepdims=True)
    return filters / np.sqrt(np.square(filters).mean(axis=within, keepdims=True))


def _variance_of_open_relu() -> float:
    """Variance of max(z + 1, 0) for a standard normal z."""
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    share_open = 0.5 * (1 + math.erf(math.sqrt(0.5)))
    mean = share_open + density
    return 2 * share_open + density - mean**2
