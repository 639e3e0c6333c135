"""A process that does not outlive the one that started it.

python lifeline.py MODULE [ARGUMENT ...]    runs MODULE like `python -m MODULE`, under that promise for
                                            itself and its process group, which it must lead
"""

import ctypes
import os
import runpy
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux for SIGTERM when the process, or the thread, that started this one dies."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGTERM)


def _end_group(number: int, frame: FrameType | None) -> None:
    """Pass SIGTERM on to the whole group: a shell between DVC and a stage would not."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end_group)
    die_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
