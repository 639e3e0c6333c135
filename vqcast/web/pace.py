"""How fast a server may be asked, by all workers of a run together."""

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from pathlib import Path

FAILURES_IN_A_ROW = 5  # videos for which there was no talking to the server, before nobody tries any more


class Pace:
    """Turns, in a file that all workers share: when the next one is, and how the last videos ended.

    It lies among what a new run clears away.
    """

    def __init__(self, path: Path, per_second: float):
        self.path = path
        self.per_second = per_second

    def take_turn(self) -> str | None:
        """Wait for a turn. Not None: the outcome of so many videos that nobody is to try in this run."""
        while True:
            with self._state() as state:
                now = time.time()
                if len(state["failed"]) >= FAILURES_IN_A_ROW:
                    return state["failed"][-1]
                if state["next"] <= now:
                    state["next"] = now + 1 / self.per_second
                    return None
                wait = state["next"] - now
            time.sleep(min(wait, 1.0))  # not all of it: another worker may put the next turn off

    def pause(self, seconds: float) -> None:
        """No worker has a turn in the next `seconds`."""
        with self._state() as state:
            state["next"] = max(state["next"], time.time() + seconds)

    def count(self, outcome: str | None) -> None:
        """Say how a video ended: by an outcome that any other would have had, or, None, by its own."""
        with self._state() as state:
            state["failed"] = [] if outcome is None else [*state["failed"], outcome]

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a worker that dies gives it up
            file.seek(0)
            state = json.loads(file.read() or '{"next": 0.0, "failed": []}')
            yield state
            file.truncate(0)  # what is written goes to the end, wherever the last read was
            file.write(json.dumps(state))
