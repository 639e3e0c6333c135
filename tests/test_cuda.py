"""What only a GPU can show: graphs, float32 that is float32, and networks that learn there as on a CPU."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from tests.networks import bottom_prior, top_prior, vqvae, window_codes
from tests.rank_worker import task_of
from tests.test_incremental import LAYOUTS, SETTINGS, TOLERANCE, pixelcnn, random_windows
from vqcast.networks.pixelcnn import PixelCNN
from vqcast.networks.vqvae import Codes
from vqcast.sampling.draw import draw
from vqcast.sampling.incremental import Generation, Sampler
from vqcast.sampling.predict import numbers_a_window, random_numbers, sample_codes
from vqcast.training.loop import Batches, prepare_blocks, take_step, train
from vqcast.training.optimizer import Optimizer
from vqcast.work.environment import device, prepare_networks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")

SIZES = [(64, 128), (24, 41)]  # hidden, residual


@pytest.fixture(autouse=True)
def prepared(monkeypatch):
    monkeypatch.setenv("VQCAST_DEVICE", "cuda")
    prepare_networks()


def on_gpu(
    layout: str, windows: int, hidden: int, residual: int
) -> tuple[PixelCNN, torch.Tensor, torch.Tensor]:
    network = pixelcnn(layout, 4, hidden, residual, 4)
    codes, condition = random_windows(network, windows)
    return network.cuda(), codes.cuda(), condition.cuda()


def logits_on_the_way(sampler: Sampler, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Logits (B, N, K) that the sampler sees when it always draws `codes`, graphs and all."""
    count = len(sampler.network.embedding.weight)
    seen = torch.full((*codes.flatten(1).shape, count), torch.nan, device="cuda")

    def given(number: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        seen.index_copy_(1, number.view(1), logits[:, None])
        return codes.flatten(1).index_select(1, number.view(1))[:, 0]

    assert torch.equal(sampler.generate(condition, given), codes)
    return seen


@pytest.mark.parametrize("windows", [1, 3, 70])
@pytest.mark.parametrize(("hidden", "residual"), SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_equal_the_full_forward_pass_at_every_position(layout, hidden, residual, windows):
    network, codes, condition = on_gpu(layout, windows, hidden, residual)
    with torch.inference_mode():
        full = network(codes, condition).flatten(1, 3)
    assert full.std() > 0.1
    seen = logits_on_the_way(Sampler(network), codes, condition)
    torch.testing.assert_close(seen, full, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_float32_logits_are_those_of_a_cpu(layout):
    network = pixelcnn(layout, 4, 64, 128, 4)
    codes, condition = random_windows(network, 2)
    with torch.inference_mode():
        on_cpu = network(codes, condition)
        there = network.cuda()(codes.cuda(), condition.cuda()).cpu()
    torch.testing.assert_close(there, on_cpu, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("hidden", "residual"), SIZES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_the_same_bits_in_any_batch_and_any_order(layout, hidden, residual, dtype):
    network, codes, condition = on_gpu(layout, 70, hidden, residual)
    sampler = Sampler(network, dtype)
    together = logits_on_the_way(sampler, codes, condition)
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 3, 16, 65):
        rows = torch.randperm(70, generator=generator)[:batch]
        assert torch.equal(logits_on_the_way(sampler, codes[rows], condition[rows]), together[rows]), batch


def test_no_position_waits_for_a_value():
    network, _, condition = on_gpu("top", 3, 64, 128)
    uniforms = torch.rand(3, dtype=torch.float64, device="cuda")
    sampler = Sampler(network, torch.bfloat16)
    generation = Generation(sampler, condition, lambda number, logits: draw(logits, uniforms, SETTINGS))
    generation.row(0, 0)  # captures the graph
    torch.cuda.set_sync_debug_mode("error")
    try:
        for y in range(1, network.grid[1]):
            generation.row(0, y)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_sample_does_not_depend_on_the_batch_it_is_made_in():
    top, bottom, codes = top_prior().cuda(), bottom_prior().cuda(), window_codes(20)
    settings = dataclasses.replace(SETTINGS, top_p=0.9, precision="bfloat16")

    def sampled(rows: list[int]) -> Codes:
        prefix = Codes(codes["prefix_top"][rows].cuda(), codes["prefix_bottom"][rows].cuda())
        names = [(f"clip@{row:05d}", 0) for row in rows]
        return sample_codes(top, bottom, prefix, random_numbers(names, numbers_a_window(top), 7), settings)

    together = sampled(list(range(20)))
    for rows in ([7], [19, 3, 12]):
        some = sampled(rows)
        assert torch.equal(some.top, together.top[rows])
        assert torch.equal(some.bottom, together.bottom[rows])


def test_codes_and_pixels_are_those_of_a_cpu():
    network = vqvae().eval()
    for quantizer in (network.quantize_top, network.quantize_bottom):
        quantizer.codebook.normal_(generator=torch.Generator().manual_seed(0))
    video = torch.rand(2, 3, 16, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        codes = network.encode(video)
        pixels = network.decode(codes)
        network.cuda()
        there = network.encode(video.cuda())
        shown = network.decode(Codes(*(level.cuda() for level in codes))).cpu()
    # A vector about as near to two codes may fall to the other one.
    for here, level in zip(codes, there, strict=True):
        assert (here == level.cpu()).float().mean() > 0.999
    torch.testing.assert_close(shown, pixels, rtol=0, atol=TOLERANCE)


def losses(network: str, steps: int, where: str, monkeypatch, **how: object) -> list[float]:
    """Those of the first optimizer steps."""
    monkeypatch.setenv("VQCAST_DEVICE", where)
    task, training = task_of(network)
    training = dataclasses.replace(training, **how)
    task.to(device(), memory_format=torch.channels_last_3d)
    prepare_blocks(task.network, training)
    optimizer = Optimizer(task.network, training)
    batches = Batches(len(task.windows), training, 0)
    data = (default_collate([task.windows[index] for index in batch]) for batch in batches)
    return [float(take_step(task, optimizer, training, step, data, batches)["loss"]) for step in range(steps)]


@pytest.mark.parametrize("network", ["vqvae", "top_prior", "bottom_prior"])
def test_a_network_learns_as_on_a_cpu(network, monkeypatch):
    on_cpu = losses(network, 8, "cpu", monkeypatch)
    assert losses(network, 8, "cuda", monkeypatch) == pytest.approx(on_cpu, rel=1e-3)
    in_parts = losses(network, 8, "cuda", monkeypatch, accumulate=2, activation_checkpointing=True)
    if network != "vqvae":  # whose quantizer is shown a batch's parts one after the other
        assert in_parts == pytest.approx(on_cpu, rel=1e-3)
    for how in ({"optimizer": "muon"}, {"precision": "bfloat16"}):
        near = losses(network, 8, "cuda", monkeypatch, **how)
        assert near == pytest.approx(losses(network, 8, "cpu", monkeypatch, **how), rel=5e-3)


def test_training_goes_on_where_it_was_killed(tmp_path):
    """In the midst of the steps whose means are the next point of the curves."""

    def trained(folder: Path, deadly_step: int | None = None) -> float:
        task, training = task_of("top_prior")
        learn, steps = task.after_step, iter(range(1, 1000))

        def die(accepted: bool) -> None:
            learn(accepted)
            if next(steps) == deadly_step:
                raise RuntimeError

        task.after_step = die
        train(task, dataclasses.replace(training, steps=300, checkpoint_every=100), folder, "train")
        return task.validate()["nll_bits"]

    with pytest.raises(RuntimeError):
        trained(tmp_path / "killed", deadly_step=102)
    assert trained(tmp_path / "killed") == pytest.approx(trained(tmp_path / "unbroken"), rel=1e-3)
