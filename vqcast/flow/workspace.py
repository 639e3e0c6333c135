"""One run at a time in a workspace, whoever started it."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_SECONDS = 0.5


@contextlib.contextmanager
def sole_use(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Within, no other run of this project's workspace goes on; one that does is waited for.

    The lock is the operating system's: it ends with the process, however that ends. `say` is told what is
    waited for.
    """
    path = root / ".vqcast" / "running"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        told = False
        while not _locked(file.fileno()):
            if not told:
                file.seek(0)
                say(f"another run is at work in {root} ({file.read().strip()}); waiting for it to end")
                told = True
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
