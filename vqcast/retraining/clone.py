"""A clone of the workspace in which a model is made aside: what is committed, and the workspace's own data.

The clone has the workspace's DVC cache and remotes, its store of downloads, and its own videos and annotation
files by symbolic links, so that nothing is stored or fetched twice. Nothing in it touches the workspace's
files, its dvc.lock or its git repository.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from dvc.repo import Repo

from vqcast.errors import VqcastError
from vqcast.flow.dag import read_dag
from vqcast.lineage.named_files import files_in_params
from vqcast.retraining.git import git
from vqcast.work.files import SCRATCH
from vqcast.work.processes import ProcessGroups
from vqcast.work.record import RUNS_OF_SCRATCH

STORE = "data/raw"  # what `download` keeps from run to run; no out of a stage
WEIGHTS = ".vqcast/weights"  # I3D's, as `evaluate` fetched them

Say = Callable[[str], None]


def clone_workspace(root: Path, name: str) -> Path:
    """A new clone of what is committed in `root`, in its folder .vqcast/<name>; an earlier one is removed."""
    clone = root / ".vqcast" / name
    shutil.rmtree(clone, ignore_errors=True)
    git(root, "clone", "--quiet", str(root), str(clone))
    git(clone, "checkout", "--quiet", "--detach")
    return clone


def furnish(clone: Path, root: Path, scratch: Path) -> None:
    """Give `clone` the workspace's cache, remotes and own data; git must not check anything out in it after.

    scratch: folder in which its stages keep their progress, for the next clone as well.
    """
    _share_cache_and_remotes(root, clone)
    for folder in (root / STORE, root / WEIGHTS, root / RUNS_OF_SCRATCH, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    for path in [STORE, WEIGHTS, *_untracked_inputs(root, clone)]:
        _link(clone / path, root / path)
    _link(clone / SCRATCH, scratch)
    _link(clone / RUNS_OF_SCRATCH, root / RUNS_OF_SCRATCH)  # whose progress it is, for the lineage


def dvc(clone: Path, groups: ProcessGroups, say: Say, *arguments: str) -> None:
    """Run a DVC command in `clone`; VqcastError with its own last words if it fails."""
    said: list[str] = []

    def on_line(line: str) -> None:
        said.append(line)
        say(line)

    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    code = groups.run_module(
        "dvc", ["--wait-for-lock", *arguments], cwd=clone, environment=environment, on_line=on_line
    )
    if code:
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
        reason = errors[-1] if errors else f"exit code {code}"
        raise VqcastError(f"dvc {arguments[0]} failed: {reason}")


def has_remote(root: Path) -> bool:
    """Whether `dvc push` has somewhere to push to."""
    with Repo(str(root)) as repo:
        return bool(repo.config["core"].get("remote"))


def _share_cache_and_remotes(root: Path, clone: Path) -> None:
    with Repo(str(root)) as repo:
        cache = repo.cache.local_cache_dir
        remotes = {name: dict(remote) for name, remote in repo.config["remote"].items()}
        core = {key: repo.config["core"][key] for key in ("remote",) if key in repo.config["core"]}
    with Repo(str(clone)) as repo, repo.config.edit("local", validate=False) as config:
        config.setdefault("cache", {})["dir"] = cache
        config.setdefault("core", {}).update(core)
        config.setdefault("remote", {}).update(remotes)
    (clone / ".dvc/config.local").chmod(0o600)  # a remote may have a password


def _untracked_inputs(root: Path, clone: Path) -> Iterable[str]:
    """What stages read of the workspace and git does not have, or not whole: videos, annotations, cookies.

    None of them lies in another one.
    """
    dag = read_dag(clone)
    made = {out for stage in dag for out in stage.outs}
    read = {dep for stage in dag for dep in stage.deps} - made | set(files_in_params(clone))
    for path in read:
        if path.startswith("../"):
            raise VqcastError(f"{path} lies outside of the workspace; name it by its absolute path")
    inside = sorted(path for path in read if not os.path.isabs(path) and (root / path).exists())
    if not inside:
        return []
    others = git(root, "ls-files", "-z", "--others", "--", *inside).split("\0")
    found: list[str] = []
    for path in inside:
        untracked = any(other == path or other.startswith(f"{path}/") for other in others)
        if untracked and not any(path.startswith(f"{folder}/") for folder in found):
            found.append(path)
    return found


def _link(place: Path, target: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target.resolve())
