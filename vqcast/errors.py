"""The one exception that a user is meant to read."""


class VqcastError(Exception):
    """Something the user can act on, said in one sentence that names the thing.

    Stages turn it into that sentence on stderr and exit code 1; no traceback is shown.
    """


class TransientError(VqcastError):
    """The same, for what may pass by itself, such as a network that is down: exit code 75."""
