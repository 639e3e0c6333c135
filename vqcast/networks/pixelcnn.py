"""The gated PixelCNN with attention that both priors share (sections 2.2 and 3.2).

Shapes: codes (B, T, H, W); activations (B, T, H, W, C), channels last. The bottom prior is the case T = 1.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcast.networks.attention import CausalAttention
from vqcast.networks.masked import MaskedConv3d


@dataclass(frozen=True)
class Kernels:
    """Kernel sizes (t, y, x) of the three kinds of masked convolution."""

    stem: tuple[int, int, int]
    vertical: tuple[int, int, int]
    horizontal: tuple[int, int, int]

    @classmethod
    def over_time(cls, size: int) -> "Kernels":
        """Section 3.2: one true 3D convolution, then the y-t plane and the x-t plane."""
        return cls((size, size, size), (size, size, 1), (size, 1, size))

    @classmethod
    def one_slice(cls, size: int) -> "Kernels":
        """The 2D PixelCNN: rows above in a plane, then what is left in the row."""
        return cls((1, size, size), (1, size, size), (1, 1, size))


class Dropout(nn.Dropout):
    """Dropout whose probability is a multiple of 1/256; on CPU a random number decides eight elements.

    Drawing one for each element would take a seventh of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(256 * self.p)
        if not self.training or not dropped or x.device.type != "cpu":
            return F.dropout(x, dropped / 256, self.training)
        numbers = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = numbers.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * kept.view(torch.int8).to(x.dtype).mul_(256 / (256 - dropped))


class GatedLayer(nn.Module):
    """One step of both stacks: masked convolution, conditioning, gated linear unit, residual.

    The vertical stack at a position has seen no code of its own row, so that a sampler computes it once
    a row; the horizontal stack adds what lies to the left, and reads the vertical one.
    """

    def __init__(self, hidden: int, residual: int, condition: int, kernels: Kernels, dropout: float):
        super().__init__()
        self.vertical_norm = nn.LayerNorm(hidden)
        self.vertical_conv = MaskedConv3d(hidden, residual, kernels.vertical, "rows so far")
        self.vertical_gate = nn.Linear(residual, 2 * hidden)
        self.horizontal_norm = nn.LayerNorm(hidden)
        self.horizontal_conv = MaskedConv3d(hidden, residual, kernels.horizontal, "so far")
        self.horizontal_gate = nn.Linear(residual, 2 * hidden)
        self.link = nn.Linear(residual, residual, bias=False)
        self.condition = nn.Linear(condition, 2 * residual, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, vertical: Tensor, horizontal: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        to_vertical, to_horizontal = self.condition(condition).chunk(2, -1)
        above = self.vertical_conv(self.vertical_norm(vertical)) + to_vertical
        left = self.horizontal_conv(self.horizontal_norm(horizontal)) + self.link(above) + to_horizontal
        vertical = vertical + F.glu(self.vertical_gate(self.dropout(F.silu(above))), -1)
        horizontal = horizontal + F.glu(self.horizontal_gate(self.dropout(F.silu(left))), -1)
        return vertical, horizontal


class PixelCNN(nn.Module):
    """Logits of every code of a grid, each given the codes before it (equation 4) and a conditioning.

    grid: (T, H, W). `hidden`, `residual`, `layers`, `heads`, `dropout` are Table 4's; attention follows
    every `attention_every` layers.
    """

    def __init__(
        self,
        codes: int,
        grid: tuple[int, int, int],
        kernels: Kernels,
        condition: int,
        *,
        hidden: int,
        residual: int,
        layers: int,
        attention_every: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        self.grid = grid
        self.embedding = nn.Embedding(codes, hidden)
        self.vertical_stem = MaskedConv3d(hidden, hidden, kernels.stem, "rows above")
        self.horizontal_stem = MaskedConv3d(hidden, hidden, kernels.horizontal, "before")
        self.time = nn.Parameter(torch.zeros(grid[0], condition))
        self.row = nn.Parameter(torch.zeros(grid[1], condition))
        self.column = nn.Parameter(torch.zeros(grid[2], condition))
        self.layers = nn.ModuleList(
            GatedLayer(hidden, residual, condition, kernels, dropout) for _ in range(layers)
        )
        self.attention = nn.ModuleDict(
            {
                str(index): CausalAttention(hidden, heads)
                for index in range(attention_every - 1, layers, attention_every)
            }
        )
        self.head = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, residual), nn.SiLU(), nn.Linear(residual, codes)
        )

    def forward(self, codes: Tensor, condition: Tensor) -> Tensor:
        """Logits (B, T, H, W, K) of `codes` (B, T, H, W), given `condition` (B, T, H, W, C)."""
        embedded = self.embedding(codes)
        condition = self.place(condition)
        vertical = self.vertical_stem(embedded)
        horizontal = self.horizontal_stem(embedded)
        for index, layer in enumerate(self.layers):
            vertical, horizontal = layer(vertical, horizontal, condition)
            if str(index) in self.attention:
                horizontal = self.attention[str(index)](horizontal, embedded)
        return self.head(horizontal).float()

    def place(self, condition: Tensor) -> Tensor:
        """`condition` (B, T, H, W, C) with learned embeddings of time, row and column added."""
        return condition + self.time[:, None, None] + self.row[:, None] + self.column
