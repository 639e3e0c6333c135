"""Scoring every predicted window, batches side by side, resumable.

Shapes: N windows, S samples a window, T frames of a window, P predicted frames, D features.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset

from vqcast.clips.windows import Clips
from vqcast.codes.latents import LatentManifest, Latents
from vqcast.codes.likelihood import judged_by_position
from vqcast.codes.models import check_same_vqvae, load_bottom_prior, load_top_prior, load_vqvae
from vqcast.features.features import Features, open_features, shrunk
from vqcast.features.perceptual import Perceptual
from vqcast.measures.arrays import write_array
from vqcast.measures.calibration import histogram
from vqcast.measures.image import psnr, squared_error, ssim
from vqcast.measures.motion import MEASURES, motion
from vqcast.metrics.systems import OtherVideos
from vqcast.metrics.windows import ValidationWindows, Videos
from vqcast.sampling.store import Samples
from vqcast.settings.data import Window
from vqcast.settings.evaluate import Evaluate
from vqcast.work.execution import run_units
from vqcast.work.files import appearing

SEEN = 4  # predicted frames of a window that ST-LPIPS sees, for it takes as long as all else together
FEATURES = "features"  # features/<space>/<size>/<system>: what a system's are called at that size
SUMS = "sums"  # sums/<name>: what is added up over the windows of a file, and then over the files


@dataclass(frozen=True)
class Scores:
    """Scores of one system on each window; S is 1 for all but the model."""

    squared_error: np.ndarray  # (N, S, P), of each predicted frame
    ssim: np.ndarray  # (N, S, P)
    st_lpips: np.ndarray  # (N, S, F), of the frames that `seen_frames` names
    motion: dict[str, np.ndarray]  # (N, S), by measure of `motion`
    difference: np.ndarray  # (N,), of a window's samples among each other, in grey levels; 0 of a single one

    @property
    def psnr(self) -> np.ndarray:
        """PSNR (N, S) over all predicted frames, in dB."""
        return psnr(self.squared_error.mean(axis=-1))

    def of(self, windows: np.ndarray) -> "Scores":
        """The scores of the windows that a mask (N,) selects."""
        motion = {name: values[windows] for name, values in self.motion.items()}
        return Scores(
            self.squared_error[windows],
            self.ssim[windows],
            self.st_lpips[windows],
            motion,
            self.difference[windows],
        )


@dataclass(frozen=True)
class Scoring:
    """Where all that is judged lies, and how it is judged."""

    clips: str
    manifest: str
    latents: str
    vqvae: str
    top_prior: str
    bottom_prior: str
    samples: str
    systems: str
    window: Window
    evaluate: Evaluate

    def open_windows(self) -> ValidationWindows:
        return ValidationWindows(
            Clips(self.clips, self.manifest),
            Latents(self.latents, "val"),
            load_vqvae(self.vqvae),
            Samples(self.samples),
            self.window,
        )

    def check(self) -> list[str]:
        """Raise VqcastError unless all that is judged fits together; names and hashes of other systems."""
        check_same_vqvae(LatentManifest.read(self.latents), *self.models)
        return [name_and_hash for other in self.open_others() for name_and_hash in other.identity()]

    def inputs(self) -> list[str | Path]:
        """Files whose content pins all that is judged, but for other systems' videos."""
        configs = [f"{folder}/config.json" for folder in self.models]
        samples = sorted(Path(self.samples).glob("samples-*.arrow"))
        return [self.manifest, f"{self.latents}/manifest.json", *configs, *samples]

    @property
    def models(self) -> tuple[str, str, str]:
        """Folders of the VQ-VAE and of both priors."""
        return self.vqvae, self.top_prior, self.bottom_prior

    def open_others(self) -> list[OtherVideos]:
        """The other systems' videos; raises VqcastError for what cannot be judged."""
        return [OtherVideos(system, Path(self.systems), self.window) for system in self.evaluate.systems]


def sizes_of(pixels: int, sizes: tuple[int, ...]) -> list[int]:
    """At which of `sizes`, and its own, videos of `pixels` x `pixels` are judged, their own the last."""
    return [*sorted({size for size in sizes if size < pixels}), pixels]


@dataclass(frozen=True)
class Batch:
    """Windows scored together, and the file that holds their scores then."""

    numbers: range
    file: Path

    def __len__(self) -> int:
        return len(self.numbers)


def score_windows(scoring: Scoring, windows: int, scratch: Path) -> tuple[dict[str, np.ndarray], Path]:
    """Scores of all `windows` predicted windows, and the folder in `scratch` that then holds the features.

    The scores are named as by `image_scores` and `<level>.nll_bits`; `sums/<level>.nll_bits` (T, H, W) are
    those of each position, summed over the windows. Features lie in <space>/<size>/<system>.npy, (N, S, D).
    Batches already in `scratch` are not scored again.
    """
    batches = batches_of(windows, scoring.evaluate, scratch)
    for _ in run_units(partial(_score, scoring), batches, "evaluate", networks=True):
        pass
    files = [batch.file for batch in batches]
    with np.load(files[0], allow_pickle=False) as file:
        names = list(file)
    folder = scratch / "features"
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        if name.startswith(f"{FEATURES}/"):
            path = folder / f"{name.removeprefix(f'{FEATURES}/')}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_array(path, sum(len(part) for part in _parts(files, name)), _parts(files, name))
    scores = {}
    for name in names:
        if name.startswith(f"{SUMS}/"):
            scores[name] = sum(part[0] for part in _parts(files, name))
        elif not name.startswith(f"{FEATURES}/"):
            scores[name] = np.concatenate(list(_parts(files, name)))
    return scores, folder


def _parts(files: list[Path], name: str) -> Iterator[np.ndarray]:
    """One array of all files, a file at a time; another system may have fewer videos than there are files."""
    for path in files:
        with np.load(path, allow_pickle=False) as file:
            if name in file:
                yield file[name]


def batches_of(windows: int, evaluate: Evaluate, scratch: Path) -> list[Batch]:
    """What is scored together, in the order of the windows."""
    size = evaluate.batch_size
    return [
        Batch(range(first, min(first + size, windows)), scratch / f"scores-{first:08d}.npz")
        for first in range(0, windows, size)
    ]


def scores_by_system(scores: dict[str, np.ndarray]) -> dict[str, Scores]:
    fields = ("squared_error", "ssim", "st_lpips")
    systems = [name.removesuffix(".ssim") for name in scores if name.endswith(".ssim")]
    return {
        system: Scores(
            *(scores[f"{system}.{field}"] for field in fields),
            motion_of(system, scores),
            scores[f"{system}.difference"],
        )
        for system in systems
    }


def motion_of(system: str, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Measures (N, S) of `motion`, of a system or of "true"."""
    return {measure: scores[f"{system}.motion_{measure}"] for measure in MEASURES}


def _score(scoring: Scoring, batch: Batch) -> None:
    """Score a batch, unless an earlier run has done so."""
    if batch.file.exists():
        return
    opened = _opened(scoring)
    windows = opened.windows
    given, seen = windows.window.given, scoring.evaluate.frames
    truth = windows.true_frames(batch.numbers)
    systems = windows.systems(batch.numbers, truth)
    scores = image_scores(truth, systems, given, opened.perceptual)
    for size in sizes_of(truth.shape[2], scoring.evaluate.sizes):
        others = {}
        for other in opened.others:
            numbers = range(batch.numbers.start, min(batch.numbers.stop, len(other)))
            if numbers and size in sizes_of(other.pixels, scoring.evaluate.sizes):
                others[other.name] = other.predicted(numbers)[:, None]
        for space in opened.spaces:
            parts = feature_batch(truth, systems, space, given, seen, size)
            parts |= feature_batch(truth, others, space, given, seen, size, of_truth=False)
            scores |= {f"{FEATURES}/{space.space}/{size}/{name}": part for name, part in parts.items()}
    some = Subset(windows.latents, windows.rows[batch.numbers.start : batch.numbers.stop])
    for level, prior in opened.priors.items():
        judged = judged_by_position(prior, some)
        scores[f"{level}.nll_bits"] = judged.nll_bits.mean(axis=(1, 2, 3))
        scores[f"{level}.ranks"] = histogram(judged.likelier, judged.own)
        scores[f"{SUMS}/{level}.nll_bits"] = judged.nll_bits.sum(axis=0, keepdims=True)
        scores[f"{SUMS}/{level}.rank"] = (judged.likelier + judged.own / 2).sum(axis=0, keepdims=True)
    with appearing(batch.file) as path, open(path, "wb") as file:
        np.savez(file, **scores)


@dataclass(frozen=True)
class _Opened:
    """What scores windows."""

    windows: ValidationWindows
    others: list[OtherVideos]
    priors: dict[str, nn.Module]
    spaces: list[Features]
    perceptual: Perceptual


@cache
def _opened(scoring: Scoring) -> _Opened:
    """Once a process."""
    priors = {"top": load_top_prior(scoring.top_prior), "bottom": load_bottom_prior(scoring.bottom_prior)}
    spaces = open_features(scoring.evaluate)
    return _Opened(scoring.open_windows(), scoring.open_others(), priors, spaces, Perceptual())


def image_scores(
    truth: np.ndarray, systems: Videos, given: int, perceptual: Perceptual
) -> dict[str, np.ndarray]:
    """Scores of one batch: `<system>.<score>`, and of "true" how it moves.

    truth: (B, T, H, W, 3). systems: their predicted frames, (B, S, P, H, W, 3).
    """
    true, last_given = truth[:, given:], truth[:, given - 1]
    results = _motion("true", true[:, None], true, last_given)
    for name, distances in perceptual_distances(perceptual, true, systems).items():
        videos = systems[name]
        samples = [videos[:, sample] for sample in range(videos.shape[1])]
        results[f"{name}.squared_error"] = squared_error(videos, true[:, None])
        results[f"{name}.ssim"] = np.stack([ssim(sample, true) for sample in samples], axis=1)
        results[f"{name}.st_lpips"] = distances
        results[f"{name}.difference"] = difference(videos)
        results |= _motion(name, videos, true, last_given)
    return results


def _motion(system: str, videos: np.ndarray, true: np.ndarray, last_given: np.ndarray) -> Videos:
    measured = motion(videos, true, last_given)
    return {f"{system}.motion_{measure}": values for measure, values in measured.items()}


def perceptual_distances(perceptual: Perceptual, true: np.ndarray, systems: Videos) -> Videos:
    """ST-LPIPS (B, S, F), float32, of each system's frames at `seen_frames`.

    true: (B, P, H, W, 3). systems: (B, S, P, H, W, 3).
    """
    seen = seen_frames(true.shape[1])

    def features(videos: np.ndarray) -> list[torch.Tensor]:
        return perceptual.features(videos[:, seen].reshape(-1, *videos.shape[2:]))

    expected, shape, results = features(true), (len(true), len(seen)), {}
    for name, videos in systems.items():
        samples = [videos[:, sample] for sample in range(videos.shape[1])]
        distances = [perceptual.distances(features(sample), expected).reshape(shape) for sample in samples]
        results[name] = np.stack(distances, axis=1)
    return results


def seen_frames(predicted: int) -> list[int]:
    """Of the predicted frames, from 0, those that ST-LPIPS sees: the first, the last, and some between."""
    return sorted({round(place) for place in np.linspace(0, predicted - 1, SEEN)})


def difference(videos: np.ndarray) -> np.ndarray:
    """Root mean squared difference (B,) between two samples of a window, over all pairs, in grey levels.

    videos: uint8 (B, S, P, H, W, 3).
    """
    samples = videos.shape[1]
    if samples == 1:
        return np.zeros(len(videos))
    variance = np.stack([video.astype(np.float32).var(axis=0, ddof=1).mean() for video in videos])
    return np.sqrt(2 * variance)


def feature_batch(
    truth: np.ndarray,
    systems: Videos,
    features: Features,
    given: int,
    seen: str,
    size: int,
    of_truth: bool = True,
) -> dict[str, np.ndarray]:
    """Features (B, S, D) of each system's videos, and with `of_truth` those of "true" (B, 1, D), at one size.

    truth: (B or more, T, H, W, 3). systems: their predicted frames, (B, S, P, h, w, 3), not below `size`.
    seen: "all", and the true given frames come first, in every set; or "predicted".
    """
    truth = shrunk(truth if seen == "all" else truth[:, given:], size)
    before = truth[:, : given if seen == "all" else 0]
    results = {"true": features(truth)[:, None]} if of_truth else {}
    for name, videos in systems.items():
        samples = [shrunk(videos[:, sample], size) for sample in range(videos.shape[1])]
        whole = [np.concatenate([before[: len(sample)], sample], axis=1) for sample in samples]
        results[name] = np.stack([features(video) for video in whole], axis=1)
    return results
