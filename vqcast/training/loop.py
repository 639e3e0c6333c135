"""The training loop that every network shares: one optimizer step after another, resumable at any of them.

A step is a pure function of its number: which windows it sees, the learning rate and every random draw
follow from (seed, step). What a checkpoint must hold is therefore the weights, the optimizer's state, the
number of steps done and the curves so far; a resumed run ends with the bytes of an unbroken one.

Every rank takes its part of each batch; gradients are averaged, so that all ranks take the same step. With
`accumulate`, a rank's part is worked on a piece at a time.
"""

import abc
import math
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import Dataset
from tqdm import tqdm

from vqcast.clips.ahead import read_ahead
from vqcast.errors import VqcastError
from vqcast.networks.attention import CausalAttention
from vqcast.networks.pixelcnn import GatedLayer
from vqcast.networks.vqvae import ResidualBlock
from vqcast.settings.training import Training
from vqcast.training.checkpoints import Checkpoints
from vqcast.training.curves import Curves
from vqcast.training.interruption import Interruption
from vqcast.training.optimizer import Optimizer
from vqcast.training.ranks import average_over_ranks, rank, ranks, wait_for_all_ranks
from vqcast.work.environment import autocast, device, on_device, prepare_networks

REFUSED_IN_A_ROW = 5  # non-finite steps after which training stops


class Task(nn.Module, abc.ABC):
    """What is trained: a network, its windows, its loss and its validation; its state is what is learned."""

    network: nn.Module
    windows: Dataset  # training windows
    readers: int  # threads that read windows ahead
    uniforms: int  # random numbers in [0, 1) that the loss takes for each window

    @abc.abstractmethod
    def loss(self, batch: object, uniforms: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of B windows given random numbers (B, uniforms), and figures to log beside it."""

    def after_step(self, accepted: bool) -> None:
        """The optimizer took a step, or the step was refused: the place for what learns without gradients."""

    @abc.abstractmethod
    def validate(self) -> dict[str, float]:
        """Figures over the validation windows, in eval mode; every rank takes its share, all get the same."""


class Batches(Sequence):
    """The window numbers of every part of every step from `start` on, for one rank.

    Each window comes once an epoch, in an order that changes with the epoch. Over all ranks and parts, a
    step sees the same windows however it is cut up.
    """

    def __init__(self, windows: int, settings: Training, start: int, rank: int = 0, ranks: int = 1):
        self.windows, self.settings, self.start = windows, settings, start
        self.parts = settings.accumulate
        self.size, left = divmod(settings.batch_size, self.parts * ranks)
        if left:
            raise VqcastError(
                f"batch_size ({settings.batch_size}) cannot be shared by {ranks} processes "
                f"with accumulate {self.parts}"
            )
        self.rank, self.ranks = rank, ranks
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __len__(self) -> int:
        return (self.settings.steps - self.start) * self.parts

    def __getitem__(self, index: int) -> list[int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        step, part = divmod(index, self.parts)
        first = (self.start + step) * self.settings.batch_size
        return [self._window(first + row) for row in self.rows(part)]

    def rows(self, part: int) -> range:
        """Which of a step's windows this rank sees in `part`."""
        first = (part * self.ranks + self.rank) * self.size
        return range(first, first + self.size)

    def _window(self, place: int) -> int:
        epoch, position = divmod(place, self.windows)
        if self._order[0] != epoch:
            order = np.random.default_rng((self.settings.seed, epoch)).permutation(self.windows)
            self._order = (epoch, order)
        return int(self._order[1][position])


def learning_rate(settings: Training, step: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train(task: Task, settings: Training, scratch: Path, what: str) -> float:
    """Train `task` in place for `settings.steps` steps, resuming from `scratch`.

    `scratch/curves` then holds the learning curves. SIGTERM and Ctrl-C save a checkpoint before they take
    their course. Returns the share of the time that was spent waiting for data. Raises VqcastError when
    the loss stays non-finite.
    """
    prepare_networks()
    on_device(task)
    prepare_blocks(task.network, settings)
    optimizer = Optimizer(task.network, settings)
    checkpoints = Checkpoints(scratch / "checkpoints", run=scratch.name)
    curves = Curves(scratch / "curves" if rank() == 0 else None)
    start = _restore(checkpoints, task, optimizer, curves)
    batches = Batches(len(task.windows), settings, start, rank(), ranks())
    data = _Timed(read_ahead(task.windows, batches, task.readers))
    log_every = max(settings.steps // 100, 1)
    refused, began = 0, time.perf_counter()

    def save(done: int) -> None:
        if rank() == 0:
            state = {"task": task.state_dict(), "optimizer": optimizer.state_dict(), "curves": curves.state()}
            checkpoints.save(done, state)

    bar = partial(tqdm, desc=what, unit="step", dynamic_ncols=True, disable=rank() > 0)
    with Interruption() as interruption, bar(total=settings.steps, initial=start) as progress:
        for step in range(start, settings.steps):
            figures = take_step(task, optimizer, settings, step, data, batches)
            refused = 0 if figures else refused + 1
            if refused == REFUSED_IN_A_ROW:
                raise VqcastError(
                    f"{what}: the loss or its gradient was not finite {refused} times in a row at step "
                    f"{step}; a lower learning_rate may help"
                )
            curves.note(figures)
            done = step + 1
            progress.update()
            if done % settings.validate_every == 0 or done == settings.steps:
                curves.add(done, "validation", _validated(task))
            if done % log_every == 0 or done == settings.steps:
                means = curves.add_means(done, "train")
                waited = data.seconds / (time.perf_counter() - began)
                shown = {name: f"{value:.4g}" for name, value in means.items()}
                progress.set_postfix(shown | {"data_wait": f"{waited:.1%}"})
            interrupted = _on_any_rank(interruption.happened)
            if interrupted or done % settings.checkpoint_every == 0 or done == settings.steps:
                save(done)
            if interrupted:
                tqdm.write(f"{what}: interrupted; {done} of {settings.steps} steps are saved", sys.stderr)
                break
    curves.close()
    interruption.now()
    return data.seconds / (time.perf_counter() - began)


def take_step(
    task: Task,
    optimizer: Optimizer,
    settings: Training,
    step: int,
    data: Iterator[object],
    batches: Batches,
) -> dict[str, Tensor]:
    """One optimizer step on the next `batches.parts` batches of `data`.

    Returns its figures, or none when it was refused for not being finite.
    """
    task.train()
    optimizer.gradient.zero_()
    uniforms = np.random.default_rng((settings.seed, step)).random(
        (settings.batch_size, task.uniforms), np.float32
    )
    noted: list[dict[str, Tensor]] = []
    for part in range(batches.parts):
        rows = batches.rows(part)
        batch = next(data)
        _seed(settings.seed, step, rows.start)
        with autocast(settings.precision):
            own = torch.from_numpy(uniforms[rows.start : rows.stop]).to(device())
            loss, figures = task.loss(batch, own)
        (loss / batches.parts).backward()
        noted.append({name: value.detach().float() for name, value in {"loss": loss, **figures}.items()})
    figures = {name: torch.stack([part[name] for part in noted]).mean() for name in noted[0]}
    average_over_ranks(list(figures.values()))
    optimizer.average()
    norm = optimizer.clip(settings.grad_clip)
    accepted = bool(torch.isfinite(figures["loss"] + norm))
    if accepted:
        optimizer.step(learning_rate(settings, step))
    elif rank() == 0:
        tqdm.write(f"step {step} refused: its loss or gradient is not finite")
    task.after_step(accepted)
    return figures if accepted else {}


def _seed(*numbers: int) -> None:
    """Make every torch random draw that follows a function of these numbers."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(state) >> 1)


def _validated(task: Task) -> dict[str, float]:
    task.eval()
    with torch.inference_mode():
        return task.validate()


def _restore(checkpoints: Checkpoints, task: Task, optimizer: Optimizer, curves: Curves) -> int:
    """Go back to the newest checkpoint; the number of steps done."""
    state = checkpoints.newest()
    if state:
        task.load_state_dict(state["task"])
        optimizer.load_state_dict(state["optimizer"])
        curves.restore(state["curves"])
    wait_for_all_ranks()  # the first one may soon remove the file
    return state["step"] if state else 0


def _on_any_rank(happened: bool) -> bool:
    """Whether it happened on any rank; the same answer on all."""
    share = torch.tensor(float(happened), device=device())
    average_over_ranks([share])
    return bool(share)


def prepare_blocks(network: nn.Module, settings: Training) -> None:
    """Compile the blocks that most of a network is made of, or let them keep their inputs alone, if so set.

    Blocks of one kind are compiled once, where the whole network would take minutes. With
    `activation_checkpointing` a block's activations are computed again in the backward pass.
    """
    for module in network.modules():
        if isinstance(module, (ResidualBlock, GatedLayer, CausalAttention)):
            if settings.compile:
                module.forward = torch.compile(module.forward)
            if settings.activation_checkpointing:
                module.forward = partial(checkpoint, module.forward, use_reentrant=False)


class _Timed(Iterator[object]):
    """An iterator that adds up the seconds it was waited for."""

    def __init__(self, items: Iterator[object]):
        self._items, self.seconds = items, 0.0

    def __next__(self) -> object:
        began = time.perf_counter()
        item = next(self._items)
        self.seconds += time.perf_counter() - began
        return item
