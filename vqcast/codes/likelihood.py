"""Negative log-likelihood of the predicted codes under a prior, in bits.

Where a level's first slices are those of the given frames, the prefix codes stand in their place: no
value that conditions a prediction has seen a later frame.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vqcast.codes.latents import Latents
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.work.environment import device

Batch = dict[str, Tensor]
SLICES_AT_ONCE = 16  # of the bottom prior: at full size, those of 16 windows would take 40 GiB


def behind_prefix(prefix: Tensor, codes: Tensor) -> Tensor:
    """The window's codes (B, T, H, W) with the prefix codes in the place of its first slices."""
    return torch.cat([prefix, codes[:, prefix.shape[1] :]], 1)


def nll(logits: Tensor, codes: Tensor) -> Tensor:
    """-ln p of each of the codes (B, ...), logits being (B, ..., K)."""
    return F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view(codes.shape)


def mean_bits(nats: Tensor) -> Tensor:
    """Bits (B,) a code: the mean over each window's codes (B, ...)."""
    return nats.flatten(1).mean(1) / math.log(2)


def top_nll(prior: TopPriorNetwork, batch: Batch) -> Tensor:
    """-ln p (B, T, H, W) of the predicted top codes."""
    logits = prior(batch["prefix_top"], batch["prefix_bottom"], batch["top"])
    return nll(logits, batch["top"][:, prior.grids.prefix_top :])


def bottom_nll(prior: BottomPriorNetwork, batch: Batch, slices: Tensor) -> Tensor:
    """-ln p (B, S, H, W) of the bottom codes of the slices numbered `slices` (B, S)."""
    top = behind_prefix(batch["prefix_top"], batch["top"])
    bottom = behind_prefix(batch["prefix_bottom"], batch["bottom"])
    rows = torch.arange(len(slices), device=slices.device)[:, None]
    return nll(prior(top, bottom, slices), bottom[rows, slices])


def top_nll_bits(prior: TopPriorNetwork, batch: Batch) -> Tensor:
    """Bits (B,) a predicted top code."""
    return mean_bits(top_nll(prior, batch))


def bottom_nll_bits(prior: BottomPriorNetwork, batch: Batch, slices: Tensor) -> Tensor:
    """Bits (B,) a bottom code of the slices numbered `slices` (B, S)."""
    return mean_bits(bottom_nll(prior, batch, slices))


def predicted_slices(grids: Grids, windows: int) -> Tensor:
    """Numbers (windows, S) of all predicted bottom slices."""
    return torch.arange(grids.prefix_bottom, grids.bottom[0], device=device()).expand(windows, -1)


def predicted_nll(prior: nn.Module, batch: Batch) -> Tensor:
    """-ln p (B, T, H, W) of every predicted code of the prior's level."""
    if isinstance(prior, TopPriorNetwork):
        return top_nll(prior, batch)
    slices = predicted_slices(prior.grids, len(batch["bottom"]))
    windows = max(SLICES_AT_ONCE // slices.shape[1], 1)
    parts = zip(*(codes.split(windows) for codes in batch.values()), strict=True)
    return torch.cat(
        [
            bottom_nll(prior, dict(zip(batch, part, strict=True)), some)
            for part, some in zip(parts, slices.split(windows), strict=True)
        ]
    )


@torch.inference_mode()
def validation_nll_bits(prior: nn.Module, latents: Latents, batch_size: int) -> np.ndarray:
    """Bits a predicted code of each window, (N,) float64; `prior` is in eval mode."""
    bits = [torch.empty(0, device=device())]
    for batch in DataLoader(latents, batch_size=batch_size):
        bits.append(mean_bits(predicted_nll(prior, to_device(batch))))
    return torch.cat(bits).double().cpu().numpy()


@torch.inference_mode()
def nll_bits_by_position(prior: nn.Module, latents: Latents) -> np.ndarray:
    """Bits (N, T, H, W), float64, of each predicted code of a few windows; `prior` is in eval mode."""
    (batch,) = DataLoader(latents, batch_size=len(latents))
    return predicted_nll(prior, to_device(batch)).double().cpu().numpy() / math.log(2)


def to_device(batch: Batch) -> Batch:
    """A batch of codes on the device that networks run on."""
    return {level: codes.to(device()) for level, codes in batch.items()}
