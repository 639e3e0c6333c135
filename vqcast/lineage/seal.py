"""A file of the scratch folder that is believed only as it was left."""

import fcntl
from pathlib import Path

from vqcast.work.files import sha256_file


class Seal:
    """The SHA-256 of the file at `path`, and what the file system says of it, in a file beside it.

    Held by one process at a time, from when it is made until it is let go. It finds out what was damaged or
    edited, not somebody who writes a new seal as well.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.with_suffix(".seal").open("a+")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def fits(self) -> bool:
        """Whether the file is as it was when the seal was written; it is read only where it may not be."""
        self._file.seek(0)
        sha256, _, stamp = self._file.read().partition(" ")
        if stamp != _stamp(self.path):
            if sha256 != sha256_file(self.path):
                return False
            self._write(sha256)  # it was copied
        return True

    def renew(self) -> None:
        self._write(sha256_file(self.path))

    def let_go(self) -> None:
        self._file.close()

    def _write(self, sha256: str) -> None:
        self._file.truncate(0)
        self._file.write(f"{sha256} {_stamp(self.path)}")
        self._file.flush()


def _stamp(path: Path) -> str:
    """What differs as soon as somebody writes to a file; nobody can set the second time back."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
