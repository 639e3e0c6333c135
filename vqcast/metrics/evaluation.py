"""From models, samples and videos to every figure in reports/evaluate.json."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqcast.clips.windows import WindowRef
from vqcast.features.features import Features
from vqcast.metrics.comparison import FeatureFolder, table_2
from vqcast.metrics.scores import SUMS, Scores, Scoring, score_windows, scores_by_system, sizes_of
from vqcast.metrics.summary import Measured, protocol, rounded
from vqcast.metrics.table import write_positions, write_table


@dataclass(frozen=True)
class Evaluation:
    """Figures, and what they were made of. Shapes: N windows."""

    figures: dict
    refs: list[WindowRef]
    scores: dict[str, Scores]
    moving: np.ndarray  # (N,), bool
    nll_bits: dict[str, np.ndarray]  # (T, H, W) by level: mean over the windows
    prefix: dict[str, int]  # by level, how many slices precede those
    features: Path  # the folder that holds them
    scoring_seconds: float
    comparing_seconds: float

    def write_tables(self, windows: str, positions: str) -> None:
        """Write a row a window, and a row a position."""
        write_table(windows, self.refs, self.scores, self.moving)
        write_positions(positions, self.nll_bits, self.prefix)


def evaluate(scoring: Scoring, features: Features, scratch: Path) -> Evaluation:
    """Score every predicted window, going on from what `scratch` holds, and compare the systems."""
    start = time.perf_counter()
    windows, settings = scoring.open_windows(), scoring.evaluate
    scored, folder = score_windows(scoring, len(windows), scratch)
    scored_at = time.perf_counter()
    size = windows.samples.video_shape[1]
    measured = Measured(
        FeatureFolder(folder),
        scores_by_system(scored),
        windows.latents,
        windows.rows,
        {level: scored[f"{level}.nll_bits"] for level in ("top", "bottom")},
        features.metric,
        scoring.window.frames,
        size,
    )
    moving = measured.moving(settings.moving_below_psnr)
    about = {system.name: system.about for system in settings.systems}
    samples_per_window, sizes = windows.samples.samples_per_window, sizes_of(size, settings.sizes)
    figures = measured.figures(np.ones(len(windows), bool)) | {
        "moving": measured.figures(moving),
        "table_2": table_2(measured.features, windows.refs, settings.folds, about),
        "protocol": protocol(settings, scoring.window, samples_per_window, sizes, features),
    }
    grids = windows.latents.manifest.grids
    return Evaluation(
        rounded(figures),
        windows.refs,
        measured.scores,
        moving,
        {level: scored[f"{SUMS}/{level}.nll_bits"] / len(windows) for level in measured.nll_bits},
        {level: getattr(grids, f"prefix_{level}") for level in measured.nll_bits},
        folder,
        scored_at - start,
        time.perf_counter() - scored_at,
    )
