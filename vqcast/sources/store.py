"""The store of downloaded files: named by their content, kept from run to run, never deleted by DVC."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqcast.work.files import appearing, link_or_copy, sha256_file


@dataclass(frozen=True, slots=True)
class StoredFile:
    file: str  # path relative to the store
    bytes: int
    sha256: str


class Store:
    """Files as `<first two digits>/<sha256><suffix>`; which request gave which, as `requests/<key>`; and
    what else a later run need not find out again, as `notes/<key>`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def find(self, key: str) -> StoredFile | None:
        """What request `key` gave in an earlier run, if that file is still as it was.

        Its content is read again only where its size or the time of its last change is another than noted.
        """
        try:
            file, *stamp = (self.folder / "requests" / key).read_text().split()
            stored = self.folder / file
            status = stored.stat()
        except FileNotFoundError:
            return None
        if stamp != _stamp(status):
            if sha256_file(stored) != stored.stem:
                return None
            self._note_request(key, stored)
        return StoredFile(file, status.st_size, stored.stem)

    def remember(self, key: str, note: dict) -> None:
        """Keep a note for later runs: that something is gone for good, or has been fetched whole."""
        self._note(self.folder / "notes" / key, json.dumps(note, sort_keys=True))

    def recall(self, key: str) -> dict | None:
        """The note that an earlier run kept."""
        try:
            return json.loads((self.folder / "notes" / key).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def clear(self) -> None:
        """Remove what a killed run left half done; no run may be using the store."""
        shutil.rmtree(self.folder / "partial", ignore_errors=True)

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        """A temporary folder on the store's file system, to make a file in before `move_in`."""
        (self.folder / "partial").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder / "partial") as folder:
            yield Path(folder)

    def move_in(self, path: Path, suffix: str, key: str) -> StoredFile:
        """Take over a finished file, and remember that request `key` gave it."""
        stored = self._place(sha256_file(path), suffix)
        os.utime(path, ns=(0, 0))  # so that notes are the same bytes whenever it comes
        os.replace(path, stored)
        self._note_request(key, stored)
        return self._describe(stored)

    def link_in(self, path: Path) -> StoredFile:
        """Add a file that stays where it is: a hard link where the file system can, else a copy."""
        sha256 = sha256_file(path)
        stored = self._place(sha256, path.suffix)
        if not stored.is_file() or not (stored.samefile(path) or sha256_file(stored) == sha256):
            with appearing(stored) as partial:
                link_or_copy(path.resolve(), partial)
        return self._describe(stored)

    def _note_request(self, key: str, stored: Path) -> None:
        file = stored.relative_to(self.folder).as_posix()
        self._note(self.folder / "requests" / key, " ".join([file, *_stamp(stored.stat())]))

    def _note(self, path: Path, text: str) -> None:
        """Write a small file in one go; what a killed run leaves of it is cleared away."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.workplace() as folder:
            (folder / "note").write_text(text)
            os.replace(folder / "note", path)

    def _place(self, sha256: str, suffix: str) -> Path:
        plain = suffix.lower() if re.fullmatch(r"\.\w{1,8}", suffix, re.ASCII) else ""
        path = self.folder / sha256[:2] / f"{sha256}{plain}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _describe(self, stored: Path) -> StoredFile:
        file = stored.relative_to(self.folder).as_posix()
        return StoredFile(file, stored.stat().st_size, stored.stem)


def _stamp(status: os.stat_result) -> list[str]:
    """What differs as soon as somebody writes to a file: its size and the time, in ns."""
    return [str(status.st_size), str(status.st_mtime_ns)]
