"""What a node of a Ray cluster does with a unit of work, or as a rank of a training.

It goes there by value and needs the standard library alone: whether the node sees the workspace, and has the
same code and packages as the machine that sends the work, is what it finds out.
"""

import asyncio
import hashlib
import os
import pickle
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def run_unit(sender: dict, function: bytes, unit: bytes) -> tuple[str | None, object]:
    """`(None, function(unit))`, or `(what is wrong with this node, None)`; a node may join at any time.

    sender: `folder`, in which units run, a file `mark` there and its `content`; `root` of the code, and the
    hash `code` of that; `versions` of packages.
    """
    complaint = _complaint(**sender)
    if complaint:
        return complaint, None
    os.chdir(sender["folder"])
    return None, pickle.loads(function)(pickle.loads(unit))


def run_rank(sender: dict, line: object, function: bytes) -> None:
    """`function(line)`, unless there is something wrong with this node, which is then told through `line`."""
    complaint = _complaint(**sender)
    if complaint:
        import ray  # not at the top: this machine can do without, until it has a cluster

        ray.get(line.refuse.remote(complaint))
        return
    os.chdir(sender["folder"])
    pickle.loads(function)(line)


def run_ranks(loop: Callable[[], None], configs: dict) -> None:
    """Call `loop` in ranks of Ray Train, which starts all again where one is lost; returns once they ended.

    Ray Train takes Ctrl-C for itself and ends only with the process that called it: here, one for it alone.
    """
    from ray.train.torch import TorchTrainer  # not at the top: as above

    TorchTrainer(loop, **configs).fit()


class Line:
    """What the ranks of a training and the stage that started them tell each other: an actor."""

    def __init__(self):
        self._said, self._refused, self._failure, self._made = "", None, None, None
        self._interrupted = asyncio.Event()

    async def say(self, text: str) -> None:
        self._said += text

    async def refuse(self, complaint: str) -> None:
        self._refused = self._refused or complaint

    async def fail(self, error: bytes) -> None:
        """Tell of an exception, pickled, that would come again if the ranks were started again."""
        self._failure = self._failure or error

    async def end(self, made: bool) -> None:
        """Tell that what was to be made is made, or that the ranks were interrupted and have saved it."""
        self._made = made

    async def news(self) -> tuple[str, str | None, bytes | None, bool | None]:
        """What was said since, the first complaint of a node, the first failure, and what `end` was told."""
        said, self._said = self._said, ""
        return said, self._refused, self._failure, self._made

    async def interrupt(self) -> None:
        self._interrupted.set()

    async def interrupted(self) -> None:
        """Returns once the ranks are to save what they have, and end."""
        await self._interrupted.wait()


def _complaint(**sender: object) -> str | None:
    found = _differs(**sender)
    return found and f"node {socket.gethostname()} of the Ray cluster {found}"


def _differs(folder: str, mark: str, content: str, root: str, code: str, versions: dict) -> str | None:
    try:
        seen = Path(folder, mark).read_text()
    except OSError:
        seen = None
    if seen != content:
        return f"does not see the folder {folder} of this machine, which every node needs under that path"
    if hash_of_code(root) != code:
        return f"has other code of vqcast in {root} than this machine"
    for package, wanted in versions.items():
        found = version_of(package)
        if found != wanted:
            return f"has {package} {found}, this machine {wanted}: install requirements.lock.txt there"
    return None


def hash_of_code(root: str) -> str:
    """SHA-256 over the names and contents of the package's modules."""
    digest = hashlib.sha256()
    for path in sorted(Path(root, "vqcast").rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(none)"
