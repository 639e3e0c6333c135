"""What a node of a Ray cluster does with a unit of work.

It goes there by value and needs the standard library alone: whether the node sees the workspace, and has the
same code and packages as the machine that sends the work, is what it finds out.
"""

import hashlib
import os
import pickle
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def run_unit(sender: dict, function: bytes, unit: bytes) -> tuple[str | None, object]:
    """`(None, function(unit))`, or `(what is wrong with this node, None)`; a node may join at any time.

    sender: `folder`, in which units run, a file `mark` there and its `content`; `root` of the code, and the
    hash `code` of that; `versions` of packages.
    """
    complaint = _complaint(**sender)
    if complaint:
        return f"node {socket.gethostname()} of the Ray cluster {complaint}", None
    os.chdir(sender["folder"])
    return None, pickle.loads(function)(pickle.loads(unit))


def _complaint(folder: str, mark: str, content: str, root: str, code: str, versions: dict) -> str | None:
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
