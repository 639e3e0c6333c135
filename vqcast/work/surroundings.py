"""Who and what runs a stage: what a hashed output must not hold, and an auditor asks for."""

import contextlib
import getpass
import os
import platform
import re
import socket
import sys
from importlib import metadata
from urllib.parse import urlsplit

from vqcast.work.git import run_git

LIBRARIES = (  # whose versions may move a byte, or say how the stage was driven
    *("decord2", "dvc", "imageio-ffmpeg", "numpy", "openlineage-python", "pandas", "pillow", "prefect"),
    *("pyarrow", "ray", "safetensors", "scipy", "torch", "torchmetrics", "yt-dlp"),
)
RECORDED = ("dvc.lock", "lineage")  # what runs themselves write into the working tree
CHANGED_SHOWN = 50


def surroundings() -> dict[str, object]:
    """Who, on which machine, with which libraries."""
    return {
        "user": _user(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "python": platform.python_version(),
        "libraries": _libraries(),
    }


def git_state() -> dict[str, object] | None:
    """The commit that is checked out, and whether the tree was clean; None outside git.

    What runs write themselves, dvc.lock and the lineage, makes no tree unclean.
    """
    commit = git("rev-parse", "--verify", "--quiet", "HEAD")
    outside = [f":(exclude){name}" for name in RECORDED]
    status = git("status", "--porcelain", "-z", "--no-renames", "--", ".", *outside)
    if status is None:
        return None
    changed = [line[3:] for line in status.split("\0") if line]
    state: dict[str, object] = {"commit": commit, "clean": not changed, "changed": changed[:CHANGED_SHOWN]}
    if person := git("config", "user.name"):
        mail = git("config", "user.email")
        state["person"] = f"{person} <{mail}>" if mail else person
    if remote := git("config", "remote.origin.url"):
        state["remote"] = _without_credentials(remote)
    return state


def git(*arguments: str) -> str | None:
    """What git says in this folder, without the last line's end; None where it fails or is not there."""
    try:
        finished = run_git(*arguments)
    except OSError:
        return None
    return finished.stdout.decode(errors="replace").rstrip("\n") if finished.returncode == 0 else None


def where_networks_ran() -> dict[str, object]:
    """Device, processes and threads of a stage that ran networks in this process or its workers."""
    from vqcast.work.environment import device, on_gpus, threads, workers

    where: dict[str, object] = {"workers": workers()}
    if "torch" not in sys.modules:
        return where
    import torch

    used = str(device()) if torch.cuda.is_available() or not on_gpus() else "cuda"
    if not on_gpus():
        name = _cpu()
    else:  # this machine need not have what the nodes of a Ray cluster have
        name = torch.cuda.get_device_name(used) if torch.cuda.is_available() else "on a node of the cluster"
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    return where | {"device": used, "deviceName": name, "processes": ranks, "threads": threads()}


def _user() -> str:
    with contextlib.suppress(OSError, KeyError):  # a container's user need not have a name
        return getpass.getuser()
    return str(os.getuid())


def _cpu() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _libraries() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _without_credentials(remote: str) -> str:
    parts = urlsplit(remote)
    return parts._replace(netloc=re.sub(r"^.*@", "", parts.netloc)).geturl() if parts.scheme else remote
