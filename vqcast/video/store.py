"""The store of downloaded files: named by their content, kept from run to run, never deleted by DVC."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqcast.files import appearing, link_or_copy, sha256_file


@dataclass(frozen=True)
class StoredFile:
    file: str  # path relative to the store
    bytes: int
    sha256: str


class Store:
    """Files as `<first two digits>/<sha256><suffix>`, and which request gave which: `requests/<key>`."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def find(self, key: str) -> StoredFile | None:
        """What request `key` gave in an earlier run, if that file is still as it was."""
        note = self.folder / "requests" / key
        if not note.is_file():
            return None
        stored = self.folder / note.read_text().strip()
        if not stored.is_file() or sha256_file(stored) != stored.stem:
            return None
        return self._describe(stored)

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
        os.replace(path, stored)
        with appearing(self.folder / "requests" / key) as note:
            note.write_text(stored.relative_to(self.folder).as_posix())
        return self._describe(stored)

    def link_in(self, path: Path) -> StoredFile:
        """Add a file that stays where it is: a hard link where the file system can, else a copy."""
        sha256 = sha256_file(path)
        stored = self._place(sha256, path.suffix)
        if not stored.is_file() or not (stored.samefile(path) or sha256_file(stored) == sha256):
            with appearing(stored) as partial:
                link_or_copy(path.resolve(), partial)
        return self._describe(stored)

    def _place(self, sha256: str, suffix: str) -> Path:
        plain = suffix.lower() if re.fullmatch(r"\.\w{1,8}", suffix, re.ASCII) else ""
        path = self.folder / sha256[:2] / f"{sha256}{plain}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _describe(self, stored: Path) -> StoredFile:
        file = stored.relative_to(self.folder).as_posix()
        return StoredFile(file, stored.stat().st_size, stored.stem)
