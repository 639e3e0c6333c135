"""Where work runs: device, threads and the executor. Read from the environment, never from params.yaml.

VQCAST_DEVICE     cpu, cuda, cuda:1, ...               default: cuda where there is one, else cpu
VQCAST_PROCESSES  processes that train one network     default: the number of GPUs, or of CPU cores
VQCAST_WORKERS    processes for all other work         default: the number of CPU cores
VQCAST_THREADS    CPU threads of each such process     default: 1 on a CPU
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from vqcast.errors import VqcastError

if TYPE_CHECKING:
    import torch

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device() -> "torch.device":
    """The device that networks run on."""
    import torch  # not at the top: stages without networks start their workers two seconds sooner

    name = os.environ.get("VQCAST_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)


def training_processes(windows: int) -> int:
    """Processes in which this machine trains one network, each taking as many of a step's `windows`."""
    import torch

    if device().type == "cpu":
        most = cores()
    else:
        most = torch.cuda.device_count() if os.environ.get("VQCAST_DEVICE", "cuda") == "cuda" else 1
    even = max(number for number in range(1, most + 1) if windows % number == 0)
    return positive_from_environment("VQCAST_PROCESSES", even)


def workers() -> int:
    """Processes that share work."""
    return positive_from_environment("VQCAST_WORKERS", cores())


def reading_threads() -> int:
    """Threads that read ahead for a network: VQCAST_WORKERS, shared by the processes that train together.

    One on a CPU, where each of the processes that use all cores has its own.
    """
    if device().type == "cpu":
        return 1
    return max(workers() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def threads() -> int:
    """CPU threads of each process that runs a network; on a CPU, the same number gives the same bytes."""
    return positive_from_environment("VQCAST_THREADS", 1 if device().type == "cpu" else cores())


def positive_from_environment(name: str, default: int) -> int:
    """A positive whole number from environment variable `name`."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise VqcastError(f"{name} must be a positive whole number, not {text!r}")
    return int(text)


def run_units(
    function: Callable[[Unit], Result], units: Sequence[Unit], what: str, *, networks: bool = False
) -> Iterator[tuple[Unit, Result]]:
    """Yield `(unit, function(unit))` for every unit as it completes, with a progress bar named `what`.

    `function` must be importable and idempotent: it runs in worker processes, in any order. With `networks`
    it runs on the device for networks: in this process if that is a GPU, else in processes of `threads()`
    threads each.
    """
    processes = 1 if networks and device().type != "cpu" else min(workers(), max(len(units), 1))
    with tqdm(total=sum(map(_size, units)), desc=what, dynamic_ncols=True) as progress:
        if processes == 1:
            if networks:
                _limit_threads()
            for unit in units:
                yield unit, function(unit)
                progress.update(_size(unit))
            return
        context = multiprocessing.get_context("forkserver")
        pool_of = partial(ProcessPoolExecutor, mp_context=context, initializer=_begin, initargs=(networks,))
        with pool_of(processes) as pool:
            futures = {pool.submit(function, unit): unit for unit in units}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
                    progress.update(_size(futures[future]))
            except BrokenProcessPool:
                raise VqcastError(f"a worker of {what} was killed (out of memory?); run it again") from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _size(unit: object) -> int:
    """What a unit counts for on a progress bar: as many as it holds, if it holds several things."""
    return len(unit) if isinstance(unit, Sized) else 1


def _begin(networks: bool) -> None:
    """Make a worker ready."""
    _die_with_main()
    if networks:
        _limit_threads()


def _limit_threads() -> None:
    import torch

    torch.set_num_threads(threads())


def _die_with_main() -> None:
    """End this worker when the process that gave it work dies: killed, that one cannot end its workers.

    PR_SET_PDEATHSIG would not do: a worker's parent is the fork server, which lives as long as any worker.
    """
    main = multiprocessing.parent_process()

    def watch() -> None:
        main.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
