"""From scores of windows to the figures in reports/evaluate.json."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from vqcast.latents import LEVELS, Latents
from vqcast.metrics.codes import entropy_bits, perplexity, slice_counts, usage
from vqcast.metrics.features import RandomI3D
from vqcast.metrics.frechet import frechet_distance
from vqcast.metrics.image import PSNR_CAP, psnr
from vqcast.metrics.scores import Scores
from vqcast.settings import Evaluate, Window

SIGNIFICANT_DIGITS = 5  # what is written; the last bits of a float depend on the number of threads


@dataclass(frozen=True)
class Evaluation:
    """All that was measured on N validation windows."""

    true_features: np.ndarray  # (N, D)
    scores: dict[str, Scores]
    latents: Latents
    nll_bits: dict[str, np.ndarray]  # (N,) by level, of the predicted codes
    metric: str  # what the Frechet distance of these features is called
    pixels: int  # of a window

    def moving(self, below_psnr: float) -> np.ndarray:
        """Which windows (N,) move: those whose repeated last frame scores less than `below_psnr` dB."""
        return self.scores["repeat_last_frame"].psnr[:, 0] < below_psnr

    def figures(self, chosen: np.ndarray) -> dict:
        """Every figure over the `chosen` windows (N,), bool; None where they are too few for one."""
        counts = slice_counts(self.latents, chosen)
        return {
            "windows": int(chosen.sum()),
            **{system: self._system(system, chosen) for system in self.scores},
            "codes": self._codes(counts),
            "priors": {level: self._prior(level, chosen, counts[level]) for level in self.nll_bits},
        }

    def _system(self, system: str, chosen: np.ndarray) -> dict:
        scores = self.scores[system].of(chosen)
        figures = {
            "psnr": _mean(scores.psnr),
            "psnr_by_frame": psnr(scores.squared_error).mean(axis=(0, 1)).tolist() if chosen.any() else [],
            "ssim": _mean(scores.ssim),
            self.metric: _distance(scores.features, self.true_features[chosen]),
        }
        if system == "model":
            reconstructed = self.scores["reconstruction"].of(chosen).features
            figures[f"{self.metric}_vs_reconstructions"] = _distance(scores.features, reconstructed)
        return figures

    def _codes(self, counts: dict[str, np.ndarray]) -> dict:
        """Bits a code are those of all shards; the share is of a whole window's own codes.

        counts: (T, K) by level.
        """
        grids, bits = self.latents.manifest.grids, bits_per_code(self.latents)
        count = int(np.prod(grids.top) + np.prod(grids.bottom))
        figures: dict = {"bits_per_code": bits, "share_of_pixel_bits": count * bits / (self.pixels * 24)}
        for level, of_slices in counts.items():
            some = of_slices.any()
            figures[level] = {
                "usage": usage(of_slices.sum(0)) if some else None,
                "perplexity": perplexity(of_slices.sum(0)) if some else None,
            }
        return figures

    def _prior(self, level: str, chosen: np.ndarray, counts: np.ndarray) -> dict:
        """NLL beside the unigram entropy of the same codes: the predicted slices of these windows."""
        predicted = counts[getattr(self.latents.manifest.grids, f"prefix_{level}") :].sum(0)
        return {
            "nll_bits": _mean(self.nll_bits[level][chosen]),
            "unigram_entropy_bits": entropy_bits(predicted) if predicted.any() else None,
        }


def bits_per_code(latents: Latents) -> float:
    """Bits on disk over the codes they hold, prefix codes included, of all shards of both splits."""
    folder = latents.files[0].parent
    shards = [folder / name for name in latents.manifest.files if name.endswith(".parquet")]
    size = sum(path.stat().st_size for path in shards)
    windows = sum(pq.read_metadata(path).num_rows for path in shards)
    return 8 * size / (windows * sum(math.prod(latents.manifest.grids.shape(level)) for level in LEVELS))


def protocol(evaluate: Evaluate, window: Window, samples_per_window: int, features: RandomI3D) -> dict:
    """How the figures were made: what must stand beside them."""
    predicted = window.frames - window.given
    seen = {
        "predicted": f"the {predicted} predicted ones",
        "all": f"{window.given} given and {predicted} predicted ones",
    }
    return {
        "window_frames": window.frames,
        "given_frames": window.given,
        "samples_per_window": samples_per_window,
        "moving_below_psnr": evaluate.moving_below_psnr,
        "psnr": f"dB over a window's predicted frames, at most {PSNR_CAP:g}; mean over windows and samples",
        "ssim": "11x11 Gaussian of sigma 1.5; mean over predicted frames, windows and samples",
        "significant_digits": SIGNIFICANT_DIGITS,
        "frechet": {
            "metric": features.metric,
            "frames": seen[evaluate.frames],
            "covariance": "over N - 1",
            "folds": 1,
            **features.protocol(),
        },
    }


def rounded(value: object) -> object:
    """`value`, a tree of dicts and lists, with its floats to SIGNIFICANT_DIGITS."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _distance(first: np.ndarray, second: np.ndarray) -> float | None:
    """Frechet distance of features (N, ..., D), None for fewer than 2 windows."""
    if min(len(first), len(second)) < 2:
        return None
    return frechet_distance(first.reshape(-1, first.shape[-1]), second.reshape(-1, second.shape[-1]))
