"""Muon (Jordan et al. 2024): steps along the orthogonalised momentum of matrices."""

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from vqcast.training.exchange import Exchange
from vqcast.training.ranks import rank, ranks
from vqcast.work.environment import computes_bfloat16

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, as Jordan chose them
ITERATIONS = 5


class Muon:
    """One step for all matrices, at a learning rate that comes with the step.

    The same as torch.optim.Muon with adjust_lr_fn="match_rms_adamw", but for matrices of one shape at once,
    and every rank orthogonalises its share of them alone: networks such as these have many small matrices,
    and all of them, one by one, took a third of a training step.
    """

    def __init__(self, matrices: Sequence[Tensor], weight_decay: float, device: torch.device):
        self.matrices, self.weight_decay = list(matrices), weight_decay
        shares = _shares([matrix.shape for matrix in matrices], ranks())
        # In this order gradients come and the momentum is kept: those of a batch lie side by side.
        self.order = [number for share in shares for number in chain(*share)]
        sizes = [sum(self.matrices[number].numel() for number in chain(*share)) for share in shares]
        self.momentum = torch.zeros(sum(sizes), device=device)
        self._own = slice(sum(sizes[: rank()]), sum(sizes[: rank() + 1]))
        self._shares = [[[self.matrices[number] for number in batch] for batch in share] for share in shares]
        self._updates = Exchange(max(*sizes, 1), torch.bfloat16, device)

    @torch.no_grad()
    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Step along `gradient`: those of all matrices, one after the other as `order` numbers them."""
        self.momentum.lerp_(gradient, 1 - MOMENTUM)
        ahead = torch.lerp(gradient[self._own], self.momentum[self._own], MOMENTUM)  # Nesterov's
        own = _in_batches(self._updates.own, self._shares[rank()])
        parts = _in_batches(ahead, self._shares[rank()])
        for update, part in zip(own, parts, strict=True):
            update.copy_(orthogonalised(part))
        for row, share in zip(self._updates.meet(), self._shares, strict=True):
            for update, matrices in zip(_in_batches(row, share), share, strict=True):
                size = 0.2 * math.sqrt(max(update.shape[1:])) * learning_rate  # AdamW's root mean square
                torch._foreach_mul_(matrices, 1 - learning_rate * self.weight_decay)
                torch._foreach_add_(matrices, list(update.unbind()), alpha=-size)

    def state_dict(self) -> dict:
        """The momentum of each matrix, whatever the number of ranks."""
        return {"momenta": self._momenta()}

    def load_state_dict(self, state: dict) -> None:
        for momentum, saved in zip(self._momenta(), state["momenta"], strict=True):
            momentum.copy_(saved)

    def _momenta(self) -> list[Tensor]:
        pieces = self.momentum.split([self.matrices[number].numel() for number in self.order])
        return [
            pieces[self.order.index(number)].view_as(matrix) for number, matrix in enumerate(self.matrices)
        ]


def _in_batches(flat: Tensor, batches: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The pieces (N, R, C) of `flat`, one a batch of N matrices (R, C), that lie one after the other."""
    pieces, start = [], 0
    for matrices in batches:
        end = start + sum(matrix.numel() for matrix in matrices)
        pieces.append(flat[start:end].view(len(matrices), *matrices[0].shape))
        start = end
    return pieces


def _shares(shapes: Sequence[torch.Size], ranks: int) -> list[list[list[int]]]:
    """For every rank, batches of numbers of matrices of one shape; all ranks have about as much to do."""
    work, shares = [0] * ranks, [dict[torch.Size, list[int]]() for _ in range(ranks)]
    costs = [shape.numel() * min(shape) for shape in shapes]
    for number in sorted(range(len(shapes)), key=lambda number: -costs[number]):
        chosen = work.index(min(work))
        work[chosen] += costs[number]
        shares[chosen].setdefault(shapes[number], []).append(number)
    return [list(share.values()) for share in shares]


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, of `matrices` (N, R, C); in bfloat16 where
    the device computes in it."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    result = (matrices.mT if tall else matrices).to(torch.bfloat16 if computes_bfloat16() else torch.float32)
    result = result / result.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = result @ result.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        result = torch.baddbmm(result, polynomial, result, beta=a)
    return result.mT if tall else result
