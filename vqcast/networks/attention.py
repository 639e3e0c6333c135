"""Causal multi-head attention over a grid of codes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalAttention(nn.Module):
    """Every position attends to all positions before it in generation order, and to a learned start.

    The query comes from features that see earlier codes only. Keys and values also hold the code at
    their own position, so a position's own key comes one step too early for itself: the sequence of
    keys is shifted by one, behind the start. No logit can depend on its own target.
    """

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(2 * hidden, 2 * hidden)
        self.start = nn.Parameter(torch.zeros(2 * hidden))
        self.out = nn.Linear(hidden, hidden)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor, embedded: Tensor) -> Tensor:
        """Add attention to `features` (B, T, H, W, C); `embedded` (B, T, H, W, C) are the codes there."""
        sequence = features.flatten(1, 3)  # (B, N, C) in raster order
        normed = self.norm(sequence)
        key_value = self.key_value(torch.cat([normed, embedded.flatten(1, 3).to(normed.dtype)], -1))
        start = self.start.to(key_value.dtype).expand(len(key_value), 1, -1)
        key_value = torch.cat([start, key_value[:, :-1]], 1)
        key, value = key_value.chunk(2, -1)
        attended = _attended(self.split(self.query(normed)), self.split(key), self.split(value))
        return features + self.out(attended.transpose(1, 2).flatten(2)).view_as(features)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, C / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention, (B, heads, N, C / heads); on a CPU in float32, which is three times as fast there."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(query.float(), key.float(), value.float(), is_causal=True)
