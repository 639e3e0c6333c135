"""exclude.csv: the videos that must be in no data set and no model, with the reason and the date."""

import csv
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vqcast.errors import VqcastError

COLUMNS = ("id", "reason", "date")
SEGMENT = re.compile(r"(?:.*/)?([\w-]{11})_\d{6}_\d{6}(?:\.\w+)?", re.ASCII)  # of a YouTube video
CONTENT, YOUTUBE = "sha256:", "youtube:"  # how an id begins that is not a video's
FORMS = {CONTENT: re.compile(r"[0-9a-f]{64}"), YOUTUBE: re.compile(r"[\w-]{11}", re.ASCII)}
IDLE = "took out nothing"
NAMED = 5  # of the videos that a line took out


@dataclass(frozen=True)
class Exclusions:
    """Ids as the table has them: of a video, of a YouTube video, or of a content as `sha256:<hex>`."""

    reasons: Mapping[str, str]  # by id

    def reason(self, video: str) -> str | None:
        """Why `video`, an id of data/raw.parquet, is excluded by name; None: it is not.

        A YouTube id of 11 characters, with or without `youtube:`, excludes every segment of that video.
        """
        id = self._id_of(video)
        return None if id is None else self.reasons[id]

    def taken_out(self, contents: Mapping[str, str | None]) -> dict[str, str]:
        """By which id each video is excluded that is: by name, or for a content that an excluded one has.

        contents: the SHA-256 of every video, None where it is not known.
        """
        if not self.reasons:
            return {}
        named = {video: id for video in contents if (id := self._id_of(video)) is not None}
        of_content = {id.removeprefix(CONTENT): id for id in self.reasons if id.startswith(CONTENT)}
        for video, id in named.items():
            if contents[video] is not None:
                of_content.setdefault(contents[video], id)
        copies = {video: of_content[sha256] for video, sha256 in contents.items() if sha256 in of_content}
        return copies | named

    def account(self, taken_out: Mapping[str, str], videos: Iterable[str]) -> tuple[list[str], list[str]]:
        """What each id took out, and what took out nothing: a sentence each.

        videos: all that there are, of which one may be meant by an id that fits none.
        """
        by_id: dict[str, list[str]] = {}
        for video, id in taken_out.items():
            by_id.setdefault(id, []).append(video)
        took = [
            f"{id!r} took out {', '.join(map(repr, names[:NAMED]))}"
            + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
            for id, names in by_id.items()
        ]
        idle = [id for id in self.reasons if id not in by_id]
        plain = {_plainly(video): video for video in videos} if idle else {}
        return took, [f"{id!r} {IDLE}{_hint(id, plain)}" for id in idle]

    def _id_of(self, video: str) -> str | None:
        segment = SEGMENT.fullmatch(video)
        ids = [video, *((f"{YOUTUBE}{segment[1]}", segment[1]) if segment else ())]
        return next((id for id in ids if id in self.reasons), None)


def _plainly(name: str) -> str:
    """What names have in common that look or mean the same: accents put together, small letters, no `./`."""
    return os.path.normpath(unicodedata.normalize("NFC", name).casefold().strip())


def _hint(id: str, plain: Mapping[str, str]) -> str:
    clip_of, _, number = id.rpartition("#")
    if FORMS[CONTENT].fullmatch(id.lower()):
        return f"; a content is excluded by {CONTENT}{id.lower()}"
    if number.isdigit() and _plainly(clip_of) in plain:
        return f"; it is a clip's id, of the video {plain[_plainly(clip_of)]!r}"
    if (meant := plain.get(_plainly(id))) is not None:
        return f"; there is {meant!r} ({meant!a})" if not meant.isascii() else f"; there is {meant!r}"
    return ""


def read_exclusions(path: str | Path) -> Exclusions:
    """Read exclude.csv; raises VqcastError with the line that makes no sense."""
    reasons = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise VqcastError(f"{path} must have the columns {','.join(COLUMNS)}")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                id = _checked_id(row["id"] or "", where)  # as it stands: a name may end in a blank
                when = (row["date"] or "").strip()
                try:
                    date.fromisoformat(when)
                except ValueError:
                    raise VqcastError(f"{where}: the date must be like 2026-01-31, not {when!r}") from None
                if None in row:
                    raise VqcastError(f"{where}: it has more than the columns {','.join(COLUMNS)}")
                reasons.setdefault(id, f"excluded on {when}: {row['reason'].strip() or 'no reason given'}")
    except FileNotFoundError:
        raise VqcastError(
            f"{path} does not exist; a table with the header {','.join(COLUMNS)} will do"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise VqcastError(f"{path} is not a CSV table in UTF-8: {error}") from None
    return Exclusions(reasons)


def _checked_id(id: str, where: str) -> str:
    if not id.strip():
        raise VqcastError(f"{where}: the id is missing")
    for kind, form in FORMS.items():
        if id.startswith(kind):
            id = id.lower() if kind == CONTENT else id
            if not form.fullmatch(id.removeprefix(kind)):
                what = "64 hex digits" if kind == CONTENT else "a YouTube id of 11 characters"
                raise VqcastError(
                    f"{where}: {kind} must be followed by {what}, not {id.removeprefix(kind)!r}"
                )
    return id
