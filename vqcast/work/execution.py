"""The executor: units of work in processes of this machine, or on the nodes of a Ray cluster."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from vqcast.errors import VqcastError
from vqcast.work.environment import device, on_ray, prepare_networks, workers

UNITS_AHEAD = 4  # of each worker: those that run, and those that wait for it

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def run_units(
    function: Callable[[Unit], Result], units: Sequence[Unit], what: str, *, networks: bool = False
) -> Iterator[tuple[int, Result]]:
    """Yield `(number, function(units[number]))` for every unit as it completes, with a progress bar `what`.

    `function` must be importable and idempotent: it runs in other processes, on other machines if there is a
    Ray cluster, in any order, and again where one dies. A unit is asked for shortly before it runs, so that
    `units` need not hold them all. networks: whether a unit runs networks; it then has `threads()` threads,
    and where that is on a GPU, it runs in this process, or on a node of the Ray cluster that has one.
    """
    if on_ray():
        from vqcast.work.on_ray import run_on_ray  # not at the top: ray need not be installed

        results = run_on_ray(function, units, what, networks)
    elif networks and device().type != "cpu":
        results = _run_in_this_process(function, units, networks)
    else:
        results = _run_here(function, units, what, networks)
    with tqdm(total=len(units), desc=what, unit="unit", dynamic_ncols=True) as progress:
        for number, result in results:
            yield number, result
            progress.update()


def _run_in_this_process(function: Callable[[Unit], Result], units: Sequence[Unit], networks: bool):
    if networks:
        prepare_networks()
    for number in range(len(units)):
        yield number, function(units[number])


def _run_here(function: Callable[[Unit], Result], units: Sequence[Unit], what: str, networks: bool):
    """In a pool of processes of this machine; in this one, if one process is all there is to be."""
    processes = min(workers(), len(units))
    if processes <= 1:
        yield from _run_in_this_process(function, units, networks)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(function, networks)
    ) as pool:
        waiting = iter(range(len(units)))
        running: dict[Future, int] = {}
        try:
            while True:
                for number in itertools.islice(waiting, UNITS_AHEAD * processes - len(running)):
                    running[pool.submit(_run_one, units[number])] = number
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise VqcastError(f"a worker of {what} was killed (out of memory?); run it again") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_function: Callable | None = None  # a worker's; given once, since what it is bound to may be large


def _begin(function: Callable, networks: bool) -> None:
    """Make a worker ready."""
    global _function
    _function = function
    _die_with_main()
    if networks:
        prepare_networks()


def _run_one(unit: object) -> object:
    return _function(unit)


def _die_with_main() -> None:
    """End this worker when the process that gave it work dies: killed, that one cannot end its workers.

    PR_SET_PDEATHSIG would not do: a worker's parent is the fork server, which lives as long as any worker.
    """
    main = multiprocessing.parent_process()

    def watch() -> None:
        main.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
