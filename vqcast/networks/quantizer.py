"""Vector quantizer whose codebook is an exponential moving average of what it is shown (equations 1 to 3).

Shapes: K codes of D dimensions; N vectors, one a position of a batch.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

DEAD_SHARE = 0.05  # a code used less than this share of the average code is dead
LEAST_SHARE = 1e-6  # no code costs more than 20 bits
STRIDE = 7919  # a prime; rolls the vectors that dead codes are revived from over the batch


class Quantized(NamedTuple):
    values: Tensor  # (B, D, T, H, W), the nearest code vectors; the gradient passes straight through
    codes: Tensor  # (B, T, H, W), int64
    commitment_loss: Tensor  # scalar, the third term of equation 2 without beta


class Quantizer(nn.Module):
    """Nearest-neighbour quantization (equation 1) with a codebook learned by equation 3.

    The first training batch initialises the codebook with vectors from it; codes that fall out of use are
    revived the same way, from all that was shown in a step. A training step shows the quantizer one batch or
    several, and then has it `learn` from them, or `forget` them if the step is refused. Everything that the
    next step depends on is in the state_dict, and nothing is drawn at random: which vectors are taken follows
    from the number of steps. Distances are float32 whatever the autocast; statistics are summed over all
    ranks.
    """

    def __init__(self, codes: int, code_dim: int, decay: float, bit_price: float = 0.0):
        super().__init__()
        self.decay, self.bit_price = decay, bit_price
        self.register_buffer("codebook", torch.zeros(codes, code_dim))  # e of equation 3
        self.register_buffer("counts", torch.zeros(codes))  # N of equation 3
        self.register_buffer("sums", torch.zeros(codes, code_dim))  # m of equation 3
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.forget()

    def forward(self, encoded: Tensor) -> Quantized:
        """Quantize `encoded` (B, D, T, H, W); in training mode, `learn` will have seen it."""
        with torch.autocast(encoded.device.type, enabled=False):
            vectors_BTHWD = encoded.float().movedim(1, -1)
            vectors = vectors_BTHWD.reshape(-1, vectors_BTHWD.shape[-1])
            detached = vectors.detach()
            if self.training and self.steps == 0 and not self._shown:
                self._initialise(detached)
            codes = self._nearest(detached)
            nearest = F.embedding(codes, self.codebook)
            commitment_loss = F.mse_loss(vectors, nearest)
            if self.training:
                self._note(detached, codes)
            values = vectors + (nearest - vectors).detach()
            values = values.view_as(vectors_BTHWD).movedim(-1, 1)
        return Quantized(values, codes.view(vectors_BTHWD.shape[:-1]), commitment_loss)

    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors (B, D, T, H, W) of `codes` (B, T, H, W)."""
        return F.embedding(codes, self.codebook).movedim(-1, 1)

    def _nearest(self, vectors: Tensor) -> Tensor:
        """Equation 1; |z|^2 is the same for every code and is left out.

        |e|^2 goes into the product as one more dimension, where the vectors are 1, and so does what a code
        costs, if bits have a price: entropy-constrained vector quantization (Chou, Lookabaugh, Gray, 1989).
        """
        added = self.codebook.square().sum(1, keepdim=True)
        if self.bit_price:
            share = self.counts / self.counts.sum().clamp(min=1e-9)
            added = added - self.bit_price * share.clamp(min=LEAST_SHARE).log2()[:, None]
        codes = torch.cat([-2 * self.codebook, added], 1)
        return (F.pad(vectors, (0, 1), value=1.0) @ codes.t()).min(1).indices  # faster than argmin

    @torch.no_grad()
    def learn(self) -> None:
        """One step of equation 3 on what was shown, then dead codes are given vectors of it."""
        counts, sums = self._counts, self._sums
        candidates = self._candidates(torch.cat(self._shown))
        _sum_over_ranks(counts, sums, candidates)
        self.counts.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1 - self.decay)

        average = self.counts.mean()
        if self.bit_price:  # one code is far more common than all others, which must not die of it
            average = (self.counts.sum() - self.counts.max()) / (len(self.counts) - 1)
        dead = self.counts < DEAD_SHARE * average
        self.counts.copy_(torch.where(dead, average, self.counts))
        self.sums.copy_(torch.where(dead[:, None], candidates * average, self.sums))
        self.codebook.copy_(self.sums / self.counts[:, None])
        self.steps.add_(1)
        self.forget()

    def forget(self) -> None:
        """Let go of what was shown since the last step."""
        self._counts = self._sums = None
        self._shown: list[Tensor] = []  # vectors of each batch since the last step

    def _note(self, vectors: Tensor, codes: Tensor) -> None:
        counts = torch.bincount(codes, minlength=len(self.counts)).float()
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors)
        if self._counts is not None:
            counts, sums = counts + self._counts, sums + self._sums
        self._counts, self._sums = counts, sums
        self._shown.append(vectors)

    @torch.no_grad()
    def _initialise(self, vectors: Tensor) -> None:
        candidates = self._candidates(vectors)
        _sum_over_ranks(candidates)
        self.codebook.copy_(candidates)
        self.counts.fill_(1.0)
        self.sums.copy_(self.codebook)

    def _candidates(self, vectors: Tensor) -> Tensor:
        """A vector for every code (K, D), spread evenly over the `vectors` (N, D) of all ranks.

        Each step chooses others. Zeros stand for those that another rank has: the sum over ranks has all.
        """
        ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
        total = ranks * len(vectors)
        spread = max(total // len(self.counts), 1)
        places = torch.arange(len(self.counts), device=vectors.device) * spread
        places = (places + self.steps * STRIDE) % total
        here = places // len(vectors) == rank
        return torch.where(here[:, None], vectors[places % len(vectors)], 0.0)


def _sum_over_ranks(*statistics: Tensor) -> None:
    """Put the sum over all ranks in the place of each, in one exchange."""
    if not dist.is_initialized():
        return
    flat = torch.cat([part.flatten() for part in statistics])
    dist.all_reduce(flat)
    sizes = [part.numel() for part in statistics]
    for part, total in zip(statistics, flat.split(sizes), strict=True):
        part.copy_(total.view_as(part))
