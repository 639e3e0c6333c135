"""Learning curves, written with dvclive as training goes."""

import shutil
from pathlib import Path

import torch
from dvclive import Live
from torch import Tensor

from vqcast.work.environment import device

Point = tuple[int, str, float]  # step, name, value


class Curves:
    """Points of named curves; the folder, if any, always shows those of the run so far and no others."""

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.points: list[Point] = []
        self._noted: dict[str, list[Tensor]] = {}
        self._live: Live | None = None

    def note(self, figures: dict[str, Tensor]) -> None:
        """Keep figures of one step for the mean that the next point will be."""
        for name, value in figures.items():
            self._noted.setdefault(name, []).append(value)

    def add_means(self, step: int, group: str) -> dict[str, float]:
        """Add the means of what was noted since the last time, and return them."""
        means = {name: torch.stack(values).mean().item() for name, values in self._noted.items()}
        self._noted = {}
        self.add(step, group, means)
        return means

    def add(self, step: int, group: str, figures: dict[str, float]) -> None:
        """Add one point to each curve `group/name`."""
        added = [(step, f"{group}/{name}", value) for name, value in figures.items()]
        self.points += added
        self._write(added)

    def state(self) -> dict:
        noted = {name: torch.stack(values) for name, values in self._noted.items()}
        return {"points": list(self.points), "noted": noted}

    def restore(self, state: dict) -> None:
        """Go back to the points that a checkpoint holds."""
        self.points = [tuple(point) for point in state["points"]]
        self._noted = {name: list(values.to(device())) for name, values in state["noted"].items()}
        self._write(self.points)

    def close(self) -> None:
        if self._live:
            self._live.end()

    def _write(self, points: list[Point]) -> None:
        if self.folder is None:
            return
        if self._live is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._live = Live(str(self.folder), save_dvc_exp=False, dvcyaml=None, report=None)
        for step, name, value in points:
            self._live.step = step
            self._live.log_metric(name, value)
        self._live.make_summary()
