"""Negative log-likelihood of the predicted codes under a prior, in bits.

Where a level's first slices are those of the given frames, the prefix codes stand in their place: no
value that conditions a prediction has seen a later frame.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

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


def top_logits(prior: TopPriorNetwork, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (B, T, H, W, K) of the predicted top codes, and these."""
    logits = prior(batch["prefix_top"], batch["prefix_bottom"], batch["top"])
    return logits, batch["top"][:, prior.grids.prefix_top :]


def bottom_logits(prior: BottomPriorNetwork, batch: Batch, slices: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, S, H, W, K) of the bottom codes of the slices numbered `slices` (B, S), and these."""
    top = behind_prefix(batch["prefix_top"], batch["top"])
    bottom = behind_prefix(batch["prefix_bottom"], batch["bottom"])
    rows = torch.arange(len(slices), device=slices.device)[:, None]
    return prior(top, bottom, slices), bottom[rows, slices]


def top_nll_bits(prior: TopPriorNetwork, batch: Batch) -> Tensor:
    """Bits (B,) a predicted top code."""
    return mean_bits(nll(*top_logits(prior, batch)))


def bottom_nll_bits(prior: BottomPriorNetwork, batch: Batch, slices: Tensor) -> Tensor:
    """Bits (B,) a bottom code of the slices numbered `slices` (B, S)."""
    return mean_bits(nll(*bottom_logits(prior, batch, slices)))


def predicted_slices(grids: Grids, windows: int) -> Tensor:
    """Numbers (windows, S) of all predicted bottom slices."""
    return torch.arange(grids.prefix_bottom, grids.bottom[0], device=device()).expand(windows, -1)


def predicted_logits(prior: nn.Module, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (b, T, H, W, K) of every predicted code, and these codes, some windows at a time."""
    if isinstance(prior, TopPriorNetwork):
        yield top_logits(prior, batch)
        return
    slices = predicted_slices(prior.grids, len(batch["bottom"]))
    windows = max(SLICES_AT_ONCE // slices.shape[1], 1)
    parts = zip(*(codes.split(windows) for codes in batch.values()), strict=True)
    for part, some in zip(parts, slices.split(windows), strict=True):
        yield bottom_logits(prior, dict(zip(batch, part, strict=True)), some)


def predicted_nll(prior: nn.Module, batch: Batch) -> Tensor:
    """-ln p (B, T, H, W) of every predicted code of the prior's level."""
    return torch.cat([nll(*some) for some in predicted_logits(prior, batch)])


@torch.inference_mode()
def validation_nll_bits(prior: nn.Module, latents: Latents, batch_size: int) -> np.ndarray:
    """Bits a predicted code of each window, (N,) float64; `prior` is in eval mode."""
    bits = [torch.empty(0, device=device())]
    for batch in DataLoader(latents, batch_size=batch_size):
        bits.append(mean_bits(predicted_nll(prior, to_device(batch))))
    return torch.cat(bits).double().cpu().numpy()


@dataclass(frozen=True)
class Judged:
    """What a prior says of each predicted code of some windows, (N, T, H, W), float64."""

    nll_bits: np.ndarray
    likelier: np.ndarray  # probability of all codes that are likelier than the true one
    own: np.ndarray  # that of the true one, and of those as likely


@torch.inference_mode()
def judged_by_position(prior: nn.Module, latents: Latents) -> Judged:
    """What `prior`, in eval mode, says of a few windows."""
    (batch,) = DataLoader(latents, batch_size=len(latents))
    parts: list[list[Tensor]] = []
    for logits, codes in predicted_logits(prior, to_device(batch)):
        logs = logits.float().log_softmax(-1)
        true = logs.gather(-1, codes[..., None])
        probabilities = logs.double().exp()
        likelier = (probabilities * (logs > true)).sum(-1)
        parts.append(
            [-true[..., 0].double() / math.log(2), likelier, (probabilities * (logs == true)).sum(-1)]
        )
    return Judged(*(torch.cat(some).cpu().numpy() for some in zip(*parts, strict=True)))


def to_device(batch: Batch) -> Batch:
    """A batch of codes on the device that networks run on."""
    return {level: codes.to(device()) for level, codes in batch.items()}
