"""ST-LPIPS: a perceptual distance between pictures that small shifts hardly change (Ghildyal and Liu 2022).

AlexNet without strided convolutions and pools, each followed by a blur that takes every second pixel instead;
the distance is the weighted squared difference of its features, channel by channel, normalised as in LPIPS
(Zhang et al. 2018). Every tensor bears the name that it has in the published weights. Not LPIPS, nor
comparable with it.

Shapes: B pictures, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (64, 192, 384, 256, 256)  # of the five layers that are compared
EPSILON = 1e-10
LEAST_SIDE = 32  # pixels, of the smallest pictures that the padding of every layer still fits


class _Blur(nn.Module):
    """Every second pixel of a 3x3 binomial blur, behind a mirrored border of two pixels."""

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("filt", torch.empty(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return functional.conv2d(padded, self.filt, stride=2, groups=x.shape[1])


class _Trunk(nn.Module):
    """What each of the five convolutions makes, behind its ReLU."""

    def __init__(self):
        super().__init__()
        first, second, third, fourth, fifth = CHANNELS
        layers = [
            [nn.Conv2d(3, first, 11, padding=2), _Blur(first), nn.ReLU()],
            [nn.MaxPool2d(3, 1), _Blur(first), nn.Conv2d(first, second, 5, padding=2), nn.ReLU()],
            [nn.MaxPool2d(3, 1), _Blur(second), nn.Conv2d(second, third, 3, padding=1), nn.ReLU()],
            [nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU()],
            [nn.Conv2d(fourth, fifth, 3, padding=1), nn.ReLU()],
        ]
        place = 0  # the published names count all layers through
        for number, some in enumerate(layers, 1):
            slice_ = nn.Sequential()
            for layer in some:
                slice_.add_module(str(place), layer)
                place += 1
            self.add_module(f"slice{number}", slice_)

    def forward(self, x: Tensor) -> list[Tensor]:
        made = []
        for slice_ in self.children():
            x = slice_(x)
            made.append(x)
        return made


class _Head(nn.Module):
    """A weight for each channel's squared difference."""

    def __init__(self, channels: int):
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))


class _Scaling(nn.Module):
    """Means and deviations of ImageNet's colours, of values in [-1, 1]."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.empty(1, 3, 1, 1))
        self.register_buffer("scale", torch.empty(1, 3, 1, 1))


class StLpips(nn.Module):
    """Distances between pictures, from features that are made once for each picture."""

    def __init__(self):
        super().__init__()
        self.scaling_layer = _Scaling()
        self.net = _Trunk()
        for number, channels in enumerate(CHANNELS):
            self.add_module(f"lin{number}", _Head(channels))
        self.eval()

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Of pictures (B, 3, H, W) in [-1, 1]: by layer (B, C, h, w), so that the squared distance between
        two such is what the layer adds to the distance of the pictures."""
        made = self.net((pictures - self.scaling_layer.shift) / self.scaling_layer.scale)
        return [self._weighed(number, layer) for number, layer in enumerate(made)]

    def _weighed(self, number: int, layer: Tensor) -> Tensor:
        norm = layer.square().sum(1, keepdim=True).sqrt()
        weight = self.get_submodule(f"lin{number}").model[1].weight.view(1, -1, 1, 1)
        height, width = layer.shape[2:]
        return layer / (norm + EPSILON) * (weight.clamp_min(0) / (height * width)).sqrt()

    @staticmethod
    def distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
        """(B,), of two sets of features; a set of one stands against each of the other's."""
        return sum((a - b).square().sum((1, 2, 3)) for a, b in zip(first, second, strict=True))
