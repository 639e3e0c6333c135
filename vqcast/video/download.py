"""The download stage: a source's videos in the store, and data/raw.parquet, which pins them."""

from functools import partial
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.execution import run_units
from vqcast.settings import Download
from vqcast.video.directory import Directory
from vqcast.video.manifest import RAW, summary, write_manifest
from vqcast.video.sample import Sample
from vqcast.video.sources import Fetched, Source
from vqcast.video.store import Store


def download(settings: Download, store: str | Path, out: str | Path) -> None:
    """Fetch every video of the chosen source into folder `store`, and write the table `out`.

    Rows come in the source's own order, so that videos added to its end move no other.
    Raises VqcastError where there is no video, or where too many cannot be had.
    """
    source = source_of(settings)
    requests = source.plan()
    kept = Store(store)
    kept.clear()
    fetched = dict(run_units(partial(source.fetch, store=kept), requests, "download"))
    rows = [_row(item) for number in range(len(requests)) for item in fetched[number]]
    _reject_train_copies_of_val(rows)
    _check_failures(rows, settings.max_failed_share)
    write_manifest(rows, RAW, out)


def source_of(settings: Download) -> Source:
    if settings.source == "sample":
        return Sample(settings.sample)
    return Directory(settings.directory)


def _row(fetched: Fetched) -> dict:
    row = {**vars(fetched.video), "status": "ok", "reason": fetched.reason}
    return row | (vars(fetched.stored) if fetched.stored else {"status": "failed"})


def _reject_train_copies_of_val(rows: list[dict]) -> None:
    """A model must not be judged on videos it was trained on, whatever they are called."""
    val = {
        row["sha256"]: row["video"]
        for row in reversed(rows)
        if row["status"] == "ok" and row["split"] == "val"
    }
    for row in rows:
        if row["status"] == "ok" and row["split"] == "train" and row["sha256"] in val:
            reason = f"its content is that of {val[row['sha256']]!r}, a validation video"
            row.update(status="failed", reason=reason, file=None, bytes=None, sha256=None)


def _check_failures(rows: list[dict], max_share: float) -> None:
    failed = [row for row in rows if row["status"] == "failed"]
    if len(failed) == len(rows):
        raise VqcastError(f"none of the {len(rows)} videos can be had: {summary(failed)}")
    if len(failed) > max_share * len(rows):
        raise VqcastError(
            f"{len(failed)} of {len(rows)} videos cannot be had, more than download.max_failed_share "
            f"({max_share:g}) allows: {summary(failed)}"
        )
