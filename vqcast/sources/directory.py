"""The source `directory`: a folder of one's own videos, `<root>/<label>/<file>`.

`<root>/videos.csv` may state what the folder cannot: a column `video` (path relative to the root) and a
column `split` (train or val); and, if it likes, `label`, `url`, `licence`, `attribution` and `sha256`. Its
videos come in the order of its rows, and then those that it does not name, by name.
"""

import csv
import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.settings.data import DirectorySource
from vqcast.sources.manifest import SPLITS
from vqcast.sources.sources import Fetched, Video
from vqcast.sources.store import Store

TABLE = "videos.csv"
VIDEOS_PER_REQUEST = 8


@dataclass(frozen=True)
class Entry:
    """A video, where it lies, and what videos.csv says of its content."""

    video: Video
    path: Path | None  # None: videos.csv names it, but the folder lacks it
    sha256: str | None  # None: not stated


class Directory:
    """Links or copies a folder's videos into the store."""

    def __init__(self, settings: DirectorySource):
        self.root = Path(settings.root)
        self.val_share = settings.val_share
        self.order: list[str] = []

    def plan(self) -> Sequence[tuple[Entry, ...]]:
        if not self.root.is_dir():
            raise VqcastError(f"download.directory.root: the folder {self.root} does not exist")
        stated, present = _read_table(self.root / TABLE), _listed(self.root)
        names = [*stated, *sorted(present - stated.keys())]
        if not names:
            raise VqcastError(f"download.directory.root: {self.root} holds no video as <label>/<file>")
        entries = [self._entry(name, stated.get(name, {}), name in present) for name in names]
        self.order = [entry.video.video for entry in entries]
        starts = range(0, len(entries), VIDEOS_PER_REQUEST)
        return [tuple(entries[start : start + VIDEOS_PER_REQUEST]) for start in starts]

    def fetch(self, request: tuple[Entry, ...], store: Store) -> list[Fetched]:
        return [self._fetch(entry, store) for entry in request]

    def missing(self, fetched: Collection[Fetched]) -> list[Fetched]:
        return []

    def _entry(self, name: str, stated: dict[str, str], present: bool) -> Entry:
        video = Video(
            video=name.encode(errors="surrogateescape").decode(errors="replace"),  # names need not be UTF-8
            label=stated.get("label") or name.split("/")[0],
            split=stated.get("split"),
            url=stated.get("url") or None,
            licence=stated.get("licence") or None,
            attribution=stated.get("attribution") or None,
        )
        return Entry(video, self.root / name if present else None, stated.get("sha256") or None)

    def _fetch(self, entry: Entry, store: Store) -> Fetched:
        if entry.path is None:
            return Fetched(entry.video, None, "absent", f"{TABLE} names it, but there is no such file")
        try:
            stored = store.link_in(entry.path)
        except PermissionError:
            return Fetched(entry.video, None, "private", "the file may not be read")
        if entry.sha256 and stored.sha256 != entry.sha256.lower():
            return Fetched(entry.video, None, "corrupt", f"its SHA-256 is not the one that {TABLE} states")
        split = entry.video.split or self._split(stored.sha256)
        return Fetched(dataclasses.replace(entry.video, split=split), stored)

    def _split(self, sha256: str) -> str:
        """By the content's hash: a video keeps its split when others come or go, or when it is renamed."""
        return "val" if int(sha256[:12], 16) < self.val_share * 16**12 else "train"


def _listed(root: Path) -> set[str]:
    """Names `<label>/<file>` of the files in a folder, hidden ones left out."""
    names = (path.relative_to(root) for path in root.glob("*/*") if path.is_file())
    return {name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)}


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """The rows of videos.csv by video; none if there is no such file."""
    if not path.is_file():
        return {}
    rows = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("video", "split") if name not in (reader.fieldnames or ())]
            if missing:
                raise VqcastError(f"{path} lacks the column {' and the column '.join(missing)}")
            for row in reader:
                name = row["video"]
                if name in rows:
                    raise VqcastError(f"{path}, line {reader.line_num}: the video {name!r} is named twice")
                if row["split"] not in SPLITS:
                    raise VqcastError(
                        f"{path}, line {reader.line_num}: the split of {name!r} must be train or val, "
                        f"not {row['split']!r}"
                    )
                rows[name] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise VqcastError(f"{path} is not a CSV table in UTF-8: {error}") from None
    return rows
