"""Muon (Jordan et al. 2024): steps along the orthogonalised momentum of matrices."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, as Jordan chose them
ITERATIONS = 5


class Muon:
    """One step for all matrices, at a learning rate that comes with the step.

    The same as torch.optim.Muon with adjust_lr_fn="match_rms_adamw", but for matrices of one shape at once:
    networks such as these have many small ones, and one by one they took a third of a training step.
    """

    def __init__(self, matrices: Sequence[Tensor], weight_decay: float):
        self.weight_decay = weight_decay
        self._groups: dict[torch.Size, list[int]] = {}
        for number, matrix in enumerate(matrices):
            self._groups.setdefault(matrix.shape, []).append(number)
        self.matrices = list(matrices)
        self.momenta = [
            torch.zeros(len(members), *shape, device=matrices[members[0]].device)
            for shape, members in self._groups.items()
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], learning_rate: float) -> None:
        """Step along `gradients`, one of as many entries for each matrix; one without stays as it is."""
        for (shape, members), momentum in zip(self._groups.items(), self.momenta, strict=True):
            moving = [place for place, number in enumerate(members) if gradients[number] is not None]
            if not moving:
                continue
            gradient = torch.stack([gradients[members[place]].reshape(shape) for place in moving])
            all_move = len(moving) == len(members)
            its_momentum = (momentum if all_move else momentum[moving]).lerp_(gradient, 1 - MOMENTUM)
            if not all_move:
                momentum[moving] = its_momentum
            update = orthogonalised(gradient.lerp_(its_momentum, MOMENTUM)).float()  # Nesterov's
            size = 0.2 * math.sqrt(max(shape)) * learning_rate  # AdamW's step has this root mean square
            chosen = [self.matrices[members[place]] for place in moving]
            torch._foreach_mul_(chosen, 1 - learning_rate * self.weight_decay)
            torch._foreach_add_(chosen, list(update.unbind()), alpha=-size)

    def state_dict(self) -> dict:
        return {"momenta": self.momenta}

    def load_state_dict(self, state: dict) -> None:
        for momentum, saved in zip(self.momenta, state["momenta"], strict=True):
            momentum.copy_(saved)


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly, of `matrices` (N, R, C); in bfloat16."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    result = (matrices.mT if tall else matrices).bfloat16()
    result = result / result.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = result @ result.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        result = torch.baddbmm(result, polynomial, result, beta=a)
    return result.mT if tall else result
