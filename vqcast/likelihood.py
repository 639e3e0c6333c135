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

from vqcast.execution import device
from vqcast.latents import Latents
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.top_prior import TopPriorNetwork

Batch = dict[str, Tensor]


def behind_prefix(prefix: Tensor, codes: Tensor) -> Tensor:
    """The window's codes (B, T, H, W) with the prefix codes in the place of its first slices."""
    return torch.cat([prefix, codes[:, prefix.shape[1] :]], 1)


def nll_bits(logits: Tensor, codes: Tensor) -> Tensor:
    """Bits (B,) a code: mean over each window's codes (B, ...) of -log2 p, logits being (B, ..., K)."""
    nats = F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none")
    return nats.view(len(codes), -1).mean(1) / math.log(2)


def top_nll_bits(prior: TopPriorNetwork, batch: Batch) -> Tensor:
    """Bits (B,) a predicted top code."""
    logits = prior(batch["prefix_top"], batch["prefix_bottom"], batch["top"])
    return nll_bits(logits, batch["top"][:, prior.grids.prefix_top :])


def bottom_nll_bits(prior: BottomPriorNetwork, batch: Batch, slices: Tensor) -> Tensor:
    """Bits (B,) a bottom code of the slices numbered `slices` (B, S)."""
    top = behind_prefix(batch["prefix_top"], batch["top"])
    bottom = behind_prefix(batch["prefix_bottom"], batch["bottom"])
    rows = torch.arange(len(slices), device=slices.device)[:, None]
    return nll_bits(prior(top, bottom, slices), bottom[rows, slices])


def predicted_slices(grids: Grids, windows: int) -> Tensor:
    """Numbers (windows, S) of all predicted bottom slices."""
    return torch.arange(grids.prefix_bottom, grids.bottom[0], device=device()).expand(windows, -1)


@torch.inference_mode()
def validation_nll_bits(prior: nn.Module, latents: Latents, batch_size: int) -> np.ndarray:
    """Bits a predicted code of each window, (N,) float64; `prior` is in eval mode."""
    bits = [torch.empty(0, device=device())]
    for batch in DataLoader(latents, batch_size=batch_size):
        batch = to_device(batch)
        if isinstance(prior, TopPriorNetwork):
            bits.append(top_nll_bits(prior, batch))
        else:
            bits.append(bottom_nll_bits(prior, batch, predicted_slices(prior.grids, len(batch["top"]))))
    return torch.cat(bits).double().cpu().numpy()


def to_device(batch: Batch) -> Batch:
    """A batch of codes on the device that networks run on."""
    return {level: codes.to(device()) for level, codes in batch.items()}
