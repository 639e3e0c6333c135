"""Training as vqcast does it against the same networks in plain eager float32, on CPU.

    python -m benchmarks.training

vqvae_speedup, top_prior_speedup,     clips/s of optimizer steps over those of the same network, batch and
bottom_prior_speedup                  loss as PyTorch comes: eager float32, its dropout, AdamW and clipping,
                                      in one process of as many threads as there are cores
clips_per_s, codes_per_s              by network; a code is one that the loss is of
data_wait_share                       share of the time that training the VQ-VAE on real files waited for them

Sizes are those of params.yaml. Times are medians on random pixels and codes, of processes that run in turn;
but for the last figure: that is of a training run on the embedded collection.
"""

import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.utils.data import Dataset, default_collate

from benchmarks.reconstruction import ALL
from benchmarks.stages import make_clips, run_stage, write_params
from vqcast.codes.latents import LEVELS
from vqcast.networks.grids import Grids
from vqcast.networks.pixelcnn import Dropout
from vqcast.settings.params import Settings, load_settings
from vqcast.settings.training import Training
from vqcast.training.loop import Batches, Task, take_step
from vqcast.training.optimizer import Optimizer
from vqcast.training.priors import BottomPriorTask, TopPriorTask
from vqcast.training.ranks import joined_ranks, rank, ranks
from vqcast.training.vqvae import VqvaeTask
from vqcast.work.environment import cores, on_device, prepare_networks

WINDOWS = 64
REPEATS = 3
WARM_UP, STEPS = 3, 9
STEPS_WITH_FILES = 150
NETWORKS = ("vqvae", "top_prior", "bottom_prior")


class RandomPixels(Dataset):
    """Windows of noise, uint8 (3, T, H, W)."""

    def __init__(self, settings: Settings):
        shape = (3, settings.window.frames, settings.clip.resolution, settings.clip.resolution)
        self.windows = torch.randint(256, (WINDOWS, *shape), dtype=torch.uint8)

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.windows[index]


class RandomCodes(Dataset):
    """Windows of random codes, with what else latent shards tell."""

    def __init__(self, settings: Settings):
        vqvae = settings.vqvae
        grids = Grids.of(settings.window, settings.clip.resolution, vqvae)
        self.manifest = SimpleNamespace(codes=vqvae.codes, grids=grids)
        self.codebooks = {level: torch.randn(vqvae.codes, vqvae.code_dim) for level in ("top", "bottom")}
        prefix = {"prefix_top": grids.prefix_top, "prefix_bottom": grids.prefix_bottom}
        self.codes = {}
        for level in LEVELS:
            time, *rest = grids.top if level.endswith("top") else grids.bottom
            shape = (WINDOWS, prefix.get(level, time), *rest)
            self.codes[level] = torch.randint(vqvae.codes, shape)

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {level: codes[index] for level, codes in self.codes.items()}


def task_of(network: str, settings: Settings) -> Task:
    if network == "vqvae":
        windows = RandomPixels(settings)
        sections = (settings.vqvae, settings.expectation, settings.window, settings.train_vqvae)
        return VqvaeTask(*sections, windows, windows, readers=0)
    codes = RandomCodes(settings)
    task = TopPriorTask if network == "top_prior" else BottomPriorTask
    return task(getattr(settings, network), getattr(settings, f"train_{network}"), codes, codes)


def seconds_a_step(network: str, settings: Settings) -> float:
    """Median seconds of an optimizer step on a batch that is always the same."""
    training: Training = getattr(settings, f"train_{network}")
    prepare_networks()
    task = on_device(task_of(network, settings))
    optimizer = Optimizer(task.network, training)
    batches = Batches(WINDOWS, training, 0, rank(), ranks())
    data = repeat(default_collate([task.windows[index] for index in batches[0]]))
    return median_seconds(lambda: take_step(task, optimizer, training, training.warmup_steps, data, batches))


def seconds_a_plain_step(network: str, settings: Settings) -> float:
    """The same by the loop that PyTorch's tutorials show."""
    training: Training = getattr(settings, f"train_{network}")
    torch.set_num_threads(cores())
    task = task_of(network, settings).train()
    for module in task.network.modules():
        if isinstance(module, Dropout):
            module.forward = nn.Dropout(module.p).forward
    parameters = list(task.network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    batch = default_collate([task.windows[index] for index in range(training.batch_size)])
    uniforms = torch.rand(training.batch_size, task.uniforms)

    def step() -> None:
        optimizer.zero_grad()
        loss, _ = task.loss(batch, uniforms)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, training.grad_clip)
        optimizer.step()
        task.after_step(True)

    return median_seconds(step)


def median_seconds(step: Callable[[], object]) -> float:
    seconds = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def measure(network: str, how: str) -> None:
    """Print the seconds of a step, as a process, or several, of their own."""
    settings = load_settings()
    if how == "plain":
        print(seconds_a_plain_step(network, settings))
        return
    with joined_ranks(getattr(settings, f"train_{network}")):
        seconds = seconds_a_step(network, settings)
        if rank() == 0:
            print(seconds)


def measured(network: str, how: str) -> float:
    command = [sys.executable, "-m", "benchmarks.training", network, how]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def codes_of_a_step(network: str, settings: Settings) -> int:
    """Codes that a step's loss is of; the VQ-VAE's are those that it makes."""
    grids = Grids.of(settings.window, settings.clip.resolution, settings.vqvae)
    training = getattr(settings, f"train_{network}")
    if network == "vqvae":
        return training.batch_size * (math.prod(grids.top) + math.prod(grids.bottom))
    if network == "top_prior":
        return training.batch_size * math.prod(grids.predicted_top)
    return training.batch_size * training.slices_per_window * math.prod(grids.bottom[1:])


def data_wait_share() -> float:
    """Of a training run on the embedded collection, as its progress bar tells it in the end."""
    training = {"steps": STEPS_WITH_FILES, "validate_every": ALL, "checkpoint_every": ALL}
    videos = {"source": "sample", "sample": {"train_videos": 96, "val_videos": 2}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clips(folder, "params.yaml", videos)
        write_params(folder, "params.yaml", download=videos, train_vqvae=training)
        said = run_stage(folder, "train_vqvae")
    return float(re.findall(r"data_wait=([\d.]+)%", said)[-1]) / 100


def main() -> None:
    os.environ["VQCAST_DEVICE"] = "cpu"
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
        return
    settings = load_settings()
    result: dict[str, object] = {"clips_per_s": {}, "codes_per_s": {}}
    for network in NETWORKS:
        taken = [(measured(network, "ours"), measured(network, "plain")) for _ in range(REPEATS)]
        ours, plain = map(statistics.median, zip(*taken, strict=True))
        result[f"{network}_speedup"] = round(plain / ours, 2)
        windows = getattr(settings, f"train_{network}").batch_size
        result["clips_per_s"][network] = round(windows / ours, 1)
        result["codes_per_s"][network] = round(codes_of_a_step(network, settings) / ours)
        print(f"{network}: {ours:.3f} s a step, {plain:.3f} s plain", flush=True)
    result["data_wait_share"] = round(data_wait_share(), 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
