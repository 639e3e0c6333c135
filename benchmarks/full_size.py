"""The paper's networks at full size on a GPU: a step of each, sampling, and how near they come to the chip.

    python -m benchmarks.full_size                          one GPU of 80 GB
    python -m benchmarks.full_size --params params.yaml     other sizes, on any device

product_tflops, copy_gb_per_s   what the device does at most: a large bfloat16 matrix product, a large copy
training, by network            of one optimizer step of the preset's whole batch, as the pipeline takes it:
    seconds, windows_per_s
    share_of_product            three times the floating-point operations of a forward pass, over what the
                                product would do in that time; operations that are done twice to save memory
                                do not count
    peak_gib                    memory taken at most
sampling, by prior, precision and batch: codes_per_s over rows in the middle of the grid, drawing included
    share_of_copy               bytes of all weights, once a position, over those that a copy moves in that
                                time; beyond 1 is possible, because weights of the vertical stack are read
                                once a row
whole_windows                   seconds and codes/s of a batch of the `sample` stage, as the preset has it
largest_difference              between float32 logits of the sampler and of the full pass, over all positions
logits_std                      of these logits
same_in_any_batch               whether a window's codes are the same in batches of all sizes, by precision

Pixels, codes and the priors' weights are random. Times are medians.
"""

import argparse
import dataclasses
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import repeat

import torch
from torch import nn
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.sampling import MiddleRow
from benchmarks.training import NETWORKS, WINDOWS, task_of
from vqcast.errors import VqcastError
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.pixelcnn import PixelCNN
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import Codes
from vqcast.sampling.draw import draw
from vqcast.sampling.incremental import Generation, Sampler
from vqcast.sampling.predict import numbers_a_window, sample_codes
from vqcast.settings.params import Settings, load_settings
from vqcast.settings.training import Training
from vqcast.training.loop import Batches, Task, prepare_blocks, take_step
from vqcast.training.optimizer import Optimizer
from vqcast.work.environment import device, on_device, prepare_networks

PRECISIONS = ("bfloat16", "float32")
BATCHES = (1, 16, 64)
SIDE = 8192  # of the product's matrices
ROWS = 4  # that are timed at once, and in which windows of several batches are compared


def seconds_of(function: Callable[[], object], repeats: int) -> float:
    """Median seconds of `function`."""
    taken = []
    for _ in range(repeats):
        _wait()
        start = time.perf_counter()
        function()
        _wait()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _wait() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def chip() -> dict[str, float]:
    """Operations/s of a bfloat16 product and bytes/s of a copy, both ways counted."""
    side = SIDE if device().type == "cuda" else SIDE // 8
    left, right = (torch.randn(side, side, device=device(), dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(side, 4 * side, device=device())
    target = torch.empty_like(source)
    return {
        "operations": 2 * side**3 / seconds_of(lambda: left @ right, 21),
        "bytes": 2 * source.nbytes / seconds_of(lambda: target.copy_(source), 21),
    }


def training(name: str, settings: Settings, rates: dict[str, float]) -> dict[str, float]:
    """Figures of an optimizer step of network `name`."""
    how = getattr(settings, f"train_{name}")
    task = on_device(task_of(name, settings))
    operations = 3 * _operations_a_window(task)
    prepare_blocks(task.network, how)
    optimizer = Optimizer(task.network, how)

    def step(settings: Training) -> Callable[[], object]:
        batches = Batches(WINDOWS, settings, 0)
        data = repeat(default_collate([task.windows[index] for index in batches[0]]))
        return lambda: take_step(task, optimizer, settings, how.warmup_steps, data, batches)

    # One part warms up: a whole batch of the top prior takes many times as long.
    part = dataclasses.replace(how, batch_size=how.batch_size // how.accumulate, accumulate=1)
    seconds_of(step(part), 3)
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = seconds_of(step(how), 3 if how.accumulate == 1 else 1)
    return {
        "seconds": seconds,
        "windows_per_s": how.batch_size / seconds,
        "share_of_product": operations * how.batch_size / seconds / rates["operations"],
        **({"peak_gib": torch.cuda.max_memory_allocated() / 2**30} if device().type == "cuda" else {}),
    }


def _operations_a_window(task: Task) -> int:
    batch = default_collate([task.windows[0]])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        task.eval().loss(batch, torch.zeros(1, task.uniforms, device=device()))
    return counter.get_total_flops()


def priors(settings: Settings) -> tuple[TopPriorNetwork, BottomPriorNetwork]:
    """Both priors with random weights; those that begin at zero too, so that all of a network counts."""
    grids = Grids.of(settings.window, settings.clip.resolution, settings.vqvae)
    torch.manual_seed(0)
    with device():
        networks = (
            TopPriorNetwork(settings.top_prior, settings.vqvae.codes, grids),
            BottomPriorNetwork(settings.bottom_prior, settings.vqvae.codes, grids),
        )
    for network in networks:
        network.eval().requires_grad_(False)
        for attention in network.pixelcnn.attention.values():
            nn.init.normal_(attention.out.weight, std=attention.out.in_features**-0.5)
    return networks


def sampling(prior: PixelCNN, rates: dict[str, float]) -> dict[str, dict]:
    """Codes/s by precision and batch, and what share of a copy's bytes/s the weights are read at."""
    figures: dict[str, dict] = {}
    weights = sum(parameter.numel() for parameter in prior.parameters())
    for precision in PRECISIONS:
        dtype = getattr(torch, precision)
        for batch in BATCHES:
            row = MiddleRow(prior, batch, dtype)
            seconds_of(row, 2)
            seconds = seconds_of(partial(_repeat, row, ROWS), 3) / ROWS / (row.codes / batch)
            figures[f"{precision}, {batch}"] = {
                "codes_per_s": batch / seconds,
                "share_of_copy": weights * dtype.itemsize / seconds / rates["bytes"],
            }
            del row  # or its caches would still be there when the next ones come
    return figures


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def whole_windows(
    networks: tuple[TopPriorNetwork, BottomPriorNetwork], settings: Settings
) -> dict[str, float]:
    """Figures of one batch of the `sample` stage, from the prefix codes to the last bottom slice."""
    grids, how = networks[0].grids, settings.sample
    prefix = [
        torch.randint(settings.vqvae.codes, (how.batch_size, *grids.shape(level)), device=device())
        for level in ("prefix_top", "prefix_bottom")
    ]
    numbers = torch.rand(how.batch_size, numbers_a_window(networks[0]), dtype=torch.float64)
    seconds = seconds_of(lambda: sample_codes(*networks, Codes(*prefix), numbers, how), 1)
    return {"seconds": seconds, "codes_per_s": numbers.numel() / seconds}


@torch.inference_mode()
def differences(prior: PixelCNN) -> dict[str, float]:
    """How far the sampler's logits are from the full pass, at every position of one window."""
    codes = torch.randint(len(prior.embedding.weight), (1, *prior.grid), device=device())
    condition = torch.randn(1, *prior.grid, prior.row.shape[1], device=device())
    full = prior(codes, condition).flatten(1, 3)
    seen = torch.full_like(full, math.nan)

    def given(number: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        seen.index_copy_(1, number.view(1), logits[:, None])
        return codes.flatten(1).index_select(1, number.view(1))[:, 0]

    Sampler(prior).generate(condition, given)
    return {"largest_difference": float((seen - full).abs().max()), "logits_std": float(full.std())}


@torch.inference_mode()
def same_in_any_batch(prior: PixelCNN, settings: Settings, dtype: torch.dtype) -> bool:
    """Whether the codes of windows drawn together are those of each drawn apart, or in smaller batches."""
    together = max(BATCHES) + 1  # in two tiles at least
    condition = torch.randn(together, *prior.grid, prior.row.shape[1], device=device())
    numbers = torch.rand(together, math.prod(prior.grid), dtype=torch.float64, device=device())
    sampler = Sampler(prior, dtype)

    def drawn(rows: list[int]) -> torch.Tensor:
        own = numbers[rows]
        generation = Generation(
            sampler,
            condition[rows],
            lambda number, logits: draw(logits, own.index_select(1, number.view(1))[:, 0], settings.sample),
        )
        for y in range(ROWS):
            generation.row(0, y)
        return generation.codes.t()

    whole = drawn(list(range(together)))
    parts = [[together - 1], [5, 40, 2], list(range(30, 13, -1))]
    return all(torch.equal(drawn(rows), whole[rows]) for rows in parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_size", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--params", default="presets/kinetics600.yaml", help="parameters file")
    arguments = parser.parse_args()
    prepare_networks()
    try:
        settings = load_settings(arguments.params)
    except VqcastError as error:
        sys.exit(f"full_size: {error}")
    cuda = device().type == "cuda"
    rates = chip()
    result = {
        "params": arguments.params,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "product_tflops": rates["operations"] / 1e12,
        "copy_gb_per_s": rates["bytes"] / 1e9,
        "training": {},
        "sampling": {},
    }

    def tell(section: str, name: str, figures: dict) -> None:
        result[section][name] = figures
        print(f"{section}, {name}: {json.dumps(_rounded(figures))}", flush=True)

    for name in NETWORKS:
        tell("training", name, training(name, settings, rates))
        gc.collect()  # blocks that are compiled or computed twice refer to themselves
        if cuda:
            torch.cuda.empty_cache()
    networks = priors(settings)
    for name, network in zip(("top_prior", "bottom_prior"), networks, strict=True):
        prior = network.pixelcnn
        tell("sampling", name, {**differences(prior), **sampling(prior, rates)})
    tell("sampling", "whole_windows", whole_windows(networks, settings))
    same = {p: same_in_any_batch(networks[1].pixelcnn, settings, getattr(torch, p)) for p in PRECISIONS}
    tell("sampling", "same_in_any_batch", same)
    print(json.dumps(_rounded(result)))


def _rounded(figures: object) -> object:
    if isinstance(figures, dict):
        return {name: _rounded(value) for name, value in figures.items()}
    return float(f"{figures:.4g}") if isinstance(figures, float) else figures


if __name__ == "__main__":
    main()
