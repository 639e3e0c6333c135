"""From models, samples and videos to every figure in reports/evaluate.json."""

import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from vqcast.clips.tuning import chosen_on
from vqcast.clips.windows import WindowRef
from vqcast.features.features import Features
from vqcast.measures.intervals import GROUPS
from vqcast.metrics.comparison import FeatureFolder, fold_of_windows, table_2
from vqcast.metrics.scores import (
    SUMS,
    Scores,
    Scoring,
    motion_of,
    score_windows,
    scores_by_system,
    sizes_of,
)
from vqcast.metrics.summary import Measured, Space, protocol, rounded
from vqcast.metrics.table import write_positions, write_table


@dataclass(frozen=True)
class Evaluation:
    """Figures, and what they were made of. Shapes: N windows."""

    figures: dict
    refs: list[WindowRef]
    scores: dict[str, Scores]
    moving: np.ndarray  # (N,), bool
    tuning: np.ndarray  # (N,), bool: of the videos on which settings are chosen
    nll_bits: dict[str, np.ndarray]  # (T, H, W) by level: mean over the windows
    rank: dict[str, np.ndarray]  # likewise: the true code's among those that would be drawn
    prefix: dict[str, int]  # by level, how many slices precede those
    features: Path  # the folder that holds them
    scoring_seconds: float
    comparing_seconds: float

    def write_tables(self, windows: str, positions: str) -> None:
        """Write a row a window, and a row a position."""
        write_table(windows, self.refs, self.scores, self.moving, self.tuning)
        write_positions(positions, self.nll_bits, self.rank, self.prefix)


def evaluate(scoring: Scoring, spaces: list[Features], scratch: Path) -> Evaluation:
    """Score every predicted window, going on from what `scratch` holds, and compare the systems."""
    start = time.perf_counter()
    windows, settings = scoring.open_windows(), scoring.evaluate
    scored, folder = score_windows(scoring, len(windows), scratch)
    scored_at = time.perf_counter()
    size = windows.samples.video_shape[1]
    levels, refs = ("top", "bottom"), windows.refs
    _, video = np.unique([ref.video for ref in refs], return_inverse=True)
    measured = Measured(
        [Space(space.frechet, space.mmd, FeatureFolder(folder / space.space)) for space in spaces],
        scores_by_system(scored),
        motion_of("true", scored),
        windows.latents,
        windows.rows,
        video,
        fold_of_windows(refs, GROUPS),
        {level: scored[f"{level}.nll_bits"] for level in levels},
        {level: scored[f"{level}.ranks"] for level in levels},
        scoring.window.frames,
        size,
    )
    moving = measured.moving(settings.moving_below_psnr)
    tuning = chosen_on([ref.id for ref in refs], settings.tuning_share)
    about = {system.name: system.about for system in settings.systems}
    samples_per_window, sizes = windows.samples.samples_per_window, sizes_of(size, settings.sizes)
    tables = [
        table_2(space.frechet, space.folder, refs, ~tuning, settings.folds, about)
        for space in measured.spaces
    ]
    figures = measured.figures(~tuning) | {
        "moving": measured.figures(moving & ~tuning),
        "tuning": measured.figures(tuning, intervals=False),
        "table_2": list(chain(*tables)),
        "protocol": protocol(settings, scoring.window, samples_per_window, sizes, spaces),
    }
    grids = windows.latents.manifest.grids
    return Evaluation(
        rounded(figures),
        refs,
        measured.scores,
        moving,
        tuning,
        {level: scored[f"{SUMS}/{level}.nll_bits"] / len(windows) for level in levels},
        {level: scored[f"{SUMS}/{level}.rank"] / len(windows) for level in levels},
        {level: getattr(grids, f"prefix_{level}") for level in levels},
        folder,
        scored_at - start,
        time.perf_counter() - scored_at,
    )
