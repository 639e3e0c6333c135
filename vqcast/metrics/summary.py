"""From scores of windows to the figures in reports/evaluate.json."""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from vqcast.codes.latents import Latents
from vqcast.features.features import Features
from vqcast.metrics.arrays import ArrayFile
from vqcast.metrics.codes import entropy_bits, perplexity, slice_counts, usage
from vqcast.metrics.comparison import LINEAR_FROM, POINTS, FeatureFolder, gather
from vqcast.metrics.frechet import Gaussian, distance
from vqcast.metrics.image import PSNR_CAP, psnr
from vqcast.metrics.scores import Scores
from vqcast.settings.data import Window
from vqcast.settings.evaluate import Evaluate

SIGNIFICANT_DIGITS = 5  # what is written; the last bits of a float depend on the number of threads


@dataclass(frozen=True)
class Measured:
    """All that was measured on the N validation windows that were predicted."""

    features: FeatureFolder
    scores: dict[str, Scores]
    latents: Latents
    rows: np.ndarray  # (N,), of the latents
    nll_bits: dict[str, np.ndarray]  # (N,) by level, of the predicted codes
    metric: str  # what the Frechet distance of these features is called
    frames: int  # of a window
    size: int  # pixels, height and width

    def moving(self, below_psnr: float) -> np.ndarray:
        """Which windows (N,) move: those whose repeated last frame scores less than `below_psnr` dB."""
        return self.scores["repeat_last_frame"].psnr[:, 0] < below_psnr

    def figures(self, chosen: np.ndarray) -> dict:
        """Every figure over the `chosen` windows (N,), bool; None where they are too few for one."""
        of_all = np.zeros(len(self.latents), bool)
        of_all[self.rows[chosen]] = True
        counts = slice_counts(self.latents, of_all)
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
            self.metric: self._distance(system, "true", chosen),
        }
        if system == "model":
            figures[f"{self.metric}_vs_reconstructions"] = self._distance(system, "reconstruction", chosen)
        return figures

    def _distance(self, first: str, second: str, chosen: np.ndarray) -> float | None:
        """Frechet distance at the videos' own size, None for fewer than 2 windows."""
        if chosen.sum() < 2:
            return None
        return distance(*(_gaussian(self.features.of(name, self.size), chosen) for name in (first, second)))

    def _codes(self, counts: dict[str, np.ndarray]) -> dict:
        """Bits a code are those of all shards; the share is of a whole window's own codes.

        counts: (T, K) by level.
        """
        grids, bits = self.latents.manifest.grids, bits_per_code(self.latents)
        count = int(np.prod(grids.top) + np.prod(grids.bottom))
        pixels = self.frames * self.size**2
        figures: dict = {"bits_per_code": bits, "share_of_pixel_bits": count * bits / (pixels * 24)}
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
    return (
        8
        * size
        / (windows * sum(math.prod(latents.manifest.grids.shape(level)) for level in latents.manifest.levels))
    )


def protocol(
    evaluate: Evaluate, window: Window, samples_per_window: int, sizes: list[int], features: Features
) -> dict:
    """How the figures were made: what must stand beside them."""
    predicted = window.frames - window.given
    seen = {
        "predicted": f"{predicted}: the predicted ones",
        "all": f"{window.frames}: {window.given} given ones, true in every set, and {predicted} predicted",
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
            **features.protocol(),
            "frames": seen[evaluate.frames],
            "covariance": "over N - 1, float64",
            "sizes": f"{sizes[-1]}, the clips' own"
            + "".join(f", and {size}, shrunk as for I3D and rounded to bytes" for size in sizes[:-1]),
            "folds": evaluate.folds,
            "split": "by video, each fold's windows predicted against the same windows true; "
            "for the floor, one fold's true windows against the next one's",
            "spread": "standard deviation over the folds, over their number less 1",
            "infinite_windows": "line in 1/N through the distances at N, N/2, N/4, N/8, each the mean over "
            f"disjoint sets; with {POINTS} points or more of at least {LINEAR_FROM} windows a dimension",
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


def _gaussian(features: ArrayFile, chosen: np.ndarray) -> Gaussian:
    (gaussian,) = gather(features, np.where(chosen, 0, -1), 1)
    return gaussian
