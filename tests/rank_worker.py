"""Trains a small network, alone or as one rank under torchrun, for tests/test_ranks.py.

python -m tests.rank_worker NETWORK FOLDER OPTIMIZER [STEP]    rank 1 kills itself in STEP, once
"""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils.data import Dataset

from tests.networks import BOTTOM, CODES, EXPECTATION, GRIDS, TOP, VQVAE_SETTINGS, WINDOW, window_codes
from vqcast.settings.training import BottomTraining, PriorTraining, Training, VqvaeTraining
from vqcast.training.loop import Task, train
from vqcast.training.priors import BottomPriorTask, TopPriorTask
from vqcast.training.ranks import joined_ranks, rank
from vqcast.training.vqvae import VqvaeTask

WINDOWS = 24
TRAINING = dict(
    steps=20,
    batch_size=8,
    optimizer="adamw",
    learning_rate=0.003,
    warmup_steps=2,
    weight_decay=0.01,
    grad_clip=1.0,
    accumulate=1,
    activation_checkpointing=False,
    compile=False,
    precision="float32",
    validate_every=10,
    checkpoint_every=3,
    seed=0,
)


class Pixels(Dataset):
    """Smooth random windows, uint8 (3, 16, 24, 24)."""

    def __init__(self, seed: int):
        coarse = torch.rand(WINDOWS, 3, 4, 6, 6, generator=torch.Generator().manual_seed(seed))
        smooth = torch.nn.functional.interpolate(coarse, size=(16, 24, 24), mode="trilinear")
        self.windows = (smooth * 255).to(torch.uint8)

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.windows[index]


class Codes(Dataset):
    """Random codes, with what else latent shards tell."""

    def __init__(self, seed: int):
        self.codes = window_codes(WINDOWS, seed)
        self.manifest = SimpleNamespace(codes=CODES, grids=GRIDS)
        generator = torch.Generator().manual_seed(seed)
        self.codebooks = {level: torch.randn(CODES, 6, generator=generator) for level in ("top", "bottom")}

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {level: codes[index] for level, codes in self.codes.items()}


def task_of(network: str, optimizer: str = "adamw") -> tuple[Task, Training]:
    options = dict(TRAINING, optimizer=optimizer)
    if network == "vqvae":
        training = VqvaeTraining(**options, flip=True, reverse=True)
        return VqvaeTask(
            VQVAE_SETTINGS, EXPECTATION, WINDOW, training, Pixels(0), Pixels(1), readers=0
        ), training
    if network == "top_prior":
        training = PriorTraining(**options, average_decay=0.9)
        return TopPriorTask(TOP, training, Codes(0), Codes(1)), training
    training = BottomTraining(**options, average_decay=0.9, slices_per_window=2)
    return BottomPriorTask(BOTTOM, training, Codes(0), Codes(1)), training


def main(network: str, folder: Path, optimizer: str, deadly_step: int | None) -> None:
    with joined_ranks(Training(**dict(TRAINING, optimizer=optimizer))):
        task, training = task_of(network, optimizer)
        after_step = task.after_step
        seen = [0]

        def die_once(accepted: bool) -> None:
            seen[0] += 1
            died = folder / "died"
            if rank() == 1 and seen[0] == deadly_step and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            after_step(accepted)

        task.after_step = die_once
        train(task, training, folder / "run", network)
        torch.save(task.state_dict(), folder / f"rank-{rank()}.pt")


if __name__ == "__main__":
    torch.manual_seed(0)
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]) if len(sys.argv) > 4 else None)
