"""exclude.csv: the videos that must be in no data set and no model, with the reason and the date."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from vqcast.errors import VqcastError

COLUMNS = ("id", "reason", "date")
SEGMENT = re.compile(r"(?:.*/)?([\w-]{11})_\d{6}_\d{6}(?:\.\w+)?", re.ASCII)  # of a YouTube video


@dataclass(frozen=True)
class Exclusions:
    reasons: Mapping[str, str]  # by id

    def reason(self, video: str) -> str | None:
        """Why `video`, an id of data/raw.parquet, is excluded; None: it is not.

        An 11-character YouTube id excludes every segment of that video.
        """
        segment = SEGMENT.fullmatch(video)
        return self.reasons.get(video) or (self.reasons.get(segment[1]) if segment else None)


def read_exclusions(path: str | Path) -> Exclusions:
    """Read exclude.csv; raises VqcastError with the line that makes no sense."""
    reasons = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise VqcastError(f"{path} must have the columns {','.join(COLUMNS)}")
            for row in reader:
                video = (row["id"] or "").strip()
                if not video:
                    raise VqcastError(f"{path}, line {reader.line_num}: the id is missing")
                when = (row["date"] or "").strip()
                try:
                    date.fromisoformat(when)
                except ValueError:
                    raise VqcastError(
                        f"{path}, line {reader.line_num}: the date must be like 2026-01-31, not {when!r}"
                    ) from None
                reasons.setdefault(video, f"excluded on {when}: {row['reason'].strip() or 'no reason given'}")
    except FileNotFoundError:
        raise VqcastError(
            f"{path} does not exist; a table with the header {','.join(COLUMNS)} will do"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise VqcastError(f"{path} is not a CSV table in UTF-8: {error}") from None
    return Exclusions(reasons)
