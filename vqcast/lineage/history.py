"""dvc.lock and the lineage in every commit of the repository."""

import functools
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.lineage.locks import Lock, parse_lock

WORKSPACE = "workspace"  # the revision that is no commit: what lies in the folder


@dataclass(frozen=True)
class Commit:
    """A commit that changed dvc.lock."""

    sha: str
    when: str  # ISO 8601
    author: str
    subject: str
    blob: str  # of its dvc.lock


class History:
    """The git repository at `root`; every file is named by its path from there."""

    def __init__(self, root: Path):
        self.root = root
        if self._git("rev-parse", "--show-toplevel", check=False) is None:
            raise VqcastError(f"{root} is no git repository: without its commits nothing can be audited")
        self.prefix = self._text("rev-parse", "--show-prefix")
        self.top = Path(self._text("rev-parse", "--show-toplevel"))

    def commits(self) -> list[Commit]:
        """Those of all branches and tags that changed dvc.lock, newest first.

        Not simplified: git would leave out the side of a merge that had no part in the outcome, and with
        it the models that were trained there.
        """
        fields = "%H%x00%cI%x00%an <%ae>%x00%s"
        log = self._text(
            "log", "--all", "HEAD", "--full-history", f"--format={fields}", "--", "dvc.lock", check=False
        )
        rows = [line.split("\0") for line in (log or "").splitlines()]
        blobs = self._check_blobs(f"{sha}:{self.prefix}dvc.lock" for sha, *_ in rows)
        return [Commit(*row, blob) for row, blob in zip(rows, blobs, strict=True) if blob]

    @functools.cached_property
    def names(self) -> dict[str, list[str]]:
        """Tags of commits, by commit."""
        lines = self._text(
            "for-each-ref", "--format=%(objectname) %(*objectname) %(refname:short)", "refs/tags"
        )
        names: dict[str, list[str]] = {}
        for line in lines.splitlines():
            *shas, name = line.split(" ")
            names.setdefault(next(sha for sha in reversed(shas) if sha), []).append(name)
        return names

    def resolve(self, revision: str) -> str:
        """The commit that `revision` names; VqcastError where there is none."""
        sha = self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", check=False
        )
        if sha is None:
            raise VqcastError(f"git knows no revision {revision!r}")
        return sha.decode().strip()

    def lock(self, revision: str = WORKSPACE) -> Lock:
        """dvc.lock as it is in a revision; VqcastError where there is none."""
        where = "dvc.lock" if revision == WORKSPACE else f"dvc.lock in {revision}"
        content = self.read(revision, "dvc.lock")
        if content is None:
            raise VqcastError(f"{where} does not exist: no stage has run there")
        return parse_lock(content.decode(), where)

    def locks(self, blobs: Iterable[str]) -> Iterator[Lock]:
        """The dvc.lock files that are these blobs."""
        for blob, content in self.contents(blobs):
            yield parse_lock(content.decode(), f"dvc.lock (git blob {blob[:12]})")

    def read(self, revision: str, path: str) -> bytes | None:
        """The content of a file in a revision; None where there is none."""
        if revision == WORKSPACE:
            try:
                return (self.root / path).read_bytes()
            except FileNotFoundError:
                return None
        return self._git("cat-file", "blob", f"{self.resolve(revision)}:{self.prefix}{path}", check=False)

    def files(self, revision: str, folder: str) -> Iterator[tuple[str, bytes]]:
        """Path and content of every file of a folder in a revision."""
        if revision == WORKSPACE:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file():
                    yield path.relative_to(self.root).as_posix(), path.read_bytes()
            return
        listed = self._text("ls-tree", "-r", "-z", self.resolve(revision), "--", folder)
        rows = [row.split("\t", 1) for row in listed.split("\0") if row]
        paths = {about.split()[2]: path for about, path in rows}
        for blob, content in self.contents(paths):
            yield paths[blob], content

    def contents(self, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Each blob and its content."""
        blobs = list(dict.fromkeys(blobs))
        answer = self._git("cat-file", "--batch", input="\n".join(blobs).encode()) if blobs else b""
        start = 0
        for blob in blobs:
            end = answer.index(b"\n", start)
            size = int(answer[start:end].split()[2])
            yield blob, answer[end + 1 : end + 1 + size]
            start = end + 2 + size

    def _check_blobs(self, names: Iterable[str]) -> list[str | None]:
        """The blob of every `commit:path`, None where there is none."""
        text = "\n".join(names)
        if not text:
            return []
        lines = self._git("cat-file", "--batch-check", input=text.encode()).decode().splitlines()
        return [line.split()[0] if line.endswith(tuple("0123456789")) else None for line in lines]

    def _text(self, *arguments: str, check: bool = True) -> str:
        answer = self._git(*arguments, check=check)
        return "" if answer is None else answer.decode(errors="replace").rstrip("\n")

    def _git(self, *arguments: str, input: bytes | None = None, check: bool = True) -> bytes | None:
        finished = subprocess.run(["git", *arguments], cwd=self.root, input=input, capture_output=True)
        if finished.returncode == 0:
            return finished.stdout
        if check:
            said = finished.stderr.decode(errors="replace").strip()
            raise VqcastError(f"git {arguments[0]}: {said.splitlines()[-1] if said else 'it failed'}")
        return None
