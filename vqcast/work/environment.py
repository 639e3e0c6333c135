"""Where work runs: device, processes, threads and cluster. Read from the environment, never from params.yaml.

VQCAST_DEVICE     cpu, cuda, cuda:1, ...               default: cuda where there is one, else cpu
VQCAST_PROCESSES  processes that train one network     default: the number of GPUs, or of CPU cores
VQCAST_WORKERS    processes for all other work         default: the number of CPU cores
VQCAST_THREADS    CPU threads of a process with a network  default: 1, or all cores beside a GPU
RAY_ADDRESS       a Ray cluster for all of it          default: none, processes of this machine
"""

import ctypes
import os
from typing import TYPE_CHECKING

from vqcast.errors import VqcastError

if TYPE_CHECKING:
    import torch
    from torch import nn

BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")  # of x86, and of Arm
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def cores() -> int:
    """Number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device() -> "torch.device":
    """The device that networks run on in this process."""
    import torch  # not at the top: stages without networks start their workers two seconds sooner

    name = _device_name()
    if name.startswith("cuda") and on_ray() and not torch.cuda.is_available():
        return torch.device("cpu")  # the cluster's nodes have GPUs, and this machine has none
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name)


def on_gpus() -> bool:
    """Whether networks run on GPUs, of this machine or of the Ray cluster's nodes."""
    return _device_name().startswith("cuda")


def _device_name() -> str:
    import torch

    return os.environ.get("VQCAST_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def training_processes(windows: int) -> int:
    """Processes in which this machine trains one network, each taking as many of a step's `windows`.

    Raises VqcastError where there are fewer GPUs than VQCAST_PROCESSES asks for.
    """
    import torch

    if not on_gpus():
        return processes_of(windows, cores())
    most = max(torch.cuda.device_count(), 1) if _device_name() == "cuda" else 1
    number = processes_of(windows, most)
    if number > most:
        raise VqcastError(f"VQCAST_PROCESSES is {number}, and there are GPUs for {most}")
    return number


def processes_of(windows: int, most: int) -> int:
    """VQCAST_PROCESSES; without it, the largest number up to `most` that shares `windows` evenly."""
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


def autocast(precision: str) -> "torch.autocast":
    """Networks compute in `precision` inside: in float32, or in bfloat16 where the device has instructions
    for it. On a CPU that has none, bfloat16 would take four times as long as float32, and be less exact."""
    import torch

    use = precision == "bfloat16" and computes_bfloat16()
    return torch.autocast(device().type, torch.bfloat16, enabled=use)


def computes_bfloat16() -> bool:
    """Whether the device of networks has instructions for products of bfloat16."""
    import torch

    if device().type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def on_ray() -> bool:
    """Whether work goes to a Ray cluster."""
    return bool(os.environ.get("RAY_ADDRESS"))


def on_device(network: "nn.Module") -> "nn.Module":
    """`network`, where networks run, with channels last in convolutions' weights: so they are fastest."""
    import torch

    network.to(device())
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim in formats and tensor.is_floating_point():
            tensor.data = tensor.data.contiguous(memory_format=formats[tensor.ndim])
    return network


def prepare_networks() -> None:
    """Let networks of this process have as many threads as `threads()` says, and keep the memory they free.

    glibc would give it back, and computing on pages that the system has to clear first takes a tenth longer.
    On a GPU, float32 is float32: what may be rounded says so, by `precision`.
    """
    import torch

    torch.set_num_threads(threads())
    torch.backends.cudnn.allow_tf32 = False
    if device().type == "cuda":
        torch.cuda.set_device(device())
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that it takes
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
