"""Attention of one position to those before it, each window's and head's apart from the others.

Shapes: G windows, H heads, N keys, D channels of a head. A cache (2, G, H, N, D) holds keys and values.
"""

import functools
import warnings

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs brings none
    triton = None

KEYS_AT_ONCE = 128


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention (G, H, 1, D) of scaled queries (G, H, 1, D) to keys and values (G, H, N, D)."""
    scores = query @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ value


def attend_up_to(query: Tensor, cache: Tensor, last: Tensor) -> Tensor:
    """Attention to the keys up to number `last` (1,), which stays on the device.

    On CUDA it reads these alone, in one kernel; its result is the same bits for a window in any place, which
    those of cuDNN's are not.
    """
    if cache.device.type != "cuda" or not _kernel_runs(cache.dtype, cache.shape[-1]):
        key, value = cache
        return attend(query, key, value, (torch.arange(cache.shape[3], device=cache.device) <= last)[None])
    return _by_kernel(query, cache, last)


def _by_kernel(query: Tensor, cache: Tensor, last: Tensor) -> Tensor:
    query = query.contiguous()
    _, windows, heads, keys, channels = cache.shape
    out = torch.empty_like(query)
    _attend_up_to[(windows * heads,)](
        *(query, cache, last, out, keys, channels),
        triton.next_power_of_2(channels),
        KEYS_AT_ONCE,
        num_warps=8 if cache.dtype == torch.bfloat16 else 4,
    )
    return out


@functools.cache
def _kernel_runs(dtype: torch.dtype, channels: int) -> bool:
    """Whether Triton is here, and can build a kernel; it needs a C compiler."""
    if triton is None:
        return False
    cache = torch.zeros(2, 1, 1, 1, channels, dtype=dtype, device="cuda")
    try:
        _by_kernel(cache[0], cache, torch.zeros(1, dtype=torch.int64, device="cuda"))
    except Exception as error:
        warnings.warn(f"slower attention, as Triton builds no kernels here: {error}", stacklevel=2)
        return False
    return True


if triton is not None:

    @triton.jit
    def _attend_up_to(
        query, cache, last, out, keys, channels, CHANNELS: tl.constexpr, KEYS: tl.constexpr
    ):  # one program a window and head, over its keys in turn, as FlashAttention does
        program = tl.program_id(0).to(tl.int64)
        channel = tl.arange(0, CHANNELS)
        in_head = channel < channels
        q = tl.load(query + program * channels + channel, in_head, 0.0).to(tl.float32)
        keys_of = cache + program * keys * channels
        values_of = keys_of + tl.num_programs(0).to(tl.int64) * keys * channels
        end = tl.load(last) + 1
        highest, total = -float("inf"), 0.0
        attended = tl.zeros([CHANNELS], tl.float32)
        for start in range(0, end, KEYS):
            number = start + tl.arange(0, KEYS)
            known = number < end
            place = number[:, None] * channels + channel[None]
            inside = known[:, None] & in_head[None]
            k = tl.load(keys_of + place, inside, 0.0).to(tl.float32)
            scores = tl.where(known, tl.sum(k * q[None], 1), -float("inf"))
            higher = tl.maximum(highest, tl.max(scores, 0))
            weights = tl.exp(scores - higher)
            fade = tl.exp(highest - higher)
            v = tl.load(values_of + place, inside, 0.0).to(tl.float32)
            attended = attended * fade + tl.sum(v * weights[:, None], 0)
            total = total * fade + tl.sum(weights, 0)
            highest = higher
        tl.store(out + program * channels + channel, (attended / total).to(out.dtype.element_ty), in_head)
