"""Child processes that can all be ended at once, with everything they started."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vqcast.work import lifeline

GRACE_SECONDS = 4.0  # between SIGTERM, at which a stage saves how far it came, and SIGKILL


class ProcessGroups:
    """Children that run from several threads, each leading a process group of its own."""

    def __init__(self):
        self.ended = threading.Event()
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()

    def run_module(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        time_limit: float | None = None,
    ) -> int:
        """Run `python -m module arguments...` to its end and return its exit code.

        `on_line` gets each line of its output, stdout and stderr together, as it comes; so does each
        state of a progress bar. After `end` nothing is started and the code is that of a killed process.
        TimeoutError: it took more than `time_limit` seconds and was ended, with all that it had started.
        """
        command = [sys.executable, "-P", lifeline.__file__, module, *arguments]
        with self._lock:
            if self.ended.is_set():
                return -signal.SIGTERM
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
        too_long = threading.Event()
        timer = threading.Timer(time_limit or 0, _end_late, [process, too_long])
        timer.daemon = True
        if time_limit is not None:
            timer.start()
        try:
            for line in process.stdout:
                if line.strip():
                    on_line(line.rstrip())
            code = process.wait()
            if too_long.is_set():
                raise TimeoutError
            return code
        finally:
            timer.cancel()
            if process.poll() is None:  # on_line failed
                _end([process], grace=0)
            process.stdout.close()
            with self._lock:
                self._running.discard(process)

    def end(self, grace: float = GRACE_SECONDS) -> None:
        """End all children and what they started: SIGTERM, and after `grace` seconds SIGKILL."""
        with self._lock:
            self.ended.set()
            running = list(self._running)
        _end(running, grace)


def _end_late(process: subprocess.Popen, too_long: threading.Event) -> None:
    too_long.set()
    _end([process], GRACE_SECONDS)


def _end(leaders: Sequence[subprocess.Popen], grace: float) -> None:
    _signal(leaders, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while _signal(leaders, 0) and time.monotonic() < deadline:
        for leader in leaders:
            leader.poll()  # a leader that ended stays in its group until it is waited for
        time.sleep(0.05)
    _signal(leaders, signal.SIGKILL)


def _signal(leaders: Sequence[subprocess.Popen], number: int) -> bool:
    """Send `number` to every leader's group; whether any group has a process left."""
    left = False
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, number)
            left = True
    return left
