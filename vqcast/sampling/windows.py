"""Sampling validation windows into a folder of samples, batches side by side."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from vqcast.clips.pixels import frames_of, video_of
from vqcast.clips.windows import Clips, WindowRef
from vqcast.codes.latents import Latents
from vqcast.codes.models import load_bottom_prior, load_top_prior, load_vqvae
from vqcast.errors import VqcastError
from vqcast.networks.vqvae import Codes
from vqcast.sampling.predict import decode_predicted, numbers_a_window, random_numbers, sample_codes
from vqcast.sampling.store import join_samples, write_samples
from vqcast.settings.data import Window
from vqcast.settings.params import Sample
from vqcast.work.environment import device
from vqcast.work.execution import run_units


@dataclass(frozen=True)
class Sampling:
    """Where the latent shards and the models lie, and how to sample."""

    clips: str
    manifest: str
    latents: str
    vqvae: str
    top_prior: str
    bottom_prior: str
    window: Window
    settings: Sample


@dataclass(frozen=True)
class Batch:
    """Samples drawn together, the file they go to, and the file that this one becomes a part of."""

    samples: tuple[tuple[int, int], ...]  # window number, sample number
    part: Path
    whole: Path


def chosen_windows(windows: Sequence[str], count: int | None) -> list[int]:
    """Numbers of the `count` windows whose ids have the lowest hashes, in order; None: of all.

    So a lower count takes some of what a higher one takes, from all over the collection.
    Raises VqcastError where there are fewer.
    """
    if count is None:
        return list(range(len(windows)))
    if count > len(windows):
        raise VqcastError(f"sample.windows is {count}, and there are {len(windows)} validation windows")
    hashes = [hashlib.sha256(window.encode()).digest() for window in windows]
    return sorted(sorted(range(len(windows)), key=hashes.__getitem__)[:count])


def sample_windows(sampling: Sampling, windows: Sequence[int], scratch: Path) -> Path:
    """Sample the validation windows of these numbers; the folder in `scratch` that then holds the samples.

    Each batch is kept as it comes, and none that `scratch` already holds is drawn again.
    """
    batches = batches_of(windows, sampling.settings, scratch)
    parts: dict[Path, list[Path]] = {}
    for batch in batches:
        parts.setdefault(batch.whole, []).append(batch.part)
    waiting = {whole: len(some) for whole, some in parts.items() if not whole.exists()}
    wanted = [batch for batch in batches if batch.whole in waiting]
    for number, _ in run_units(partial(sample_batch, sampling), wanted, "sample", networks=True):
        batch = wanted[number]
        waiting[batch.whole] -= 1
        if not waiting[batch.whole]:
            join_samples(batch.whole, parts[batch.whole])
            for part in parts[batch.whole]:
                part.unlink()
    return scratch / "samples"


def sample_batch(sampling: Sampling, batch: Batch) -> None:
    """Draw a batch, unless an earlier run has done so."""
    if not batch.part.exists():
        write_samples(batch.part, _rows(sampling, batch))


def batches_of(windows: Sequence[int], settings: Sample, scratch: Path) -> list[Batch]:
    """What is drawn together, in the order of the windows."""
    samples = [(window, sample) for window in windows for sample in range(settings.samples_per_window)]
    a_file = settings.windows_per_shard * settings.samples_per_window
    batches = []
    for number, first in enumerate(range(0, len(samples), a_file)):
        whole = scratch / "samples" / f"samples-{number:05d}.arrow"
        last = min(first + a_file, len(samples))
        for start in range(first, last, settings.batch_size):
            some = tuple(samples[start : min(start + settings.batch_size, last)])
            batches.append(Batch(some, scratch / "parts" / f"{start:09d}.arrow", whole))
    return batches


def _rows(sampling: Sampling, batch: Batch) -> list[dict]:
    latents, clips, refs, vqvae, top_prior, bottom_prior = _opened(sampling)
    windows = [window for window, _ in batch.samples]
    prefix = Codes(*(_tensor(latents.codes(level, windows)) for level in ("prefix_top", "prefix_bottom")))
    names = [(latents.window_id(window), sample) for window, sample in batch.samples]
    numbers = random_numbers(names, numbers_a_window(top_prior), sampling.settings.seed)
    codes = sample_codes(top_prior, bottom_prior, prefix, numbers, sampling.settings)
    given = given_frames(clips, [refs[window] for window in windows], sampling.window.given)
    videos = frames_of(decode_predicted(vqvae, codes, given))
    return [
        {"window": window, "sample": sample, "top": top.ravel(), "bottom": bottom.ravel(), "video": video}
        for (window, sample), top, bottom, video in zip(
            names, codes.top.cpu().numpy(), codes.bottom.cpu().numpy(), videos, strict=True
        )
    ]


@cache
def _opened(sampling: Sampling) -> tuple:
    """Latents and networks, once a process."""
    clips = Clips(sampling.clips, sampling.manifest)
    return (
        Latents(sampling.latents, "val"),
        clips,
        clips.windows("val", sampling.window),
        load_vqvae(sampling.vqvae),
        load_top_prior(sampling.top_prior),
        load_bottom_prior(sampling.bottom_prior),
    )


def given_frames(clips: Clips, windows: Sequence[WindowRef], given: int) -> torch.Tensor:
    """The given frames of windows, (B, 3, G, H, W) in [-1, 1], on the device that networks run on."""
    frames = np.stack([clips.reader.cached(window, given) for window in windows])
    return video_of(frames)


def _tensor(codes) -> torch.Tensor:
    return torch.from_numpy(codes.astype("int64")).to(device())
