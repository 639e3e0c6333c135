"""Masked convolutions over grids of codes, in generation order: t, then y, then x.

Shapes: activations are (B, T, H, W, C), channels last.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcast.networks.convolution import conv3d

Offset = tuple[int, int, int]  # (t, y, x) of an input position relative to the output position

RULES = {
    "rows above": lambda t, y, x: t < 0 or y < 0,
    "rows so far": lambda t, y, x: t < 0 or y <= 0,
    "before": lambda t, y, x: (t, y, x) < (0, 0, 0),  # mask A of PixelCNN
    "so far": lambda t, y, x: (t, y, x) <= (0, 0, 0),  # mask B of PixelCNN
}


def visible_offsets(kernel: tuple[int, int, int], rule: str) -> list[Offset]:
    """Offsets within a centred `kernel` (odd sizes) that `rule` lets a position see, in raster order.

    Later time steps are never seen; of earlier ones, every position is. At the same time step:
    "rows above" / "rows so far" see whole rows, "before" / "so far" go on within the same row.
    """
    spans = [range(-(size // 2), size // 2 + 1) for size in kernel]
    return [offset for offset in product(*spans) if offset[0] <= 0 and RULES[rule](*offset)]


class MaskedConv3d(nn.Module):
    """A convolution whose output at a position sees the inputs at `visible_offsets` alone."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int], rule: str):
        super().__init__()
        self.offsets = visible_offsets(kernel, rule)
        lows = [min(axis) for axis in zip(*self.offsets, strict=True)]
        highs = [max(axis) for axis in zip(*self.offsets, strict=True)]
        self.lows = tuple(lows)
        box = [high - low + 1 for low, high in zip(lows, highs, strict=True)]
        # F.pad counts axes from the last one: channels, x, y, t; a negative pad crops.
        self.padding = (0, 0, -lows[2], highs[2], -lows[1], highs[1], -lows[0], highs[0])
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *box))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.weight, std=(inputs * len(self.offsets)) ** -0.5)
        mask = torch.zeros(box)
        for t, y, x in self.offsets:
            mask[t - lows[0], y - lows[1], x - lows[2]] = 1
        self.register_buffer("mask", mask, persistent=False)
        self.full = len(self.offsets) == mask.numel()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, inputs) to (B, T, H, W, outputs)."""
        weight = self.weight if self.full else self.weight * self.mask
        weight = weight.contiguous(memory_format=torch.channels_last_3d)
        return conv3d(F.pad(x, self.padding).movedim(-1, 1), weight, self.bias).movedim(1, -1)

    def taps(self) -> Tensor:
        """The weights as one matrix (len(offsets) * inputs, outputs), for inputs gathered at `offsets`."""
        t0, y0, x0 = self.lows
        columns = [self.weight[:, :, t - t0, y - y0, x - x0] for t, y, x in self.offsets]
        return torch.cat(columns, 1).t().contiguous()
