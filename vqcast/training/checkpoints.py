"""Checkpoints of a training run: atomic, the newest good one is used, loaded without unpickling code."""

import sys
from pathlib import Path

import torch

from vqcast.errors import VqcastError
from vqcast.work.files import appearing

KEPT = 2


class Checkpoints:
    """The checkpoints in `folder`, one file each, named by the number of steps done.

    `run` identifies the data, parameters and code of the training run that they belong to.
    """

    def __init__(self, folder: Path, run: str):
        self.folder, self.run = folder, run

    def save(self, step: int, state: dict) -> None:
        """Save everything the next step depends on; older checkpoints but one are removed."""
        with appearing(self._path(step)) as partial:
            torch.save({"run": self.run, "step": step, **state}, partial)
        for old in self._paths()[:-KEPT]:
            old.unlink()

    def newest(self) -> dict | None:
        """The newest state that can be read, None where there is none.

        Raises VqcastError if it belongs to another run.
        """
        for path in reversed(self._paths()):
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # a damaged file fails in many ways; the one before it will do
                print(f"{path} is damaged ({type(error).__name__}); going back one", file=sys.stderr)
                continue
            if state["run"] != self.run:
                raise VqcastError(
                    f"{path} belongs to a run with other data, parameters or code; remove it to start anew"
                )
            return state
        return None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.pt"

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))
