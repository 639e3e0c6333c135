"""SIGTERM and Ctrl-C, put off until the work at hand is safe."""

import signal
import threading
from types import FrameType

asked_elsewhere = threading.Event()  # set when the process that gets the signals is not the one that trains


class Interruption:
    """Within, the first SIGTERM or SIGINT is noted and a second one acts; `now` raises what was noted."""

    def __init__(self):
        self.number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            return self  # Python gives signals to the main thread alone
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def happened(self) -> bool:
        return self.number is not None or asked_elsewhere.is_set()

    def now(self) -> None:
        """Raise the signal that was noted, if one was; to be called after the block."""
        if asked_elsewhere.is_set():
            raise KeyboardInterrupt
        if self.number is not None:
            signal.raise_signal(self.number)
            raise SystemExit(128 + self.number)  # a shell's background jobs ignore SIGINT

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()
