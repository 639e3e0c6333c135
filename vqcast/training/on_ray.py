"""Ranks as workers of Ray Train on the nodes of the cluster RAY_ADDRESS, which see this machine's files.

Where a rank is lost, with its worker or its node, Ray Train starts all of them again once the cluster has
room for as many, and they go on from the last checkpoint: to the bytes of ranks that were left alone.
"""

import contextlib
import io
import os
import pickle
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.training.interruption import Interruption, asked_elsewhere
from vqcast.work import on_node
from vqcast.work.environment import device, processes_of
from vqcast.work.on_ray import (
    PATIENCE_SECONDS,
    RETRIES,
    connected,
    cores_and_gpus,
    described,
    environment,
    no_room,
    of_networks,
    room,
)

POLL_SECONDS = 0.2
SAVING_SECONDS = 8  # that ranks have to save a checkpoint when the stage is interrupted


def train_on_ray(stage: str, windows: int, train: Callable[[], None]) -> None:
    """Call `train` in ranks on the cluster, each taking as many of a step's `windows`.

    A rank takes threads() CPU cores of a node, or a core and a GPU on_gpus(). Raises what a rank
    raised, and VqcastError where the cluster cannot be used, has no room, or lost ranks once too often.
    """
    needed = cores_and_gpus()
    ray = connected()
    most = room(ray, needed)
    if not most:
        raise VqcastError(no_room(needed, "process"))
    number = processes_of(windows, most)
    if number > most:
        raise VqcastError(f"VQCAST_PROCESSES is {number}, and the Ray cluster has room for {most} processes")
    os.environ["WORLD_SIZE"] = str(number)  # for the lineage
    ray.cloudpickle.register_pickle_by_value(on_node)
    try:
        with described(stage) as sender, Interruption() as interruption:
            training = _Training(ray, stage, number, needed, sender, train)
            training.to_its_end(interruption)
    finally:
        ray.shutdown()  # and with it all ranks that may be left
    if not training.made:
        interruption.now()


class _Training:
    """Ray Train at work, in a task on this machine: it would take Ctrl-C for itself here."""

    def __init__(
        self, ray, stage: str, number: int, needed: dict[str, int], sender: dict, train: Callable[[], None]
    ):
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        self.ray, self.number, self.needed = ray, number, needed
        here = {
            "num_cpus": 0,
            "label_selector": {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()},
        }
        self.line = ray.remote(on_node.Line).options(**here).remote()
        rank = ray.cloudpickle.dumps(partial(_as_rank, train))
        self.notes = Path(f".vqcast/ray-{stage}").absolute()  # Ray Train's own, which nobody needs
        shutil.rmtree(self.notes, ignore_errors=True)  # it would go on from those of a run that was killed
        variables = {
            "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
            "TORCH_GLOO_LAZY_INIT": "1",  # or ranks that start again may not find each other
        }
        configs = {
            "scaling_config": ScalingConfig(
                num_workers=number, use_gpu=needed["GPU"] > 0, resources_per_worker=_positive(needed)
            ),
            "run_config": RunConfig(
                name="run",
                storage_path=str(self.notes),
                failure_config=FailureConfig(max_failures=RETRIES),
                worker_runtime_env={"env_vars": environment() | of_networks() | variables},
            ),
        }
        run = ray.remote(on_node.run_ranks).options(max_retries=0, **here)
        self.run = run.remote(partial(on_node.run_rank, sender, self.line, rank), configs)
        self.made: bool | None = None
        self.line_open = False

    def to_its_end(self, interruption: Interruption) -> None:
        """Pass on what it says; once it is interrupted, ranks save a checkpoint first."""
        last_room, end = time.monotonic(), float("inf")
        try:
            while self._running() and time.monotonic() < end and self.made is not False:
                self._pass_on_news()
                if interruption.happened and end == float("inf"):
                    self.line.interrupt.remote()
                    end = time.monotonic() + SAVING_SECONDS
                if room(self.ray, self.needed) >= self.number:
                    last_room = time.monotonic()
                elif time.monotonic() > last_room + PATIENCE_SECONDS:
                    raise VqcastError(
                        f"the Ray cluster has no room for {self.number} processes any more; "
                        "run it again to go on from the last checkpoint"
                    )
            self._pass_on_news()
        finally:
            if self.line_open:  # by a bar that did not come to its end
                sys.stderr.write("\n")
            shutil.rmtree(self.notes, ignore_errors=True)
        if not self.made and not interruption.happened:
            raise VqcastError(
                f"one of its processes was lost {RETRIES + 1} times with its worker or its node "
                f"({self._why_it_ended()}); run it again to go on from the last checkpoint"
            )

    def _running(self) -> bool:
        try:
            done, _ = self.ray.wait([self.run], timeout=POLL_SECONDS)
        except self.ray.exceptions.RayError as error:
            raise _gone(error) from None
        return not done

    def _why_it_ended(self) -> str:
        try:
            self.ray.get(self.run, timeout=POLL_SECONDS)
        except self.ray.exceptions.RayError as error:
            return str(error).strip().splitlines()[-1]
        return "it ended without a model"

    def _pass_on_news(self) -> None:
        try:
            said, refused, failure, self.made = self.ray.get(self.line.news.remote())
        except self.ray.exceptions.RayError as error:
            raise _gone(error) from None
        sys.stderr.write(said)
        sys.stderr.flush()
        if said:
            self.line_open = not said.endswith("\n")
        if refused:
            raise VqcastError(refused)
        if failure:
            raise pickle.loads(failure)


def _gone(error: Exception) -> VqcastError:
    return VqcastError(f"the Ray cluster is gone ({type(error).__name__}); run it again")


def _positive(counts: dict[str, int]) -> dict[str, int]:
    return {kind: count for kind, count in counts.items() if count}


def _as_rank(train: Callable[[], None], line: object) -> None:
    """Be a rank, in a worker whose process group Ray Train has made; what it says goes through `line`."""
    import ray
    import torch
    from ray.train.torch import get_device

    if device().type == "cuda":
        os.environ["VQCAST_DEVICE"] = str(get_device())
    threading.Thread(target=_wait_for_interruption, args=(ray, line), daemon=True).start()
    mouth = _Mouth(line) if os.environ["RANK"] == "0" else io.StringIO()
    with contextlib.redirect_stdout(mouth), contextlib.redirect_stderr(mouth):
        try:
            train()
            if os.environ["RANK"] == "0":
                ray.get(line.end.remote(True))
        except torch.OutOfMemoryError as error:  # it would be out of memory again
            ray.get(line.fail.remote(_pickled(error)))
        except RuntimeError:  # what gloo and nccl raise when a rank is gone: Ray Train starts all again
            raise
        except KeyboardInterrupt:  # the checkpoint is saved
            if os.environ["RANK"] == "0":
                ray.get(line.end.remote(False))
        except BaseException as error:
            ray.get(line.fail.remote(_pickled(error)))


def _wait_for_interruption(ray, line: object) -> None:
    ray.get(line.interrupted.remote())
    asked_elsewhere.set()


class _Mouth(io.TextIOBase):
    """What is written goes to the stage."""

    def __init__(self, line: object):
        self._line = line

    def write(self, text: str) -> int:
        self._line.say.remote(text)
        return len(text)


def _pickled(error: BaseException) -> bytes:
    """With its traceback, where it is not one that a sentence says all about."""
    told = "".join(traceback.format_exception(error))
    try:
        if not isinstance(error, VqcastError):
            error.add_note(told)
        return pickle.dumps(error)
    except Exception:  # it holds what cannot be pickled
        return pickle.dumps(RuntimeError(told))
