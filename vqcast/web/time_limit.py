"""A limit on the time that some piece of work takes."""

import contextlib
import signal
from collections.abc import Iterator


class TimeIsUp(BaseException):
    """Not an Exception, so that nothing takes it for a failure of its own."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in this, the process's main thread after `seconds`, and on until it gets through."""

    def end(number: int, frame: object) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
