"""How fast a server may be asked, by all workers of a run together."""

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from pathlib import Path

REFUSALS_IN_A_ROW = 5  # videos that a server refuses to everybody before nobody asks any more


class Pace:
    """Turns, in a file that all workers share: when the next one is, and how often the server refused.

    It lies among what a new run clears away.
    """

    def __init__(self, path: Path, per_second: float):
        self.path = path
        self.per_second = per_second

    def take_turn(self) -> bool:
        """Wait for a turn; False: the server refuses everything, and nobody asks it any more in this run."""
        while True:
            with self._state() as state:
                now = time.time()
                if state["refused"] >= REFUSALS_IN_A_ROW:
                    return False
                if state["next"] <= now:
                    state["next"] = now + 1 / self.per_second
                    return True
                wait = state["next"] - now
            time.sleep(min(wait, 1.0))  # not all of it: another worker may put the next turn off

    def pause(self, seconds: float) -> None:
        """No worker has a turn in the next `seconds`."""
        with self._state() as state:
            state["next"] = max(state["next"], time.time() + seconds)

    def count(self, refused: bool) -> None:
        """Say how a video ended: refused as any other would have been, or not."""
        with self._state() as state:
            state["refused"] = state["refused"] + 1 if refused else 0

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a worker that dies gives it up
            file.seek(0)
            state = json.loads(file.read() or '{"next": 0.0, "refused": 0}')
            yield state
            file.truncate(0)  # what is written goes to the end, wherever the last read was
            file.write(json.dumps(state))
