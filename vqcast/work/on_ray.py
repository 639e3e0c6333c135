"""Units of work on a Ray cluster, RAY_ADDRESS, whose nodes see this machine's files under the same paths."""

import contextlib
import os
import pickle
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.work import on_node
from vqcast.work.environment import on_gpus, prepare_networks, threads

RETRIES = 5  # of a unit whose node or worker was lost
CONNECT_SECONDS = 10
PATIENCE_SECONDS = 300  # with a cluster that lost every node that is large enough
UNITS_AHEAD = 2  # of each that the cluster can run at once
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (  # that units use: what they make may depend on the version
    *("decord2", "httpx", "imageio-ffmpeg", "numpy", "pyarrow", "safetensors", "torch", "torchmetrics"),
    "yt-dlp",
)


def run_on_ray(
    function: Callable[[object], object], units: Sequence[object], what: str, networks: bool
) -> Iterator[tuple[int, object]]:
    """An iterator of `(number, function(units[number]))` for every unit as it completes.

    A unit takes a CPU core of a node; with `networks`, as many as threads(), or a core and a GPU on_gpus().
    It runs in this process's folder and with its VQCAST_* variables; one whose node dies is run again on
    another. Raises VqcastError at once where the cluster cannot be used, later if a node has other code or
    packages.
    """
    needed = {"CPU": 1, "GPU": 0}
    variables = environment()
    if networks:
        needed = cores_and_gpus()
        variables |= of_networks()
        function = partial(_run_with_its_threads, function)
    ray = connected()
    if not room(ray, needed):
        raise VqcastError(f"{no_room(needed)}; VQCAST_THREADS says how many cores")
    ray.cloudpickle.register_pickle_by_value(on_node)
    run = ray.remote(on_node.run_unit).options(
        name=what,
        num_cpus=needed["CPU"],
        num_gpus=needed["GPU"],
        max_retries=RETRIES,
        runtime_env={"env_vars": variables},
    )
    return _results(ray, run, pickle.dumps(function), units, what, needed)


def environment() -> dict[str, str]:
    """Variables that work finds on a node as they are here."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("VQCAST_")}
    return variables | {"PYTHONPATH": str(ROOT)}


def cores_and_gpus() -> dict[str, int]:
    """What a process with a network takes of a node."""
    return {"CPU": 1, "GPU": 1} if on_gpus() else {"CPU": threads(), "GPU": 0}


def of_networks() -> dict[str, str]:
    """Variables that give a network the kind of device and the number of threads that it would have here."""
    return {"VQCAST_THREADS": str(threads()), "VQCAST_DEVICE": "cuda" if on_gpus() else "cpu"}


def _results(
    ray, run, function: bytes, units: Sequence[object], what: str, needed: dict[str, int]
) -> Iterator[tuple[int, object]]:
    function = ray.put(function)  # once: what it is bound to may be large
    numbers = iter(range(len(units)))
    running: dict[object, int] = {}
    with described(what) as sender:
        while True:
            for number in islice(numbers, max(UNITS_AHEAD * _at_once(ray, needed) - len(running), 0)):
                running[run.remote(sender, function, pickle.dumps(units[number]))] = number
            if not running:
                return
            for result in _next(ray, list(running), needed):
                complaint, value = _got(ray, result, what)
                if complaint:
                    raise VqcastError(complaint)
                yield running.pop(result), value


def _run_with_its_threads(function: Callable[[object], object], unit: object) -> object:
    prepare_networks()
    return function(unit)


@contextlib.contextmanager
def described(what: str) -> Iterator[dict]:
    """What a node must find as it is here: `sender` of on_node."""
    mark, content = Path(".vqcast") / f"seen-by-nodes-{what}", uuid.uuid4().hex
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(content)
    try:
        yield {
            "folder": os.getcwd(),
            "mark": str(mark),
            "content": content,
            "root": str(ROOT),
            "code": on_node.hash_of_code(str(ROOT)),
            "versions": {package: on_node.version_of(package) for package in PACKAGES},
        }
    finally:
        mark.unlink(missing_ok=True)


def _next(ray, running: list, needed: dict[str, int]) -> list:
    """Those that completed, once there are any; VqcastError if no node is left that could run one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        done, _ = ray.wait(running, timeout=PATIENCE_SECONDS / 10)
        if done:
            return done
        if room(ray, needed):
            deadline = time.monotonic() + PATIENCE_SECONDS
        elif time.monotonic() > deadline:
            raise VqcastError(f"{no_room(needed)} any more; run it again to go on from here")


def _got(ray, result: object, what: str) -> object:
    try:
        return ray.get(result)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise VqcastError(
            f"a unit of {what} was lost {RETRIES + 1} times with its worker or its node "
            f"({type(error).__name__}); run it again"
        ) from None


def _at_once(ray, needed: dict[str, int]) -> int:
    """How many units the cluster runs at once; 1 while it has lost all that could."""
    there = ray.cluster_resources()
    return max(1, min(int(there.get(kind, 0)) // count for kind, count in needed.items() if count))


def room(ray, needed: dict[str, int]) -> int:
    """How many units the nodes have room for at once, when nothing else is at work there."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    counts = {kind: count for kind, count in needed.items() if count}
    return sum(min(int(node.get(kind, 0) // count) for kind, count in counts.items()) for node in nodes)


def no_room(needed: dict[str, int], what: str = "unit") -> str:
    return (
        f"no node of the Ray cluster has the {needed['CPU']} CPU cores and {needed['GPU']} GPUs of one {what}"
    )


def connected():
    """The ray module, connected to the cluster."""
    try:
        import ray
    except ImportError:
        raise VqcastError(
            "RAY_ADDRESS is set, but ray is not installed: pip install -r requirements.ray.lock.txt"
        ) from None
    if ray.is_initialized():
        return ray
    address = os.environ["RAY_ADDRESS"]
    try:
        _check(address)
        os.environ.setdefault(
            "RAY_gcs_server_port_wait_time_s", "1"
        )  # one try, or it tries for a quarter hour
        ray.init(address, log_to_driver=False, logging_level="warning")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        versions = re.findall(r"(?:Ray|Python): (\S+)", reason)
        if reason.startswith("Version mismatch") and len(versions) == 4:
            reason = "it runs Ray {} and Python {}, this machine Ray {} and Python {}".format(*versions)
        raise VqcastError(f"RAY_ADDRESS {address!r} leads to no usable cluster: {reason}") from None
    return ray


def _check(address: str) -> None:
    """Raise OSError where nothing listens at `address`, which Ray itself would wait for without end."""
    if address.startswith("ray://"):
        raise ValueError("it is that of a Ray client server; name the cluster itself, as HOST:6379")
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
