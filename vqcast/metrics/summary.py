"""From scores of windows to the figures in reports/evaluate.json."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pyarrow.parquet as pq

from vqcast.codes.latents import Latents
from vqcast.features.features import Features
from vqcast.measures.calibration import miscalibration
from vqcast.measures.codes import entropy_bits, perplexity, slice_counts, usage
from vqcast.measures.frechet import distance
from vqcast.measures.image import PSNR_CAP, psnr
from vqcast.measures.intervals import CONFIDENCE, DRAWS, GROUPS, Estimate, Groups, frechet, mean, ratio
from vqcast.measures.mmd import mmd
from vqcast.measures.motion import BLOCK
from vqcast.metrics.comparison import LINEAR_FROM, POINTS, FeatureFolder, gather
from vqcast.metrics.scores import Scores, seen_frames
from vqcast.settings.data import Window
from vqcast.settings.evaluate import Evaluate

SIGNIFICANT_DIGITS = 5  # what is written; the last bits of a float depend on the number of threads


@dataclass(frozen=True)
class Space:
    """The features of every system in one space, and what figures that are made of them are called."""

    frechet: str
    mmd: str
    folder: FeatureFolder


MakeGroups = Callable[[Space, str], Groups]


@dataclass(frozen=True)
class Measured:
    """All that was measured on the N validation windows that were predicted."""

    spaces: list[Space]
    scores: dict[str, Scores]
    true_motion: dict[str, np.ndarray]  # (N, 1), by measure of `motion`
    latents: Latents
    rows: np.ndarray  # (N,), of the latents
    video: np.ndarray  # (N,), number of the video that each window is of
    group: np.ndarray  # (N,), which of GROUPS groups of videos
    nll_bits: dict[str, np.ndarray]  # (N,) by level, of the predicted codes
    ranks: dict[str, np.ndarray]  # (N, BINS) by level, of the true codes among those that would be drawn
    frames: int  # of a window
    size: int  # pixels, height and width

    def moving(self, below_psnr: float) -> np.ndarray:
        """Which windows (N,) move: those whose repeated last frame scores less than `below_psnr` dB."""
        return self.scores["repeat_last_frame"].psnr[:, 0] < below_psnr

    def figures(self, chosen: np.ndarray, intervals: bool = True) -> dict:
        """Every figure over the `chosen` windows (N,), bool; None where they are too few for one.

        With `intervals`, also how far each may be another one over other videos, and so for what the model is
        more than the repeated frame.
        """
        of_all = np.zeros(len(self.latents), bool)
        of_all[self.rows[chosen]] = True
        counts = slice_counts(self.latents, of_all)
        groups = cache(partial(self._groups, chosen, self.group if intervals else np.zeros_like(self.group)))
        estimates = {system: self._estimates(system, chosen, groups) for system in self.scores}
        figures = {
            "windows": int(chosen.sum()),
            "videos": len(np.unique(self.video[chosen])),
            **{system: self._system(system, chosen, its, groups) for system, its in estimates.items()},
            "codes": self._codes(counts),
            "priors": {level: self._prior(level, chosen, counts[level]) for level in self.nll_bits},
        }
        if intervals:
            figures["intervals"] = {
                system: {name: one and one.interval() for name, one in its.items()}
                for system, its in estimates.items()
            }
            figures["lead"] = _lead(estimates["model"], estimates["repeat_last_frame"])
        return figures

    def _system(
        self, system: str, chosen: np.ndarray, estimates: dict[str, Estimate | None], groups: MakeGroups
    ) -> dict:
        scores = self.scores[system].of(chosen)
        figures = {
            **{name: one and one.value for name, one in estimates.items()},
            "psnr_by_frame": psnr(scores.squared_error).mean(axis=(0, 1)).tolist() if chosen.any() else [],
            "ssim_by_frame": scores.ssim.mean(axis=(0, 1)).tolist() if chosen.any() else [],
            "st_lpips_by_frame": scores.st_lpips.mean(axis=(0, 1)).tolist() if chosen.any() else [],
        }
        if system == "model":
            for space in self.spaces:
                sets = (groups(space, name) for name in (system, "reconstruction"))
                enough = chosen.sum() > 1
                figures[f"{space.frechet}_vs_reconstructions"] = (
                    distance(*(one.whole for one in sets)) if enough else None
                )
        return figures

    def _estimates(self, system: str, chosen: np.ndarray, groups: MakeGroups) -> dict[str, Estimate | None]:
        """Every measure of a system, by name; None where there are too few windows for it."""
        found: dict[str, Estimate | None] = {}
        if chosen.any():
            found |= self._of_windows(system, chosen)
        for space in self.spaces:
            sets = (groups(space, name) for name in (system, "true"))
            found[space.frechet] = frechet(*sets) if chosen.sum() > 1 else None
            arrays = (space.folder.of(name, self.size) for name in (system, "true"))
            found[space.mmd] = mmd(*arrays, self.video, chosen)
        return found

    def _of_windows(self, system: str, chosen: np.ndarray) -> dict[str, Estimate]:
        """The measures that each window has."""
        scores, video = self.scores[system].of(chosen), self.video[chosen]
        frames = {"psnr": scores.psnr, "ssim": scores.ssim.mean(-1), "st_lpips": scores.st_lpips.mean(-1)}
        found = {name: mean(values.mean(1), video) for name, values in frames.items()}
        for name in ("amount", "jerk"):
            true = self.true_motion[name][chosen, 0]
            found[f"motion_{name}"] = ratio(scores.motion[name].mean(1), true, video)
        for name in ("overlap", "distance"):
            found[f"motion_{name}"] = mean(scores.motion[name].mean(1), video)
        if scores.ssim.shape[1] > 1:
            for name, values in frames.items():
                best = values.min(1) if name == "st_lpips" else values.max(1)
                found[f"{name}_best"] = mean(best, video)
            found["difference"] = mean(scores.difference, video)
        return found

    def _groups(self, chosen: np.ndarray, group: np.ndarray, space: Space, system: str) -> Groups:
        """The features of a system at the videos' own size, by the `group` (N,) of each chosen window."""
        numbers, part = np.unique(group[chosen], return_inverse=True)
        parts = np.full(len(chosen), -1)
        parts[chosen] = part
        return Groups(gather(space.folder.of(system, self.size), parts, len(numbers)))

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
        shares = self.ranks[level][chosen].mean(0) if chosen.any() else None
        return {
            "nll_bits": float(self.nll_bits[level][chosen].mean()) if chosen.any() else None,
            "unigram_entropy_bits": entropy_bits(predicted) if predicted.any() else None,
            "ranks": [] if shares is None else shares.tolist(),
            "miscalibration": None if shares is None else miscalibration(shares),
        }


def _lead(model: dict[str, Estimate | None], frozen: dict[str, Estimate | None]) -> dict:
    """What the model has more than the repeated frame, by measure, with its interval."""
    both = {name: (one, frozen[name]) for name, one in model.items() if one and frozen.get(name)}
    differences = {name: one.minus(other) for name, (one, other) in both.items()}
    return {name: {"difference": one.value, "interval": one.interval()} for name, one in differences.items()}


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
    evaluate: Evaluate, window: Window, samples_per_window: int, sizes: list[int], spaces: list[Features]
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
        "st_lpips": f"by stlpips-pytorch's AlexNet; predicted frames {_numbers(seen_frames(predicted))}",
        "motion": "absolute differences of luma from frame to frame, the last given one the first; amount "
        f"and jerk over the truth's, distance and overlap by {BLOCK}x{BLOCK} pixels",
        "mmd": "kernel (a.b / D + 1)^3 over the features of the Frechet distances, unbiased, pairs of "
        "windows of one video left out",
        "tuning_share": evaluate.tuning_share,
        "intervals": f"{CONFIDENCE:.0%}, bootstrap by video, {DRAWS} draws; Frechet distances by {GROUPS} "
        "groups of videos, each left out in turn",
        "significant_digits": SIGNIFICANT_DIGITS,
        "spaces": {space.space: space.protocol() for space in spaces},
        "frechet": {
            "metric": spaces[0].frechet,
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


def _numbers(places: list[int]) -> str:
    return ", ".join(str(place + 1) for place in places)


def rounded(value: object) -> object:
    """`value`, a tree of dicts and lists, with its floats to SIGNIFICANT_DIGITS."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value
