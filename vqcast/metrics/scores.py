"""Scoring every predicted window, batches side by side, resumable.

Shapes: N windows, S samples a window, T frames of a window, P predicted frames, D features.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset

from vqcast.clips.pixels import frames_of, video_of
from vqcast.clips.windows import Clips
from vqcast.codes.latents import LatentManifest, Latents
from vqcast.codes.likelihood import nll_bits_by_position
from vqcast.codes.models import check_same_vqvae, load_bottom_prior, load_top_prior, load_vqvae
from vqcast.errors import VqcastError
from vqcast.features.features import open_features, shrunk
from vqcast.metrics.arrays import write_array
from vqcast.metrics.image import psnr, squared_error, ssim
from vqcast.metrics.systems import OtherVideos
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.sampling.predict import decode_predicted
from vqcast.sampling.store import Samples
from vqcast.settings.data import Window
from vqcast.settings.evaluate import Evaluate
from vqcast.work.environment import device
from vqcast.work.execution import run_units
from vqcast.work.files import appearing

EXPECTATION = "expectation"  # what the given frames let expect, without codes; where the VQ-VAE sees them

FEATURES = "features"  # features/<size>/<system>: what a system's are called at that size
SUMS = "sums"  # sums/<name>: what is added up over the windows of a file, and then over the files

MakeFeatures = Callable[[np.ndarray], np.ndarray]  # videos uint8 (B, T, H, W, 3) -> (B, D)
Videos = dict[str, np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Scores of one system on each window; S is 1 for all but the model."""

    squared_error: np.ndarray  # (N, S, P), of each predicted frame
    ssim: np.ndarray  # (N, S)

    @property
    def psnr(self) -> np.ndarray:
        """PSNR (N, S) over all predicted frames, in dB."""
        return psnr(self.squared_error.mean(axis=-1))

    def of(self, windows: np.ndarray) -> "Scores":
        """The scores of the windows that a mask (N,) selects."""
        return Scores(self.squared_error[windows], self.ssim[windows])


class ValidationWindows:
    """The validation windows that were predicted: their true frames, and what each system puts in place of
    the predicted ones."""

    def __init__(self, clips: Clips, latents: Latents, vqvae: VQVAE, samples: Samples, window: Window):
        self.clips, self.latents, self.vqvae = clips, latents, vqvae
        self.samples, self.window = samples, window
        self.refs = clips.windows("val", window)
        places = {name: number for number, name in enumerate(self.refs.ids())}
        rows = [places.get(name, -1) for name in samples.windows]
        for name, same in (
            ("latent shards", list(latents.window_ids()) == list(places)),
            ("samples", -1 not in rows and rows == sorted(rows)),
        ):
            if not same:
                raise VqcastError(
                    f"the {name} are not those of the clips' {len(self.refs)} validation windows; "
                    "run the stages from encode on again"
                )
        self.rows = np.array(rows)  # of the latents: which ones of all windows were predicted
        if len(rows) < len(self.refs):
            self.refs = [self.refs[row] for row in rows]

    def __len__(self) -> int:
        return len(self.refs)

    def true_frames(self, numbers: range) -> np.ndarray:
        """The clips' own frames, uint8 (B, T, H, W, 3)."""
        return np.stack([self.clips.reader.read(self.refs[n], self.window.frames) for n in numbers])

    def systems(self, numbers: range, truth: np.ndarray) -> Videos:
        """The predicted frames by each system, uint8 (B, S, P, H, W, 3)."""
        given = truth[:, : self.window.given]
        repeated = np.repeat(given[:, -1:], self.window.frames - self.window.given, axis=1)
        systems = {
            "reconstruction": self.reconstructed(numbers, given)[:, None],
            "model": np.stack([self._sampled(self.refs[n].id) for n in numbers]),
            "repeat_last_frame": repeated[:, None],
        }
        if self.vqvae.settings.sees_given:
            systems[EXPECTATION] = self.expected(given)[:, None]
        return systems

    @torch.inference_mode()
    def reconstructed(self, numbers: range, given: np.ndarray, use_bottom: bool = True) -> np.ndarray:
        """Predicted frames of the windows' own codes, uint8 (B, P, H, W, 3); given: uint8 (B, G, H, W, 3)."""
        chosen = self.rows[numbers.start : numbers.stop]
        codes = Codes(*(_codes(self.latents.codes(level, chosen)) for level in ("top", "bottom")))
        return frames_of(decode_predicted(self.vqvae, codes, video_of(given), use_bottom))

    @torch.inference_mode()
    def expected(self, given: np.ndarray) -> np.ndarray:
        """What the given frames alone let expect, uint8 (B, P, H, W, 3); given: uint8 (B, G, H, W, 3)."""
        return frames_of(torch.cat([self.vqvae.expectation(one) for one in video_of(given).split(1)]))

    def _sampled(self, window: str) -> np.ndarray:
        return np.stack([self.samples.predicted(window, s) for s in range(self.samples.samples_per_window)])


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
    those of each position, summed over the windows. Features lie in <size>/<system>.npy, (N, S, D). Batches
    already in `scratch` are not scored again.
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
    fields = ("squared_error", "ssim")
    systems = [name.removesuffix(".ssim") for name in scores if name.endswith(".ssim")]
    return {system: Scores(*(scores[f"{system}.{field}"] for field in fields)) for system in systems}


def _score(scoring: Scoring, batch: Batch) -> None:
    """Score a batch, unless an earlier run has done so."""
    if batch.file.exists():
        return
    windows, others, priors, features = _opened(scoring)
    truth = windows.true_frames(batch.numbers)
    systems = windows.systems(batch.numbers, truth)
    scores = image_scores(truth, systems, windows.window.given)
    seen = scoring.evaluate.frames
    for size in sizes_of(truth.shape[2], scoring.evaluate.sizes):
        parts = feature_batch(truth, systems, features, windows.window.given, seen, size)
        for other in others:
            numbers = range(batch.numbers.start, min(batch.numbers.stop, len(other)))
            if numbers and size in sizes_of(other.pixels, scoring.evaluate.sizes):
                predicted = {other.name: other.predicted(numbers)[:, None]}
                parts |= feature_batch(
                    truth, predicted, features, windows.window.given, seen, size, of_truth=False
                )
        scores |= {f"{FEATURES}/{size}/{name}": part for name, part in parts.items()}
    some = Subset(windows.latents, windows.rows[batch.numbers.start : batch.numbers.stop])
    for level, prior in priors.items():
        bits = nll_bits_by_position(prior, some)
        scores[f"{level}.nll_bits"] = bits.mean(axis=(1, 2, 3))
        scores[f"{SUMS}/{level}.nll_bits"] = bits.sum(axis=0, keepdims=True)
    with appearing(batch.file) as path, open(path, "wb") as file:
        np.savez(file, **scores)


@cache
def _opened(
    scoring: Scoring,
) -> tuple[ValidationWindows, list[OtherVideos], dict[str, nn.Module], MakeFeatures]:
    """What scores windows, once a process."""
    priors = {"top": load_top_prior(scoring.top_prior), "bottom": load_bottom_prior(scoring.bottom_prior)}
    return scoring.open_windows(), scoring.open_others(), priors, open_features(scoring.evaluate)


def image_scores(truth: np.ndarray, systems: Videos, given: int) -> dict[str, np.ndarray]:
    """Scores of one batch: `<system>.squared_error` and `<system>.ssim`.

    truth: (B, T, H, W, 3). systems: their predicted frames, (B, S, P, H, W, 3).
    """
    true = truth[:, given:]
    results = {}
    for name, videos in systems.items():
        samples = [videos[:, sample] for sample in range(videos.shape[1])]
        results[f"{name}.squared_error"] = squared_error(videos, true[:, None])
        results[f"{name}.ssim"] = np.stack([ssim(sample, true) for sample in samples], axis=1)
    return results


def feature_batch(
    truth: np.ndarray,
    systems: Videos,
    features: MakeFeatures,
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


def _codes(codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(codes.astype(np.int64)).to(device())
