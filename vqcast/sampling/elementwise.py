"""Nonlinearities whose results on CPU are the same bits in any number of rows.

torch computes whole vectors of elements otherwise than the rest of a tensor, or of a thread's share of it.
So each share is to be whole vectors and whole rows; rows that do not come out so are computed in parts.
"""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

VECTOR = 64  # elements; a multiple of what torch's vectorised loops take at a time, in either precision
UNSHARED = 32768  # elements; torch shares larger tensors out among threads (at::internal::GRAIN_SIZE)


def silu(x: Tensor) -> Tensor:
    """SiLU of (rows, C)."""
    return _in_whole_vectors(F.silu, x, x.shape[1])


def glu(x: Tensor) -> Tensor:
    """Gated linear unit: (rows, 2 C) to (rows, C)."""
    return _in_whole_vectors(F.glu, x, x.shape[1] // 2)


def _in_whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor, channels: int) -> Tensor:
    rows = len(x)
    if x.device.type != "cpu" or _shares_are_whole(rows, channels, torch.get_num_threads()):
        return function(x)
    block = _block(channels)
    padded = F.pad(x, (0, 0, 0, -rows % block))
    at_once = max(UNSHARED // channels // block, 1) * block
    return torch.cat([function(part) for part in padded.split(at_once)])[:rows]


@functools.cache
def _shares_are_whole(rows: int, channels: int, threads: int) -> bool:
    shares = min(threads, math.ceil(rows * channels / UNSHARED))
    return rows % (shares * _block(channels)) == 0


def _block(channels: int) -> int:
    """The least number of rows that is whole vectors."""
    return VECTOR // math.gcd(VECTOR, channels)
