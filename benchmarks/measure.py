"""Times of several things, taken in turn so that a busy machine slows them alike; a process's memory."""

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

MATRIX_BYTES = 256 * 2**20  # larger than any cache


def interleaved_medians(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each function over `repeats` rounds, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def matrix_vector_product() -> Callable[[], torch.Tensor]:
    """A float32 matrix-vector product that reads `MATRIX_BYTES`: the speed of memory."""
    side = 8192
    matrix, vector = torch.randn(MATRIX_BYTES // 4 // side, side), torch.randn(side)
    return lambda: torch.mv(matrix, vector)


def peak_memory(process: subprocess.Popen) -> int:
    """Bytes that a process takes at its peak; returns once it has ended, and leaves it to be waited for.

    Not `ru_maxrss`, in which a process starts with what its parent takes.
    """
    peak = 0
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        with contextlib.suppress(OSError, IndexError):  # it has ended
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.split("VmHWM:")[1].split()[0]) * 1024)
        time.sleep(0.02)
    return peak
