"""The few things that retraining asks of git."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.work.git import run_git


def git(root: Path, *arguments: str) -> str:
    """Output of a git command in `root`; VqcastError with git's own last words if it fails."""
    finished = run_git(*arguments, folder=root)
    if finished.returncode:
        stderr = finished.stderr.decode(errors="replace")
        said = [line for line in stderr.splitlines() if not line.startswith("hint:")]
        reason = " ".join(said[-3:]) or f"exit code {finished.returncode}"
        raise VqcastError(f"git {arguments[0]} failed: {reason}")
    return finished.stdout.decode(errors="surrogateescape").strip()


def answers(root: Path, *arguments: str) -> str | None:
    """Output of a git command that may have nothing to say: None if it fails."""
    try:
        return git(root, *arguments)
    except VqcastError:
        return None


@dataclass(frozen=True)
class Upstream:
    """Where a branch comes from: a repository, as a path or URL, and the branch's name there."""

    url: str
    branch: str


def current_branch(root: Path) -> str:
    """The branch that is checked out in `root`, the top of a clean work tree; else VqcastError."""
    if Path(git(root, "rev-parse", "--show-toplevel")) != root.resolve():
        raise VqcastError(f"{root} is not the top folder of a git repository")
    branch = answers(root, "symbolic-ref", "--short", "HEAD")
    if branch is None:
        raise VqcastError("no branch is checked out; git switch to the one that models are promoted on")
    if answers(root, "rev-parse", "--verify", "HEAD") is None:
        raise VqcastError("nothing is committed yet")
    changed = git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    if changed:
        raise VqcastError(f"{changed[0][2:].strip()} is not as it is committed; commit it, or put it back")
    return branch


def upstream_of(root: Path, branch: str) -> Upstream:
    remote = answers(root, "config", f"branch.{branch}.remote")
    merge = answers(root, "config", f"branch.{branch}.merge")
    if not remote or not merge or remote == ".":
        raise VqcastError(f"the branch {branch} has no upstream; git push --set-upstream gives it one")
    url = git(root, "remote", "get-url", remote)
    if re.match(r"\.\.?(/|$)", url):
        url = str((root / url).resolve())
    return Upstream(url, merge.removeprefix("refs/heads/"))


def newest_version(root: Path, artifact: str) -> tuple[int, int, int] | None:
    """The highest of the tags ARTIFACT@vX.Y.Z, as gto writes and reads them."""
    pattern = re.compile(re.escape(artifact) + r"@v(\d+)\.(\d+)\.(\d+)")
    matches = map(pattern.fullmatch, git(root, "tag", "--list", f"{artifact}@v*").split("\n"))
    return max((tuple(map(int, match.groups())) for match in matches if match), default=None)


def version_tag(artifact: str, version: tuple[int, int, int]) -> str:
    return f"{artifact}@v{'.'.join(map(str, version))}"


def commit(root: Path, identity_of: Path, paths: Iterable[str], along: str, message: str) -> None:
    """Commit `paths` in `root`, and what is `along` with them, if anything in `paths` changed.

    identity_of: the repository whose configuration says who commits.
    """
    git(root, "add", "--all", "--", *(path for path in paths if (root / path).exists()))
    if git(root, "diff", "--cached", "--name-only"):
        if (root / along).exists():
            git(root, "add", "--all", "--", along)
        git(root, *identity(identity_of), "commit", "--quiet", "--message", message)


def identity(root: Path) -> list[str]:
    """Options of git that say who commits: whom `root` is configured for, else the program itself."""
    name = answers(root, "config", "user.name") or "vqcast"
    email = answers(root, "config", "user.email") or "vqcast@localhost"
    unsigned = ("-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false")  # nobody is there for a passphrase
    return ["-c", f"user.name={name}", "-c", f"user.email={email}", *unsigned]
