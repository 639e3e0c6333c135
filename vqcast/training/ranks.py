"""Several processes that train one network, each a rank; a process alone is rank 0 of 1.

torchrun may have started them, on one machine or many; where RAY_ADDRESS is set, Ray Train does. Otherwise a
training stage starts its own on this machine, one for each GPU or CPU core: on a CPU, processes of one thread
that meet once a step are faster than threads that meet at every layer, and do not stand still when something
else uses a core as well.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vqcast.errors import VqcastError
from vqcast.settings.training import Training
from vqcast.work.environment import device, on_gpus, on_ray, training_processes

RENDEZVOUS = "VQCAST_RENDEZVOUS"  # the folder in which the ranks that a stage started itself meet
FIRST_RANK = "VQCAST_FIRST_RANK"  # the process that started them
# How a rank ends that was interrupted, and so rank 0 too, which has a checkpoint to save first.
INTERRUPTED = (128 + signal.SIGINT, -signal.SIGINT, -signal.SIGTERM)


def on_all_ranks(stage: str, settings: Training, train: Callable[[], None]) -> None:
    """Call `train` in every rank; what goes wrong in one of them is raised here, in what the user sees.

    It must be possible to pickle `train`, which finds nothing of this process elsewhere but its folder.
    """
    if on_ray() and "WORLD_SIZE" not in os.environ:
        from vqcast.training.on_ray import train_on_ray  # not at the top: ray need not be installed

        train_on_ray(stage, settings.batch_size // settings.accumulate, train)
        return
    with joined_ranks(settings):
        train()


@contextlib.contextmanager
def joined_ranks(settings: Training) -> Iterator[None]:
    """Within, all ranks share their gradients and statistics, and each goes through the same code.

    In rank 0, which the user sees, raises VqcastError where a rank that it started failed or was killed.
    """
    if "WORLD_SIZE" in os.environ:
        folder = os.environ.get(RENDEZVOUS)
        if folder and os.getppid() != int(os.environ[FIRST_RANK]):
            os._exit(1)  # rank 0 died before this rank could ask to be told of it
        _take_device()
        if folder:
            _ready(Path(folder), int(os.environ["RANK"])).touch()
            if on_gpus():
                _end_when(lambda: "rank 0 is gone" if os.getppid() != int(os.environ[FIRST_RANK]) else "")
        with _group(folder):
            yield
        return
    number = training_processes(settings.batch_size // settings.accumulate)
    if number == 1:
        yield
        return
    with tempfile.TemporaryDirectory() as folder, _first_rank(number, Path(folder)):
        yield


@contextlib.contextmanager
def _first_rank(number: int, folder: Path) -> Iterator[None]:
    """Start ranks 1 to `number` - 1 by this process's own command, and join them as rank 0."""
    world = {
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        RENDEZVOUS: str(folder),
        FIRST_RANK: str(os.getpid()),
    }
    if sys.platform == "linux":
        world["GLOO_SOCKET_IFNAME"] = "lo"
    others = [_Other(rank, world, folder) for rank in range(1, number)]
    os.environ |= {**world, "RANK": "0", "LOCAL_RANK": "0"}
    over = threading.Event()
    try:
        _take_device()
        for other in others:
            other.wait_until_ready()
        if on_gpus():
            _end_when(lambda: "" if over.is_set() else _failure(others))
        with _group(world[RENDEZVOUS]):
            yield
        for other in others:
            other.process.wait()
    except RuntimeError:  # what gloo and nccl raise when a rank is gone
        for other in others:
            other.tell_failure()
        raise
    finally:
        over.set()
        _kill(others)


def _end_when(why: Callable[[], str]) -> None:
    """End this process once `why` gives a reason, and say it.

    NCCL waits for a rank that is gone, in a call that nothing interrupts; gloo raises.
    """

    def watch() -> None:
        while not (reason := why()):
            time.sleep(0.2)
        print(reason, file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _failure(others: Sequence["_Other"]) -> str:
    """What made one of the ranks fail, the others then being ended; nothing if none did."""
    for other in others:
        if other.process.poll() not in (None, 0, *INTERRUPTED):
            try:
                other.tell_failure()
            except VqcastError as error:
                return f"{Path(sys.argv[0]).stem}: {error}"
            except SystemExit as error:
                return str(error.code)
            finally:
                _kill(others)
    return ""


def _kill(others: Sequence["_Other"]) -> None:
    for other in others:
        other.process.kill()
        other.process.wait()


class _Other:
    """A rank that this process started; what it says goes to a file, since rank 0 says the same."""

    def __init__(self, rank: int, world: dict[str, str], folder: Path):
        self.log, self.ready = folder / f"rank-{rank}.log", _ready(folder, rank)
        environment = {**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with self.log.open("w") as file:
            command = [sys.executable, *sys.orig_argv[1:]]
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)

    def wait_until_ready(self) -> None:
        """Until it can be joined; one that dies before would be waited for in vain."""
        while not self.ready.exists():
            if self.process.poll() is not None:
                self.tell_failure()
                raise VqcastError("one of its processes ended before it could be joined; run it again")
            time.sleep(0.02)

    def tell_failure(self) -> None:
        """Raise for what made this rank fail, if it did."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=5)
            said = self.log.read_text().strip()
            if code < 0:
                raise VqcastError(
                    f"one of its processes was ended by {signal.Signals(-code).name} (out of memory?); "
                    "run it again to go on from the last checkpoint"
                ) from None
            if code > 0 and "Traceback" not in said:
                raise VqcastError(said.splitlines()[-1].partition(": ")[2]) from None
            if code > 0:
                sys.exit(said)


def _ready(folder: Path, rank: int) -> Path:
    """A file that says that a rank can be joined."""
    return folder / f"rank-{rank}.ready"


@contextlib.contextmanager
def _group(folder: str | None) -> Iterator[None]:
    """Meet the other ranks in `folder`, or at the place that torchrun says."""
    parent = os.getppid()
    nccl = device().type == "cuda"
    dist.init_process_group(
        "nccl" if nccl else "gloo",
        init_method=folder and f"file://{folder}/ranks",
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        device_id=device() if nccl else None,
    )
    left_alone = False
    try:
        yield
        left_alone = True
    except (RuntimeError, KeyboardInterrupt):
        if folder and rank() > 0 and os.getppid() != parent:
            os._exit(1)  # rank 0 was killed: nothing is left to do or to say
        raise
    finally:
        if left_alone or not nccl:  # NCCL would wait for all others to come to this, too
            dist.destroy_process_group()


def _take_device() -> None:
    """Make this rank's GPU, if it has one, the one that NCCL talks from."""
    if device().type == "cuda":
        torch.cuda.set_device(device())


def ranks() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process; rank 0 writes files and says how it goes."""
    return dist.get_rank() if dist.is_initialized() else 0


def common_folder() -> str | None:
    """Where the ranks that a stage started itself meet; None under torchrun, and for one rank alone."""
    return os.environ.get(RENDEZVOUS) if ranks() > 1 else None


def wait_for_all_ranks() -> None:
    if dist.is_initialized():
        dist.barrier()


def sum_over_ranks(tensors: Sequence[Tensor]) -> None:
    """Put the sum over all ranks in the place of each tensor, in one exchange of float32."""
    if ranks() == 1:
        return
    flat = torch.cat([tensor.flatten().float() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def average_over_ranks(tensors: Sequence[Tensor]) -> None:
    """Put the mean over all ranks in the place of each tensor, in one exchange of float32."""
    sum_over_ranks(tensors)
    if ranks() > 1:
        torch._foreach_div_(list(tensors), ranks())


def own_share(items: int) -> range:
    """Which of `items` things this rank takes, where every rank takes some."""
    return range(rank(), items, ranks())
