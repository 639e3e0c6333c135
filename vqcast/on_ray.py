"""Units of work on a Ray cluster, RAY_ADDRESS, whose nodes see this machine's files under the same paths."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.execution import threads

RETRIES = 5  # of a unit whose node or worker was lost
CONNECT_SECONDS = 10
UNITS_AHEAD = 2  # of each that the cluster can run at once
ROOT = Path(__file__).resolve().parents[1]


def run_on_ray(
    function: Callable[[object], object], units: Sequence[object], what: str, cpus: int, gpus: int
) -> Iterator[tuple[int, object]]:
    """Yield `(number, function(units[number]))` for every unit as it completes.

    A unit takes `cpus` CPU cores and `gpus` GPUs of a node. It runs in this process's folder and with its
    VQCAST_* variables; one whose node dies is run again on another.
    """
    ray = _connected(cpus, gpus)
    run = ray.remote(_run).options(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)
    function = ray.put(function)  # once: what it is bound to may be large
    numbers = iter(range(len(units)))
    running: dict[object, int] = {}
    while True:
        at_once = int(ray.cluster_resources().get("CPU", 0)) // cpus
        for number in islice(numbers, max(UNITS_AHEAD * at_once - len(running), 0)):
            running[run.remote(function, units[number], os.getcwd())] = number
        if not running:
            return
        for result in ray.wait(list(running))[0]:
            try:
                yield running.pop(result), ray.get(result)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise VqcastError(
                    f"a unit of {what} was lost {RETRIES + 1} times with its worker or its node "
                    f"({type(error).__name__}); run it again"
                ) from None


def _run(function: Callable[[object], object], unit: object, folder: str) -> object:
    os.chdir(folder)
    return function(unit)


def _connected(cpus: int, gpus: int):
    """The ray module, connected to the cluster, which has a node that is large enough."""
    try:
        import ray
    except ImportError:
        raise VqcastError(
            "RAY_ADDRESS is set, but ray is not installed: pip install -r requirements.ray.lock.txt"
        ) from None
    address = os.environ["RAY_ADDRESS"]
    if not ray.is_initialized():
        variables = {name: value for name, value in os.environ.items() if name.startswith("VQCAST_")}
        here = {"VQCAST_THREADS": str(threads()), "PYTHONPATH": str(ROOT)}  # the same bytes, from this code
        environment = {"env_vars": variables | here}
        try:
            _answers(address)
            ray.init(address, runtime_env=environment, log_to_driver=False, logging_level="warning")
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise VqcastError(f"RAY_ADDRESS {address!r} leads to no usable cluster: {reason}") from None
    needed = {"CPU": cpus, "GPU": gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(kind, 0) >= count for kind, count in needed.items()) for node in nodes):
        raise VqcastError(
            f"no node of the Ray cluster has the {cpus} CPU cores and {gpus} GPUs that one unit takes; "
            "VQCAST_THREADS says how many cores"
        )
    return ray


def _answers(address: str) -> None:
    """Raise OSError where nothing listens at `address`, which Ray itself would wait for without end."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
