"""A Prefect server for one run that was given none.

Prefect starts one itself where none is configured. That one gets the terminal's Ctrl-C before the run that
needs it, so that the run hangs, and outlives a run that is killed; this one does neither.
"""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from vqcast.errors import VqcastError
from vqcast.work import lifeline

STARTUP_SECONDS = 120  # a slow machine, and the first start, which makes the database
STOP_SECONDS = 3


@contextlib.contextmanager
def configured_or_temporary_server() -> Iterator[None]:
    """Flows inside report to the server that Prefect is configured for, else to a temporary one.

    VqcastError: it does not answer.
    """
    if url := PREFECT_API_URL.value():
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
        if error:
            raise VqcastError(f"no Prefect server answers at {url}: {error}")
        yield
        return
    print("Starting a temporary Prefect server; PREFECT_API_URL names one to use instead.", file=sys.stderr)
    with temporary_settings({PREFECT_API_URL: _start()}):
        yield


def _start() -> str:
    """Start a server on a free port of the loopback and return the URL of its API, once it answers.

    It is stopped when this process ends: after Prefect's client, which reports to it to the last.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", port, "--no-ui", "--no-services"]
    server = subprocess.Popen(
        [sys.executable, "-P", lifeline.__file__, "prefect", *arguments, "--log-level", "ERROR"],
        env={**os.environ, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(_stop, server)
    url = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").is_success:
                return url
        time.sleep(0.2)
    raise VqcastError(f"the temporary Prefect server did not answer within {STARTUP_SECONDS} s")


def _stop(server: subprocess.Popen) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
