"""Scoring every validation window, batches side by side, resumable.

Shapes: N windows, S samples a window, T frames of a window, P predicted frames, D features.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset

from vqcast.errors import VqcastError
from vqcast.execution import device, run_units
from vqcast.files import appearing
from vqcast.latents import Latents
from vqcast.likelihood import validation_nll_bits
from vqcast.metrics.features import RandomI3D
from vqcast.metrics.image import psnr, squared_error, ssim
from vqcast.models import load_bottom_prior, load_top_prior, load_vqvae
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.pixels import to_pixels
from vqcast.sampling.predict import decode_predicted
from vqcast.sampling.store import Samples
from vqcast.settings import Evaluate, Window
from vqcast.video.windows import Clips

SYSTEMS = ("reconstruction", "model", "repeat_last_frame")

Features = Callable[[np.ndarray], np.ndarray]  # videos uint8 (B, T, H, W, 3) -> (B, D)
Videos = dict[str, np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Scores of one system on each window; S is 1 for all but the model."""

    squared_error: np.ndarray  # (N, S, P), of each predicted frame
    ssim: np.ndarray  # (N, S)
    features: np.ndarray  # (N, S, D)

    @property
    def psnr(self) -> np.ndarray:
        """PSNR (N, S) over all predicted frames, in dB."""
        return psnr(self.squared_error.mean(axis=-1))

    def of(self, windows: np.ndarray) -> "Scores":
        """The scores of the windows that a mask (N,) selects."""
        return Scores(self.squared_error[windows], self.ssim[windows], self.features[windows])


class ValidationWindows:
    """Every validation window: its true frames, and what each system puts in place of the predicted ones."""

    def __init__(self, clips: Clips, latents: Latents, vqvae: VQVAE, samples: Samples, window: Window):
        self.clips, self.latents, self.vqvae = clips, latents, vqvae
        self.samples, self.window = samples, window
        self.refs = clips.windows("val", window)
        for name, found in (("latent shards", latents.window_ids()), ("samples", samples.windows)):
            if any(there != wanted for there, wanted in itertools.zip_longest(found, self.refs.ids())):
                raise VqcastError(
                    f"the {name} are not those of the clips' {len(self.refs)} validation windows; "
                    "run the stages from encode on again"
                )

    def __len__(self) -> int:
        return len(self.refs)

    def true_frames(self, numbers: range) -> np.ndarray:
        """The clips' own frames, uint8 (B, T, H, W, 3)."""
        return np.stack([self.clips.frames(self.refs[n], self.window.frames) for n in numbers])

    def systems(self, numbers: range, truth: np.ndarray) -> Videos:
        """The predicted frames by each system, uint8 (B, S, P, H, W, 3)."""
        last = truth[:, self.window.given - 1 : self.window.given]
        repeated = np.repeat(last, self.window.frames - self.window.given, axis=1)
        return {
            "reconstruction": self.reconstructed(numbers, self.window.given)[:, None],
            "model": np.stack([self._sampled(self.refs[n].id) for n in numbers]),
            "repeat_last_frame": repeated[:, None],
        }

    @torch.inference_mode()
    def reconstructed(self, numbers: range, given: int) -> np.ndarray:
        """Frames from `given` on, uint8 (B, T - given, H, W, 3), of the decoded windows' own codes."""
        codes = Codes(*(_codes(self.latents.codes(level, numbers)) for level in ("top", "bottom")))
        video = to_pixels(decode_predicted(self.vqvae, codes, given))
        return video.permute(0, 2, 3, 4, 1).cpu().numpy()

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


@dataclass(frozen=True)
class Batch:
    """Windows scored together, and the file that holds their scores then."""

    numbers: range
    file: Path

    def __len__(self) -> int:
        return len(self.numbers)


def score_windows(scoring: Scoring, windows: int, scratch: Path) -> dict[str, np.ndarray]:
    """Scores of all `windows` validation windows, as `score_batch` and `nll_bits` name them.

    Batches already in `scratch` are not scored again.
    """
    batches = batches_of(windows, scoring.evaluate, scratch)
    for _ in run_units(partial(_score, scoring), batches, "evaluate", networks=True):
        pass
    parts = []
    for batch in batches:
        with np.load(batch.file, allow_pickle=False) as file:
            parts.append(dict(file))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def batches_of(windows: int, evaluate: Evaluate, scratch: Path) -> list[Batch]:
    """What is scored together, in the order of the windows."""
    size = evaluate.batch_size
    return [
        Batch(range(first, min(first + size, windows)), scratch / f"scores-{first:08d}.npz")
        for first in range(0, windows, size)
    ]


def scores_by_system(scores: dict[str, np.ndarray]) -> dict[str, Scores]:
    fields = ("squared_error", "ssim", "features")
    return {system: Scores(*(scores[f"{system}.{field}"] for field in fields)) for system in SYSTEMS}


def _score(scoring: Scoring, batch: Batch) -> None:
    """Score a batch, unless an earlier run has done so."""
    if batch.file.exists():
        return
    windows, priors, features = _opened(scoring)
    truth = windows.true_frames(batch.numbers)
    systems = windows.systems(batch.numbers, truth)
    scores = score_batch(truth, systems, features, windows.window.given, scoring.evaluate.frames)
    some = Subset(windows.latents, batch.numbers)
    for level, prior in priors.items():
        scores[f"{level}.nll_bits"] = validation_nll_bits(prior, some, len(batch))
    with appearing(batch.file) as path, open(path, "wb") as file:
        np.savez(file, **scores)


@cache
def _opened(scoring: Scoring) -> tuple[ValidationWindows, dict[str, nn.Module], Features]:
    """What scores windows, once a process."""
    priors = {"top": load_top_prior(scoring.top_prior), "bottom": load_bottom_prior(scoring.bottom_prior)}
    return scoring.open_windows(), priors, RandomI3D(scoring.evaluate.resolution, scoring.evaluate.precision)


def score_batch(
    truth: np.ndarray, systems: Videos, features: Features, given: int, seen: str
) -> dict[str, np.ndarray]:
    """Scores of one batch: `<system>.squared_error`, `.ssim`, `.features`, and `true.features`.

    truth: (B, T, H, W, 3). systems: their predicted frames, (B, S, P, H, W, 3).
    """
    true = truth[:, given:]
    start = 0 if seen == "all" else given
    results = {"true.features": features(truth[:, start:])}
    for name, videos in systems.items():
        samples = [videos[:, sample] for sample in range(videos.shape[1])]
        whole = [np.concatenate([truth[:, start:given], sample], axis=1) for sample in samples]
        results[f"{name}.squared_error"] = squared_error(videos, true[:, None])
        results[f"{name}.ssim"] = np.stack([ssim(sample, true) for sample in samples], axis=1)
        results[f"{name}.features"] = np.stack([features(video) for video in whole], axis=1)
    return results


def _codes(codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(codes.astype(np.int64)).to(device())
