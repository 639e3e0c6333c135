"""Where work runs: device, threads and the executor. Read from the environment, never from params.yaml.

VQCAST_DEVICE   cpu, cuda, cuda:1, ...      default: cuda where there is one, else cpu
VQCAST_WORKERS  processes for video work    default: the number of CPU cores
VQCAST_THREADS  threads of one network      default: the number of CPU cores
RAY_ADDRESS     a Ray cluster for the work  default: none, processes of this machine
"""

import contextlib
import fcntl
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from vqcast.errors import VqcastError

if TYPE_CHECKING:
    import torch

CORES_LOCK = Path(".vqcast/cores.lock")
UNITS_AHEAD = 4  # of each worker: those that run, and those that wait for it

Batch = TypeVar("Batch")
Unit = TypeVar("Unit")
Result = TypeVar("Result")


def cores() -> int:
    """Number of CPU cores this process may use: its share, if torchrun started several."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def device() -> "torch.device":
    """The device that networks run on."""
    import torch  # not at the top: stages without networks start their workers two seconds sooner

    name = os.environ.get("VQCAST_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)


def loaders() -> int:
    """Processes that decode windows ahead of a network: VQCAST_WORKERS, at most 8."""
    return min(workers(), 8)


def loaded(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of a DataLoader; what its processes could not read is said in its own sentence."""
    try:
        yield from loader
    except VqcastError as error:
        # torch wraps a worker's exception in its traceback, whose last line is "<class>: <sentence>".
        text = str(error)
        raise VqcastError(text.strip().splitlines()[-1].partition("Error: ")[2] or text) from None


def ignore_interruption(worker: int) -> None:
    """For a DataLoader's process: SIGTERM and Ctrl-C are the main process's to answer, which ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def threads() -> int:
    """CPU threads of one network; on CPU, the same number gives the same bytes."""
    return positive_from_environment("VQCAST_THREADS", cores())


@contextlib.contextmanager
def cores_to_itself(what: str) -> Iterator[None]:
    """Within, no other network is trained on this workspace's CPU cores, unless there are enough for two.

    Two networks that share cores wait for each other at every layer, and take many times as long as one
    after the other. `what` waits for its turn; a process that dies gives its turn up.
    """
    if device().type != "cpu" or 2 * threads() <= cores():
        yield
        return
    CORES_LOCK.parent.mkdir(parents=True, exist_ok=True)
    with CORES_LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"{what}: waits for the CPU cores, on which another network is being trained", file=sys.stderr
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def positive_from_environment(name: str, default: int) -> int:
    """A positive whole number from environment variable `name`."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise VqcastError(f"{name} must be a positive whole number, not {text!r}")
    return int(text)


def workers() -> int:
    """Processes for work on videos."""
    return positive_from_environment("VQCAST_WORKERS", cores())


def on_ray() -> bool:
    """Whether units of work go to a Ray cluster."""
    return bool(os.environ.get("RAY_ADDRESS"))


def run_units(
    function: Callable[[Unit], Result], units: Sequence[Unit], what: str, networks: bool = False
) -> Iterator[tuple[int, Result]]:
    """Yield `(number, function(units[number]))` for every unit as it completes, with a progress bar `what`.

    `function` must be importable and idempotent: it runs in other processes, on other machines if there is a
    Ray cluster, in any order, and again where one dies. A unit is asked for shortly before it runs, so that
    `units` need not hold them all. networks: whether a unit runs networks; on Ray it then takes as many cores
    as they have threads, and the GPU if they run on one.
    """
    if on_ray():
        from vqcast.on_ray import run_on_ray  # not at the top: ray need not be installed

        cpus, gpus = (threads(), int(device().type == "cuda")) if networks else (1, 0)
        results = run_on_ray(function, units, what, cpus, gpus)
    else:
        results = _run_here(function, units, what)
    with tqdm(total=len(units), desc=what, unit="unit", dynamic_ncols=True) as progress:
        for number, result in results:
            yield number, result
            progress.update()


def _run_here(function: Callable[[Unit], Result], units: Sequence[Unit], what: str):
    """In a pool of processes of this machine; in this one, if one process is all there is to be."""
    processes = min(workers(), len(units))
    if processes <= 1:
        yield from ((number, function(units[number])) for number in range(len(units)))
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=die_with_main) as pool:
        waiting = iter(range(len(units)))
        running: dict[Future, int] = {}
        try:
            while True:
                for number in itertools.islice(waiting, UNITS_AHEAD * processes - len(running)):
                    running[pool.submit(function, units[number])] = number
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise VqcastError(f"a worker of {what} was killed (out of memory?); run it again") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def die_with_main(worker: int = 0) -> None:
    """End this worker when the process that gave it work dies: killed, that one cannot end its workers.

    PR_SET_PDEATHSIG would not do: a worker's parent is the fork server, which lives as long as any worker.
    """
    main = multiprocessing.parent_process()

    def watch() -> None:
        main.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
