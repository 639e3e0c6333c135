"""dvc.lock and the lineage in every commit of the repository."""

import functools
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.lineage.locks import Lock, parse_lock
from vqcast.work.git import run_git

WORKSPACE = "workspace"  # the revision that is no commit: what lies in the folder


# The commits as they were made: no replaced or grafted ones, and none of what a commit-graph says of them.
AS_MADE = ("--no-replace-objects", "-c", "core.commitGraph=false", "-c", "advice.graftFileDeprecated=false")
LOCK_ANYWHERE = ":(top,glob)**/dvc.lock"  # the project may have lain in another folder once
EVERY_BRANCH = ("+refs/heads/*:", "refs/heads/*:", "+refs/*:", "refs/*:")  # how such a refspec begins


@dataclass(frozen=True)
class Commit:
    """A commit that changed a dvc.lock."""

    sha: str
    when: str  # ISO 8601
    author: str
    subject: str
    blob: str  # of its dvc.lock
    path: str  # of its dvc.lock, from the top of the repository

    @property
    def lock(self) -> str:
        """What to call its dvc.lock."""
        return f"{self.path} in {self.sha[:12]}"


class History:
    """The git repository at `root`; every file is named by its path from there.

    lost: why commits, or parts of them, cannot be seen; a sentence each, as they are found.
    """

    def __init__(self, root: Path):
        self.root = root
        self.lost: list[str] = []
        self.top = self._top()
        self.prefix = self._text("rev-parse", "--show-prefix")
        self.lock_path = f"{self.prefix}dvc.lock"

    def _top(self) -> Path:
        try:
            finished = self._run("rev-parse", "--show-toplevel")
        except OSError as error:
            raise VqcastError(f"git cannot be run: {error}") from None
        if finished.returncode == 0:
            return Path(finished.stdout.decode(errors="surrogateescape").rstrip("\n"))
        said = _complaints(finished) or ["it failed"]
        if "not a git repository" in said[0]:
            raise VqcastError(f"{self.root} is no git repository: without its commits nothing can be audited")
        raise VqcastError(f"git: {' '.join(said).removeprefix('fatal: ')}")

    def commits(self) -> list[Commit]:
        """Those that changed a dvc.lock, newest first: of all branches and tags, and what git remembers of
        branches that were cut off or rewritten. What cannot be seen is told in `lost`.

        Not simplified: git would leave out the side of a merge that had no part in the outcome, and with
        it the models that were trained there. Found wherever it lies in the repository, as the project may
        have moved.
        """
        self._tell_what_was_not_fetched()
        finished = self._run(
            *("log", "--stdin", "--reflog", "--full-history", "-m", "--raw", "-z", "--no-abbrev"),
            *("--no-renames", "--no-show-signature", "--no-color", "--encoding=UTF-8"),
            *("--format=%H%x00%cI%x00%an <%ae>%x00%s", "--", LOCK_ANYWHERE),
            input="\n".join(self._tips()).encode(),
        )
        self.lost += [f"not every commit can be seen: git log: {said}" for said in _complaints(finished)]
        if finished.returncode and not _complaints(finished):
            self.lost.append("not every commit can be seen: git log failed")
        return list(_commits(finished.stdout.decode(errors="replace")))

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of these objects that the repository does not have."""
        names = list(dict.fromkeys(names))
        if not names:
            return []
        answer = self._git("cat-file", "--batch-check", input="\n".join(names).encode()).decode()
        rows = zip(names, answer.split("\n"), strict=False)
        return [name for name, row in rows if row.endswith(" missing")]

    def ever_had(self, folder: str) -> bool:
        """Whether any commit that can be seen had files in the folder."""
        pattern = f":(top,glob)**/{folder}/**"
        return bool(self._run("log", "--all", "--reflog", "-1", "--format=%H", "--", pattern).stdout)

    def has_just_what_is_committed(self, path: str) -> bool:
        """Whether the folder has of `path` what the commit has, nothing more, less or else."""
        status = self._run("status", "--porcelain", "--ignored", "--untracked-files=all", "--", path)
        return not status.stdout  # nothing at all of what lies outside of the repository

    def _tips(self) -> list[str]:
        """What HEAD, every branch, tag and other reference names, as far as it is there."""
        listed = self._run("for-each-ref", "--format=%(objectname) %(refname)")
        self.lost += [f"not every commit can be seen: git: {said}" for said in _complaints(listed)]
        refs = dict(line.split(" ", 1)[::-1] for line in _lines(listed.stdout))
        if head := self._text("rev-parse", "--verify", "--quiet", "HEAD", check=False):
            refs["HEAD"] = head
        gone = set(self.missing(refs.values()))
        for name, sha in refs.items():
            if sha in gone:
                self.lost.append(f"{name} names {sha[:12]}, which this repository does not have")
        return [sha for sha in refs.values() if sha not in gone]

    def _tell_what_was_not_fetched(self) -> None:
        """A clone may have been made without old commits, or without other branches."""
        if self._text("rev-parse", "--is-shallow-repository") != "false":
            self.lost.append(
                "this is a shallow clone: what came before is not here; `git fetch --unshallow` brings it"
            )
        settings = self._text("config", "--get-regexp", r"^remote\..*\.(fetch|tagopt)$", check=False)
        fetched: dict[str, list[str]] = {}
        for line in settings.split("\n") if settings else ():
            key, _, value = line.partition(" ")
            remote, _, what = key.removeprefix("remote.").rpartition(".")
            if what == "fetch":
                fetched.setdefault(remote, []).append(value)
            elif value == "--no-tags":
                self.lost.append(
                    f"tags of {remote} were not fetched; `git fetch --tags {remote}` brings them"
                )
        for remote, refspecs in fetched.items():
            if not any(refspec.startswith(EVERY_BRANCH) for refspec in refspecs):
                self.lost.append(
                    f"not all branches of {remote} were fetched: "
                    f"`git remote set-branches {remote} '*'` and `git fetch {remote}` bring them"
                )

    @functools.cached_property
    def names(self) -> dict[str, list[str]]:
        """Tags of commits, by commit."""
        listed = self._run(
            "for-each-ref", "--format=%(objectname) %(*objectname) %(refname:short)", "refs/tags"
        )
        names: dict[str, list[str]] = {}
        for line in _lines(listed.stdout):
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
        return parse_lock(content, where)

    def locks(self, commits: Iterable[Commit]) -> dict[str, Lock]:
        """Each commit's dvc.lock, by its blob; one that is not there or damaged is told in `lost`."""
        where: dict[str, str] = {}
        for commit in commits:
            where.setdefault(commit.blob, commit.lock)
        locks = {}
        for blob, content in self.contents(where):
            try:
                if content is None:
                    raise VqcastError(f"{where[blob]} (git blob {blob[:12]}) is not in this repository")
                locks[blob] = parse_lock(content, where[blob])
            except VqcastError as error:
                self.lost.append(str(error))
        return locks

    def read(self, revision: str, path: str) -> bytes | None:
        """The content of a file in a revision; None where there is none."""
        if revision == WORKSPACE:
            try:
                return (self.root / path).read_bytes()
            except FileNotFoundError:
                return None
        for _, content in self._tree(self.resolve(revision), path):
            return content
        return None

    def files(self, revision: str, folder: str) -> Iterator[tuple[str, bytes]]:
        """Path and content of every file of a folder in a revision."""
        if revision == WORKSPACE:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file():
                    yield path.relative_to(self.root).as_posix(), path.read_bytes()
            return
        yield from self._tree(self.resolve(revision), folder)

    def _tree(self, commit: str, path: str) -> Iterator[tuple[str, bytes]]:
        """Path and content of the file `path` of a commit, or of every file below it."""
        listed = self._git("ls-tree", "-r", "-z", commit, "--", path).decode(errors="replace")
        rows = [row.split("\t", 1) for row in listed.split("\0") if row]
        paths = {about.split()[2]: path for about, path in rows}
        for blob, content in self.contents(paths):
            if content is None:
                raise VqcastError(f"{paths[blob]} in {commit[:12]} is not in this repository")
            yield paths[blob], content

    def contents(self, blobs: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each blob and its content; None where the repository does not have it."""
        blobs = list(dict.fromkeys(blobs))
        # a partial clone asks its origin for the others, and ends where that does not answer
        answer = self._run("cat-file", "--batch", input="\n".join(blobs).encode()).stdout if blobs else b""
        start = 0
        for blob in blobs:
            end = answer.find(b"\n", start)
            about = answer[start:end].split()
            if len(about) < 3:
                yield blob, None
                start = end + 1 if about else start
                continue
            size = int(about[2])
            yield blob, answer[end + 1 : end + 1 + size]
            start = end + 2 + size

    def _text(self, *arguments: str, check: bool = True) -> str:
        answer = self._git(*arguments, check=check)
        return "" if answer is None else answer.decode(errors="replace").rstrip("\n")

    def _git(self, *arguments: str, input: bytes = b"", check: bool = True) -> bytes | None:
        finished = self._run(*arguments, input=input)
        if finished.returncode == 0:
            return finished.stdout
        if check:
            said = _complaints(finished)
            raise VqcastError(f"git {arguments[0]}: {said[-1] if said else 'it failed'}")
        return None

    def _run(self, *arguments: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return run_git(
            *AS_MADE, *arguments, folder=self.root, input=input, variables={"GIT_GRAFT_FILE": os.devnull}
        )


def _commits(log: str) -> Iterator[Commit]:
    """The commits of a log with changes in raw form, once for each content that a dvc.lock got there."""
    told = set()
    fields = log.split("\0")
    at = 0
    while at + 4 < len(fields):
        sha, when, author, subject = fields[at : at + 4]
        at += 4
        while at + 1 < len(fields) and fields[at].lstrip("\n").startswith(":"):
            blob, path = fields[at].split()[3], fields[at + 1]
            at += 2
            if set(blob) != {"0"} and (sha, blob, path) not in told:  # zeros: it was removed
                told.add((sha, blob, path))
                yield Commit(sha, when, author, subject, blob, path)


def _lines(output: bytes) -> list[str]:
    """Lines as git ends them, and no other sign that Python would take for an end."""
    return [line for line in output.decode(errors="replace").split("\n") if line]


def _complaints(finished: subprocess.CompletedProcess[bytes]) -> list[str]:
    """What git said beside its answer, but for advice."""
    return [line for line in _lines(finished.stderr) if not line.startswith("hint:")]
