"""The trunk of TransNet V2 (Souček and Lokoč 2020), trained to tell one shot of a video from the next.

Every tensor bears the name that it has in the published weights, so that `load_state_dict` takes them as they
are. What follows the trunk there, comparisons of frames up to 50 apart and a classifier, is left out.

Shapes: B videos, T frames, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

HEIGHT, WIDTH = 27, 48  # pixels of every frame
DILATIONS = (1, 2, 4, 8)  # in time, side by side
FILTERS = (16, 32, 64)  # of each dilation, by block
FEATURES = sum(FILTERS) * len(DILATIONS)


class _Separable(nn.Module):
    """A convolution in space, then one in time."""

    def __init__(self, channels: int, filters: int, dilation: int):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv3d(channels, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False),
                nn.Conv3d(
                    *(2 * filters, filters, (3, 1, 1)),
                    padding=(dilation, 0, 0),
                    dilation=(dilation, 1, 1),
                    bias=False,
                ),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        space, time = self.layers
        return time(space(x))


class _Dilated(nn.Module):
    """Separable convolutions of every dilation, side by side, and batch norm."""

    def __init__(self, channels: int, filters: int):
        super().__init__()
        for dilation in DILATIONS:
            self.add_module(f"Conv3D_{dilation}", _Separable(channels, filters, dilation))
        self.bn = nn.BatchNorm3d(filters * len(DILATIONS), eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        sides = [self.get_submodule(f"Conv3D_{dilation}")(x) for dilation in DILATIONS]
        return self.bn(torch.cat(sides, 1))


class _Block(nn.Module):
    """Two of these with a shortcut past the second; half the height and width come out."""

    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.DDCNN = nn.ModuleList([_Dilated(channels, filters), _Dilated(filters * len(DILATIONS), filters)])

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.DDCNN
        shortcut = functional.relu(first(x))
        return functional.avg_pool3d(functional.relu(second(shortcut)) + shortcut, (1, 2, 2))


class TransNet(nn.Module):
    """Videos (B, 3, T, HEIGHT, WIDTH) in [0, 1] to features (B, FEATURES): means over time and space of what
    each of the three blocks makes."""

    def __init__(self):
        super().__init__()
        channels = (3, *(filters * len(DILATIONS) for filters in FILTERS))
        self.SDDCNN = nn.ModuleList(map(_Block, channels, FILTERS))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        means = []
        for block in self.SDDCNN:
            x = block(x)
            means.append(x.mean((2, 3, 4)))
        return torch.cat(means, 1)
