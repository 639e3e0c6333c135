"""Training as vqcast does it against the same networks in plain eager float32, on CPU.

    python -m benchmarks.training

vqvae_speedup, top_prior_speedup,     clips/s of optimizer steps over those of the same network, batch and
bottom_prior_speedup                  loss in float32, filters as they lie by default, and AdamW
clips_per_s, codes_per_s              by network; a code is one that the loss is of
data_wait_share                       share of the time that training the VQ-VAE on real files waited for them

Sizes are those of params.yaml. Times are medians of interleaved repeats on random pixels and codes, but for
the last figure: that is of a training run on the embedded collection.
"""

import dataclasses
import json
import math
import tempfile
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils.data import Dataset, default_collate

from benchmarks.clips import make_clips
from benchmarks.measure import interleaved_medians
from benchmarks.reconstruction import ALL, vqvae_task
from vqcast.execution import threads
from vqcast.latents import LEVELS
from vqcast.networks.grids import Grids
from vqcast.settings import Settings, Training, load_settings
from vqcast.training.loop import Batches, Task, take_step, train
from vqcast.training.optimizer import Optimizer
from vqcast.training.priors import BottomPriorTask, TopPriorTask
from vqcast.training.vqvae import VqvaeTask
from vqcast.video.windows import Clips

WINDOWS = 64
REPEATS = 7
STEPS_WITH_FILES = 150
NETWORKS = ("vqvae", "top_prior", "bottom_prior")


class RandomPixels(Dataset):
    """Windows of noise, uint8 (3, T, H, W)."""

    def __init__(self, settings: Settings):
        shape = (3, settings.window.frames, settings.clip.size, settings.clip.size)
        self.windows = torch.randint(256, (WINDOWS, *shape), dtype=torch.uint8)

    def __len__(self) -> int:
        return WINDOWS

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.windows[index]


class RandomCodes(Dataset):
    """Windows of random codes, with what else latent shards tell."""

    def __init__(self, settings: Settings):
        vqvae = settings.vqvae
        grids = Grids.of(settings.window, settings.clip.size, vqvae)
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
        return VqvaeTask(settings.vqvae, 0, windows, windows, readers=0)
    codes = RandomCodes(settings)
    task = TopPriorTask if network == "top_prior" else BottomPriorTask
    return task(getattr(settings, network), getattr(settings, f"train_{network}"), codes, codes)


def step(task: Task, training: Training, memory_format: torch.memory_format) -> Callable[[], object]:
    """One optimizer step on a batch that is always the same."""
    task.to(memory_format=memory_format)
    optimizer = Optimizer(task.network, training)
    batches = Batches(WINDOWS, training, start=0)
    data = repeat(default_collate([task.windows[index] for index in batches[0]]))
    return lambda: take_step(task, optimizer, training, training.warmup_steps, data, batches)


def codes_of_a_step(network: str, settings: Settings) -> int:
    """Codes that a step's loss is of; the VQ-VAE's are those that it makes."""
    grids = Grids.of(settings.window, settings.clip.size, settings.vqvae)
    training = getattr(settings, f"train_{network}")
    if network == "vqvae":
        return training.batch_size * (math.prod(grids.top) + math.prod(grids.bottom))
    if network == "top_prior":
        return training.batch_size * math.prod(grids.predicted_top)
    return training.batch_size * training.slices_per_window * math.prod(grids.bottom[1:])


def data_wait_share() -> float:
    settings = load_settings()
    training = dataclasses.replace(
        settings.train_vqvae, steps=STEPS_WITH_FILES, validate_every=ALL, checkpoint_every=ALL
    )
    with tempfile.TemporaryDirectory() as folder:
        videos = {"source": "sample", "sample": {"train_videos": 96, "val_videos": 2}}
        clips = Clips(*make_clips(Path(folder), "params.yaml", videos))
        return train(vqvae_task(settings, clips), training, Path(folder) / "run", "train_vqvae")


def main() -> None:
    torch.set_num_threads(threads())
    settings = load_settings()
    result: dict[str, object] = {"clips_per_s": {}, "codes_per_s": {}}
    for network in NETWORKS:
        ours: Training = getattr(settings, f"train_{network}")
        plain = dataclasses.replace(ours, precision="float32", optimizer="adamw")
        seconds = interleaved_medians(
            {
                "ours": step(task_of(network, settings), ours, torch.channels_last_3d),
                "plain": step(task_of(network, settings), plain, torch.contiguous_format),
            },
            REPEATS,
        )
        result[f"{network}_speedup"] = round(seconds["plain"] / seconds["ours"], 2)
        result["clips_per_s"][network] = round(ours.batch_size / seconds["ours"], 1)
        result["codes_per_s"][network] = round(codes_of_a_step(network, settings) / seconds["ours"])
        print(f"{network}: {seconds['ours']:.3f} s a step, {seconds['plain']:.3f} s plain")
    result["data_wait_share"] = round(data_wait_share(), 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
