"""How near the priors come to the entropy of a process that is known in closed form.

    python -m benchmarks.likelihood

top_ratio, bottom_ratio   validation NLL over true entropy, both in bits a predicted code; no model can go
                          below 1, and near 1 conditioning, causality and optimisation all have to be right
minutes                   of training, by prior

The process. A window has a hidden velocity, one of `VELOCITIES`, in cells a slice on either level. The top
grid starts at random and moves by it, with wrap-around; grids are narrow along the motion, so that masked
convolutions reach around them. A bottom code has two parts: one is that of the top
code above it, the other moves with the grid of bottom codes. Whatever it is, each code is then replaced by a
random one with probability `REPLACED`, and what is replaced moves on. The velocity can be read from the
prefix codes: their two bottom slices are one step of motion apart.

So a code, given all before it, is one certain value but for its replacement, and its entropy is

    H = -p log2 p - (1 - p) log2((1 - p) / (K - 1)),    p = 1 - REPLACED + REPLACED / K

Networks and training are those of params.yaml but for what `NETWORK` and `TRAINING` say.
"""

import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import Dataset

from vqcast.codes.likelihood import validation_nll_bits
from vqcast.networks.grids import Grids
from vqcast.settings.params import load_settings
from vqcast.training.loop import train
from vqcast.training.priors import BottomPriorTask, TopPriorTask
from vqcast.training.ranks import joined_ranks, rank

PARTS = 4  # values of either part of a bottom code
CODES = PARTS * PARTS
GRIDS = Grids(top=(4, 8, 3), bottom=(8, 16, 3), prefix_top=1, prefix_bottom=2)
VELOCITIES = ((0, -1), (0, 0), (0, 1))  # y, x
REPLACED = 0.1
TRAIN_WINDOWS, VAL_WINDOWS = 10**6, 256
NETWORK = {
    "top": dict(
        dropout=0.0, attention_every=2, condition_hidden=128, condition_residual=128, condition_layers=5
    ),
    "bottom": dict(condition_hidden=96, condition_residual=64, condition_layers=7),
}
TRAINING = {
    "top": dict(steps=2300, batch_size=32, validate_every=250, checkpoint_every=10**6),
    "bottom": dict(steps=800, batch_size=16, validate_every=200, checkpoint_every=10**6),
}


class MovingGrid(Dataset):
    """Windows of the process, each drawn from its number; what training reads of latent shards."""

    def __init__(self, windows: int, seed: int):
        self.windows, self.seed = windows, seed
        self.manifest = SimpleNamespace(codes=CODES, grids=GRIDS)
        generator = torch.Generator().manual_seed(0)
        self.codebooks = {
            level: torch.randn(CODES, CODES, generator=generator) for level in ("top", "bottom")
        }

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, index))
        velocity = VELOCITIES[rng.integers(len(VELOCITIES))]
        top = [rng.integers(CODES, size=GRIDS.top[1:])]
        while len(top) < GRIDS.top[0]:
            top.append(_replaced(np.roll(top[-1], velocity, (0, 1)), rng))
        moving = rng.integers(PARTS, size=GRIDS.bottom[1:])
        bottom = []
        for number in range(GRIDS.bottom[0]):
            above = top[number // GRIDS.ratio[0]].repeat(GRIDS.ratio[1], 0).repeat(GRIDS.ratio[2], 1)
            bottom.append(_replaced(above // PARTS * PARTS + moving, rng))
            moving = np.roll(bottom[-1] % PARTS, velocity, (0, 1))
        codes = {
            "prefix_top": top[: GRIDS.prefix_top],
            "prefix_bottom": bottom[: GRIDS.prefix_bottom],
            "top": top,
            "bottom": bottom,
        }
        return {level: torch.from_numpy(np.stack(slices)) for level, slices in codes.items()}


def _replaced(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(codes.shape) < REPLACED, rng.integers(CODES, size=codes.shape), codes)


def entropy_bits() -> float:
    """True entropy of a predicted code of either level, given all that a prior may see."""
    kept = 1 - REPLACED + REPLACED / CODES
    other = (1 - kept) / (CODES - 1)
    return -kept * math.log2(kept) - (1 - kept) * math.log2(other)


def train_and_print(level: str) -> None:
    """Print the validation NLL in bits a code of the prior of `level`, and the minutes that training took."""
    settings = load_settings()
    network = dataclasses.replace(getattr(settings, f"{level}_prior"), **NETWORK[level])
    training = dataclasses.replace(getattr(settings, f"train_{level}_prior"), **TRAINING[level])
    latents, validation = MovingGrid(TRAIN_WINDOWS, seed=0), MovingGrid(VAL_WINDOWS, seed=1)
    with joined_ranks(training), tempfile.TemporaryDirectory() as folder:
        task = (TopPriorTask if level == "top" else BottomPriorTask)(network, training, latents, validation)
        start = time.perf_counter()
        train(task, training, Path(folder), f"{level} prior")
        minutes = (time.perf_counter() - start) / 60
        if rank() == 0:
            nll = float(validation_nll_bits(task.trained, validation, 32).mean())
            print(json.dumps([nll, minutes]))


def main() -> None:
    if len(sys.argv) > 1:
        train_and_print(sys.argv[1])
        return
    entropy = entropy_bits()
    result: dict[str, object] = {"entropy_bits": round(entropy, 4), "minutes": {}}
    for level in ("top", "bottom"):
        command = [sys.executable, "-m", "benchmarks.likelihood", level]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        nll, minutes = json.loads(finished.stdout)
        print(f"{level} prior: {nll:.4f} bits a code, true entropy {entropy:.4f}", flush=True)
        result[f"{level}_ratio"] = round(nll / entropy, 4)
        result["minutes"][level] = round(minutes, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
