"""The download stage: a source's videos in the store, and data/raw.parquet, which pins them."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vqcast.errors import TransientError, VqcastError
from vqcast.settings.data import Download
from vqcast.sources.archives import KineticsArchives
from vqcast.sources.directory import Directory
from vqcast.sources.exclusions import CONTENT, Exclusions, read_exclusions
from vqcast.sources.manifest import RAW, summary, write_manifest
from vqcast.sources.sample import Sample
from vqcast.sources.sources import Fetched, Source, Video
from vqcast.sources.store import Store, StoredFile
from vqcast.web.outcomes import TRANSIENT, shortfall
from vqcast.work.execution import run_units


def download(
    settings: Download, kinetics: str | Path, store: str | Path, exclude: str | Path, out: str | Path
) -> None:
    """Fetch every video of the chosen source into folder `store`, and write the table `out`.

    Rows come in the source's own order, so that videos added to its end move no other.
    kinetics: folder of the annotation files and lists that are no URLs.
    exclude: table of the videos that are left out.
    Says on stderr which videos are not there, and which exclusions took out nothing; the table's notes say
    what each took out.
    Raises VqcastError where there is no video, or where too many cannot be had; TransientError if enough of
    them may be had later.
    """
    exclusions = read_exclusions(exclude)
    source = source_of(settings, Path(kinetics), exclusions)
    requests = source.plan()
    kept = Store(store)
    kept.clear()
    fetched: list[Fetched] = []
    for _, some in run_units(partial(source.fetch, store=kept), requests, "download"):
        fetched += some
    fetched += source.missing(fetched)
    rows = _rows(fetched, source.order)
    notes = _exclude(rows, exclusions)
    _reject_train_copies_of_val(rows)
    if table := shortfall(rows):
        print(table, file=sys.stderr)
    _check_failures(rows, settings.max_failed_share)
    write_manifest(rows, RAW, out, notes)


def source_of(settings: Download, kinetics: Path, exclusions: Exclusions) -> Source:
    if settings.source == "sample":
        return Sample(settings.sample)
    if settings.source == "directory":
        return Directory(settings.directory)
    if settings.source == "kinetics-archives":
        return KineticsArchives(settings, kinetics, exclusions)
    from vqcast.sources.kinetics_urls import KineticsUrls  # not at the top: others start without yt-dlp

    return KineticsUrls(settings, kinetics, exclusions)


def _rows(fetched: Sequence[Fetched], order: Sequence[str]) -> list[dict]:
    """A row a video, in the order given; of those that came more than once, the best."""
    rows = [_row(item) for item in fetched if item.video is not None]
    rows.sort(key=lambda row: (row["status"] != "ok", row["url"] or ""))
    best: dict[str, dict] = {}
    for row in rows:
        best.setdefault(row["video"], row)
    return [best[video] for video in order if video in best]


def _row(fetched: Fetched) -> dict:
    row = {name: getattr(fetched.video, name) for name in Video.__slots__}
    row["outcome"], row["reason"] = fetched.outcome, fetched.reason
    if fetched.stored is not None:
        row["status"] = "ok"
        for name in StoredFile.__slots__:
            row[name] = getattr(fetched.stored, name)
    else:
        row["status"] = "excluded" if fetched.outcome in ("excluded", "held-out") else "failed"
    return row


def _exclude(rows: list[dict], exclusions: Exclusions) -> list[str]:
    """Leave out what is excluded, copies under other names too; what each line of the table took out."""
    contents = {row["video"]: row.get("sha256") for row in rows}
    taken_out = exclusions.taken_out(contents)
    for row in rows:
        if (id := taken_out.get(row["video"])) is not None:
            by_name = exclusions.reason(row["video"]) is not None or id.startswith(CONTENT)
            copy = "" if by_name else f"; its content is that of {id!r}"
            _leave_out(row, "excluded", exclusions.reasons[id] + copy)
    took, idle = exclusions.account(taken_out, contents)
    if exclusions.reasons:
        print(f"exclusions: {len(took)} ids took out {len(taken_out)} videos", file=sys.stderr)
    for sentence in idle:
        print(f"exclusions: {sentence}", file=sys.stderr)
    return [*idle, *took]


def _reject_train_copies_of_val(rows: list[dict]) -> None:
    """A model must not be judged on videos it was trained on, whatever they are called."""
    val = {
        row["sha256"]: row["video"]
        for row in reversed(rows)
        if row["status"] == "ok" and row["split"] == "val"
    }
    for row in rows:
        if row["status"] == "ok" and row["split"] == "train" and row["sha256"] in val:
            copied = val[row["sha256"]]
            _leave_out(row, "held-out", f"its content is that of {copied!r}, a validation video")


def _leave_out(row: dict, outcome: str, reason: str) -> None:
    row.update(status="excluded", outcome=outcome, reason=reason, file=None, bytes=None, sha256=None)


def _check_failures(rows: list[dict], max_share: float) -> None:
    """Count against the limit what failed, not what is left out on purpose."""
    tried = [row for row in rows if row["status"] != "excluded"]
    failed = [row for row in tried if row["status"] == "failed"]
    for_good = [row for row in failed if row["outcome"] not in TRANSIENT]
    if len(failed) == len(tried):
        kind = VqcastError if failed == for_good else TransientError
        raise kind(f"none of the {len(rows)} videos can be had: {summary(failed or rows)}")
    if len(failed) > max_share * len(tried):
        kind = VqcastError if len(for_good) > max_share * len(tried) else TransientError
        raise kind(
            f"{len(failed)} of {len(tried)} videos cannot be had, more than download.max_failed_share "
            f"({max_share:g}) allows: {summary(failed)}"
        )
