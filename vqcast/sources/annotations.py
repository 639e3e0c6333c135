"""Annotation files of Kinetics-400, -600 and -700 as they are, and the part of them that is wanted.

A file is a CSV table: `label,youtube_id,time_start,time_end,split`; test files have no label, those of
Kinetics-400 have `is_cc` too. An id may occur twice in a file and in files of two splits, and the same label
is not always written alike.
"""

import csv
import difflib
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vqcast.errors import VqcastError
from vqcast.settings.data import KineticsSelection

SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
LICENCES = {"0": "YouTube standard licence", "1": "CC-BY"}  # what YouTube lets an uploader choose from


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a YouTube video that an annotation file gives a label."""

    youtube_id: str
    start: int  # seconds
    end: int
    label: str | None  # None: the file states none, as Kinetics does for its test split
    split: str  # Kinetics': train, val or test
    licence: str | None = None  # None: not stated

    @property
    def id(self) -> str:
        """The name of its file in an archive, without the suffix."""
        return f"{self.youtube_id}_{self.start:06d}_{self.end:06d}"


@dataclass(frozen=True)
class Selection:
    """The segments that are wanted, and those that would be but for `in_two_splits`.

    No two have the same id.
    """

    wanted: tuple[Segment, ...]
    in_two_splits: dict[Segment, str]  # a training segment to the split that has its video too
    order: tuple[str, ...]  # the ids of all these, as the files first name them


def select(settings: KineticsSelection, read: Callable[[str], str]) -> Selection:
    """What `settings` wants of the annotation files; `read` gives the text of a path or URL.

    A training segment is kept out if its video is in another split of any of the files, wanted or not.
    The same segments are taken whatever order the files and their lines have; a lower maximum takes some
    of those that a higher one takes. Raises VqcastError for a file that is no annotation file and for a
    label that is in none.
    """
    segments = one_spelling(
        [segment for place in settings.annotations for segment in parse(place, read(place))]
    )
    held_out = {segment.youtube_id: segment.split for segment in segments if segment.split != "train"}
    known = {segment.label.casefold(): segment.label for segment in segments if segment.label is not None}
    labels = None if settings.labels is None else {_known(label, known) for label in settings.labels}
    chosen = [
        segment
        for segment in _once_each(segments, settings.splits)
        if labels is None or segment.label in labels
    ]
    if settings.max_per_label is not None:
        chosen = _at_most(settings.max_per_label, chosen)
    in_two = {
        segment: held_out[segment.youtube_id]
        for segment in chosen
        if segment.split == "train" and segment.youtube_id in held_out
    }
    wanted = tuple(segment for segment in chosen if segment not in in_two)
    if not wanted:
        raise VqcastError("download.kinetics selects no segment of its annotation files")
    ids = {segment.id for segment in chosen}
    order = dict.fromkeys(segment.id for segment in segments if segment.id in ids)
    return Selection(wanted, in_two, tuple(order))


def parse(name: str, text: str) -> list[Segment]:
    """The lines of an annotation file; raises VqcastError with `name` and line if it is not one."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        header = [cell.strip().lstrip("# ").lower().replace(" ", "_") for cell in next(reader, [])]
        missing = [
            column for column in ("youtube_id", "time_start", "time_end", "split") if column not in header
        ]
        if missing:
            raise VqcastError(f"{name} is no annotation file: it lacks the column {missing[0]}")
        return [
            _segment(dict(zip(header, cells, strict=False)), f"{name}, line {reader.line_num}")
            for cells in reader
            if cells
        ]
    except csv.Error as error:
        raise VqcastError(f"{name}, line {reader.line_num}: {error}") from None


def one_spelling(segments: Sequence[Segment]) -> list[Segment]:
    """The segments with every label that differs in case alone written as the most frequent of its forms."""
    counts = {}
    for segment in segments:
        if segment.label is not None:
            forms = counts.setdefault(segment.label.casefold(), {})
            forms[segment.label] = forms.get(segment.label, 0) + 1
    best = {folded: min(forms, key=lambda form: (-forms[form], form)) for folded, forms in counts.items()}
    return [
        segment
        if segment.label is None or best[segment.label.casefold()] == segment.label
        else Segment(
            segment.youtube_id,
            segment.start,
            segment.end,
            best[segment.label.casefold()],
            segment.split,
            segment.licence,
        )
        for segment in segments
    ]


def _segment(row: dict[str, str], where: str) -> Segment:
    """One line; a float for a whole number of seconds is one too."""
    youtube_id = row["youtube_id"].strip()
    if not re.fullmatch(r"[\w-]{11}", youtube_id, re.ASCII):
        raise VqcastError(f"{where}: {youtube_id!r} is no YouTube id")
    split = SPLITS.get(row.get("split", "").strip().lower())
    if split is None:
        raise VqcastError(f"{where}: the split must be train, val or test, not {row.get('split')!r}")
    try:
        start, end = int(float(row["time_start"])), int(float(row["time_end"]))
        if not 0 <= start < end < 10**6:
            raise ValueError
    except (ValueError, OverflowError, KeyError):
        times = f"{row.get('time_start')!r} to {row.get('time_end')!r}"
        raise VqcastError(f"{where}: {times} is no span of seconds") from None
    label = row.get("label", "").strip() or None
    return Segment(youtube_id, start, end, label, split, LICENCES.get(row.get("is_cc", "").strip()))


def _once_each(segments: Iterable[Segment], splits: Sequence[str]) -> list[Segment]:
    """The segments of `splits`, sorted by id; of those that share one, the held-out one, then by label."""

    def order(segment: Segment) -> tuple:
        return (segment.id, segment.split == "train", segment.split != "val", segment.label or "")

    unique = {}
    for segment in sorted((one for one in segments if one.split in splits), key=order):
        unique.setdefault(segment.id, segment)
    return list(unique.values())


def _at_most(count: int, segments: Sequence[Segment]) -> list[Segment]:
    """`count` segments of each label in each split: those whose ids have the smallest hashes."""
    groups = {}
    for segment in segments:
        groups.setdefault((segment.split, segment.label), []).append(segment)
    kept = {
        segment
        for group in groups.values()
        for segment in sorted(group, key=lambda one: hashlib.sha256(one.id.encode()).digest())[:count]
    }
    return [segment for segment in segments if segment in kept]


def _known(label: str, known: dict[str, str]) -> str:
    """The label as the files write it, whatever its case."""
    if label.casefold() in known:
        return known[label.casefold()]
    near = difflib.get_close_matches(label.casefold(), known, n=1)
    hint = f"; did you mean {known[near[0]]!r}?" if near else ""
    raise VqcastError(f"download.kinetics.labels: no annotation file has the label {label!r}{hint}")
