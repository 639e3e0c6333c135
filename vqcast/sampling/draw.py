"""Drawing codes from logits: temperature, top-k, nucleus; random numbers that belong to a window."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from vqcast.settings.params import Sample


def draw(logits: Tensor, uniforms: Tensor, settings: Sample) -> Tensor:
    """Codes (B,) drawn from `logits` (B, K) by inverting the cumulative distribution at `uniforms` (B,)."""
    scaled = logits.float() / settings.temperature
    if settings.top_k is not None and settings.top_k < scaled.shape[-1]:
        least = scaled.topk(settings.top_k, -1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    probabilities = scaled.softmax(-1)
    if settings.top_p < 1:
        probabilities = _nucleus(probabilities, settings.top_p)
    cumulative = probabilities.double().cumsum(-1)
    threshold = uniforms.double()[:, None] * cumulative[:, -1:]
    # The last code of positive probability is the largest answer, whatever rounding does at the end.
    last = (probabilities > 0).int().cumsum(-1).argmax(-1)
    return torch.minimum((cumulative <= threshold).sum(-1), last)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of likeliest codes that holds at least `top_p` of the mass."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    # In double: CUDA adds up in an order that depends on the batch, and in float32 that would tell.
    before = ordered.double().cumsum(-1) - ordered
    ordered = ordered * (before < top_p)
    return torch.zeros_like(probabilities).scatter(-1, order, ordered)


def uniforms(seed: int, window: str, sample: int, count: int) -> np.ndarray:
    """`count` random numbers in [0, 1), a function of (seed, window, sample) and of nothing else."""
    digest = hashlib.sha256(f"{seed}/{window}/{sample}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(count)
