"""What a flow run leaves on the Prefect server to look at: how far each stage is, figures, the lineage.

None of it is worth a stage: where the server does not take an artifact, the run goes on.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from vqcast.errors import VqcastError
from vqcast.metrics.figures import METRICS, numbers, read_figures

LINEAGE = "lineage"
PROGRESS = re.compile(r"\b(\d{1,3})%\|")  # of a progress bar of tqdm


class StageProgress:
    """The progress artifact of one stage, read from the bars in its log."""

    def __init__(self, stage: str):
        self._artifact = None
        self._shown = 0
        with _worth_no_stage():
            self._artifact = create_progress_artifact(
                0.0, key=f"progress-{_slug(stage)}", description=f"How far the stage {stage} is"
            )

    def line(self, line: str) -> None:
        """Take a line of the stage's log."""
        bars = PROGRESS.findall(line)
        if bars and int(bars[-1]) != self._shown:
            self.show(int(bars[-1]))

    def show(self, percent: int) -> None:
        self._shown = percent
        if self._artifact is not None:
            with _worth_no_stage():
                update_progress_artifact(self._artifact, float(percent))


def show_metrics(root: Path) -> None:
    """The figures of reports/evaluate.json as a table, where there is one."""
    try:
        figures = read_figures(root)
    except VqcastError:
        return
    table = [{"figure": name, "value": value} for name, value in numbers(figures).items()]
    with _worth_no_stage():
        create_table_artifact(table, key="metrics", description=f"Figures of {METRICS}")


def show_lineage(root: Path) -> None:
    """Where the record of what made what lies: the OpenLineage server, or a folder of the workspace."""
    link = os.environ.get("OPENLINEAGE_URL") or (root / LINEAGE).resolve().as_uri()
    with _worth_no_stage():
        create_link_artifact(
            link, "Lineage", key="lineage", description="`python pipeline.py audit --help` reads it"
        )


def show_verdict(text: str) -> None:
    """Why a model was promoted, or not: `text` is Markdown."""
    with _worth_no_stage():
        create_markdown_artifact(text, key="verdict", description="The new model against the promoted one")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@contextlib.contextmanager
def _worth_no_stage() -> Iterator[None]:
    with contextlib.suppress(httpx.HTTPError, PrefectException, OSError):
        yield
