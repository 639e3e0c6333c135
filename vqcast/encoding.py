"""Encoding every window of every clip into latent shards, once; shards side by side."""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from vqcast.execution import reading_threads, run_units
from vqcast.files import appearing
from vqcast.latents import LEVELS, write_shard
from vqcast.models import load_vqvae
from vqcast.networks.vqvae import VQVAE
from vqcast.pixels import to_unit_range
from vqcast.settings import Encode, Window
from vqcast.video.ahead import read_ahead
from vqcast.video.windows import Clips, WindowDataset, WindowRef

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Encoding:
    """Where the clips and the VQ-VAE lie, and how to encode."""

    clips: str
    manifest: str
    vqvae: str
    window: Window
    settings: Encode


@dataclass(frozen=True)
class Shard:
    """Windows that are encoded into one file."""

    file: Path
    windows: tuple[WindowRef, ...]

    def __len__(self) -> int:
        return len(self.windows)


def encode_windows(encoding: Encoding, folder: Path) -> list[Path]:
    """Write the latent shards of all windows into `folder`, leaving alone those already there."""
    clips = Clips(encoding.clips, encoding.manifest)
    shards = []
    for split in SPLITS:
        windows = clips.windows(split, encoding.window)
        starts = range(0, len(windows), encoding.settings.windows_per_shard)
        for number, first in enumerate(starts):
            some = tuple(windows[first : first + encoding.settings.windows_per_shard])
            shards.append(Shard(folder / f"{split}-{number:05d}.parquet", some))
    for _ in run_units(partial(encode_shard, encoding), shards, "encode", networks=True):
        pass
    return [shard.file for shard in shards]


def encode_shard(encoding: Encoding, shard: Shard) -> None:
    """Write a latent shard, unless an earlier run has done so."""
    if shard.file.exists():
        return
    clips, vqvae = _opened(encoding)
    codes = _encode(vqvae, WindowDataset(clips, list(shard.windows), encoding.window.frames), encoding)
    with appearing(shard.file) as partial:
        write_shard(partial, [window.id for window in shard.windows], codes)


@cache
def _opened(encoding: Encoding) -> tuple[Clips, VQVAE]:
    """Clips and network, once a process."""
    return Clips(encoding.clips, encoding.manifest), load_vqvae(encoding.vqvae)


@torch.inference_mode()
def _encode(vqvae: VQVAE, windows: WindowDataset, encoding: Encoding) -> dict[str, np.ndarray]:
    """Codes (N, T, H, W) of every level; the prefix codes see the given frames and nothing later."""
    size, given = encoding.settings.batch_size, encoding.window.given
    batches = [list(range(first, min(first + size, len(windows)))) for first in range(0, len(windows), size)]
    parts: dict[str, list[np.ndarray]] = {level: [] for level in LEVELS}
    for batch in read_ahead(windows, batches, reading_threads()):
        video = to_unit_range(batch)
        prefix, whole = vqvae.encode(video[:, :, :given]), vqvae.encode(video)
        for level, codes in zip(LEVELS, (*prefix, *whole), strict=True):
            parts[level].append(codes.cpu().numpy())
    return {level: np.concatenate(arrays) for level, arrays in parts.items()}
