"""The incremental sampler against the full forward pass."""

import dataclasses
import gc
import weakref

import pytest
import torch

from tests.networks import CODES, GRIDS, bottom_prior, randomised, top_prior, vqvae, window_codes
from vqcast.networks.pixelcnn import Kernels, PixelCNN
from vqcast.networks.vqvae import Codes
from vqcast.sampling import linear
from vqcast.sampling.draw import draw, uniforms
from vqcast.sampling.incremental import Generation, Sampler
from vqcast.sampling.linear import Linear, RowwiseLinear
from vqcast.sampling.predict import decode_predicted, numbers_a_window, random_numbers, sample_codes
from vqcast.settings.params import Sample

SETTINGS = Sample(
    temperature=1.0,
    top_k=None,
    top_p=1.0,
    windows=None,
    samples_per_window=1,
    batch_size=4,
    windows_per_shard=9,
    precision="float32",
    seed=0,
)
TOLERANCE = 1e-4  # float32 sums in another order; logits are of order 1


LAYOUTS = {"top": Kernels.over_time(3), "bottom": Kernels.one_slice(5), "small bottom": Kernels.one_slice(3)}


def pixelcnn(layout: str, height: int = 5, hidden: int = 24, residual: int = 40, heads: int = 3) -> PixelCNN:
    """A network with attention on, of one of both priors' layouts."""
    grid = (3, height, height - 1) if layout == "top" else (1, height, height + 2)
    sizes = dict(hidden=hidden, residual=residual, layers=4, attention_every=2, heads=heads, dropout=0.0)
    network = randomised(PixelCNN(CODES, grid, LAYOUTS[layout], 8, **sizes))
    assert len(network.attention) == 2
    with torch.no_grad():  # keep activations of order 1 whatever the width
        for name, parameter in network.named_parameters():
            if "layers" in name and parameter.ndim > 1:
                parameter.mul_(3 / parameter[0].numel() ** 0.5)
    return network


def random_windows(network: PixelCNN, windows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (B, T, H, W) and conditioning (B, T, H, W, 8)."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(CODES, (windows, *network.grid), generator=generator)
    return codes, torch.randn(windows, *network.grid, 8, generator=generator)


def logits_on_the_way(sampler: Sampler, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Logits (B, N, K) that the sampler sees when it always draws `codes`."""
    seen = []

    def given(number: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        seen.append(logits)
        return codes.flatten(1)[:, number]

    assert torch.equal(sampler.generate(condition, given), codes)
    return torch.stack(seen, 1)


@pytest.mark.parametrize("windows", [1, 3, 6])
@pytest.mark.parametrize(
    "network",
    [
        top_prior().pixelcnn,
        bottom_prior().pixelcnn,
        *(pixelcnn(layout) for layout in LAYOUTS),
        *(pixelcnn(layout, 4, 64, 128, 4) for layout in LAYOUTS),
    ],
    ids=["tiny top", "tiny bottom", *LAYOUTS, *(f"wide {layout}" for layout in LAYOUTS)],
)
def test_logits_equal_the_full_forward_pass_at_every_position(network, windows):
    codes, condition = random_windows(network, windows)
    with torch.inference_mode():
        full = network(codes, condition).flatten(1, 3)
    assert full.std() > 0.1
    seen = logits_on_the_way(Sampler(network), codes, condition)
    torch.testing.assert_close(seen, full, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fixed_shapes_as_on_cuda_give_the_same_logits(layout):
    network = pixelcnn(layout)
    codes, condition = random_windows(network, 3)
    sampler = Sampler(network)
    assert not sampler.fixed_shapes
    usual = logits_on_the_way(sampler, codes, condition)
    sampler.fixed_shapes = True
    fixed = logits_on_the_way(sampler, codes, condition)
    torch.testing.assert_close(fixed, usual, rtol=0, atol=1e-5)


def test_off_the_cpu_no_step_waits_for_a_value():
    """On the meta device there are no values: whoever asks for one fails."""
    network = pixelcnn("top").to("meta")
    condition = torch.zeros(2, *network.grid, 8, device="meta")
    codes = Sampler(network).generate(condition, lambda number, logits: draw(logits, logits[:, 0], SETTINGS))
    assert codes.shape == (2, *network.grid)


def test_the_caches_go_with_the_last_code():
    """Not when the garbage collector comes by: at full size no GPU holds those of two bottom slices."""
    network = pixelcnn("top")
    _, condition = random_windows(network, 2)
    gc.disable()
    try:
        generation = Generation(Sampler(network), condition, lambda number, logits: logits.argmax(1))
        generation.row(0, 0)
        caches = weakref.ref(generation.tiles[0])
        del generation
        assert caches() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("hidden", "residual"), [(64, 128), (24, 41)])
def test_logits_are_the_same_bits_in_any_batch_and_any_order(layout, dtype, hidden, residual):
    network = pixelcnn(layout, 4, hidden, residual, 4)
    codes, condition = random_windows(network, 64)
    sampler = Sampler(network, dtype)
    together = logits_on_the_way(sampler, codes, condition)
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 3, 5, 16, 64):
        rows = torch.randperm(64, generator=generator)[:batch]
        assert torch.equal(logits_on_the_way(sampler, codes[rows], condition[rows]), together[rows]), batch


def test_bfloat16_logits_stay_near_the_full_float32_pass():
    network = pixelcnn("top", 4, 64, 128, 4)
    codes, condition = random_windows(network, 2)
    with torch.inference_mode():
        full = network(codes, condition).flatten(1, 3)
    seen = logits_on_the_way(Sampler(network, torch.bfloat16), codes, condition)
    assert 0 < (seen - full).square().mean().sqrt() < 0.05 * full.std()


def test_a_narrow_grid_gives_the_same_bits_in_any_batch_too():
    """Rows of one position: the product of three windows' rows is summed unlike that of one."""
    sizes = dict(hidden=64, residual=256, layers=2, attention_every=2, heads=4, dropout=0.0)
    network = randomised(PixelCNN(CODES, (2, 3, 1), Kernels.over_time(3), 8, **sizes))
    codes, condition = random_windows(network, 32)
    for dtype in (torch.float32, torch.bfloat16):
        sampler = Sampler(network, dtype)
        together = logits_on_the_way(sampler, codes, condition)
        for rows in ([5], [9, 2, 30]):
            assert torch.equal(logits_on_the_way(sampler, codes[rows], condition[rows]), together[rows])


@pytest.mark.parametrize("library", ["by number of rows", "by row"])
def test_rows_are_independent_even_if_the_library_rounds_by(library, monkeypatch):
    product = Linear.__call__

    def rounded_otherwise(self, *x, plus=None):
        out = product(self, *x, plus=plus)
        by = torch.arange(len(out))[:, None] if library == "by row" else len(out)
        return out * (1 + by * 1e-6)

    monkeypatch.setattr(Linear, "__call__", rounded_otherwise)
    monkeypatch.setattr(linear, "rows_at_once", linear.rows_at_once.__wrapped__)  # nothing stays in its cache
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(size, 32, generator=generator) for size in (48, 16))
    with torch.inference_mode():
        rowwise = RowwiseLinear(weight, None, 4)
        together = rowwise(x)
        assert torch.equal(rowwise(x[4:8]), together[4:8])
        assert torch.equal(rowwise(x.roll(3, 0)).roll(-3, 0), together)


def sampled(rows: list[int], codes: dict[str, torch.Tensor], precision: str = "float32") -> Codes:
    settings = dataclasses.replace(SETTINGS, precision=precision)
    prefix = Codes(codes["prefix_top"][rows], codes["prefix_bottom"][rows])
    top, bottom = top_prior(), bottom_prior()
    names = [(f"clip@{row:05d}", 0) for row in rows]
    return sample_codes(top, bottom, prefix, random_numbers(names, numbers_a_window(top), 7), settings)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sample_and_its_pixels_do_not_depend_on_the_batch_they_are_made_in(precision):
    codes, pixels = window_codes(64), vqvae().eval()
    pixels.quantize_top.codebook.normal_()
    pixels.quantize_bottom.codebook.normal_()
    together = sampled(list(range(64)), codes, precision)
    for rows in ([7], [40, 3, 22], list(range(31, 15, -1))):
        some = sampled(rows, codes, precision)
        assert torch.equal(some.top, together.top[rows])
        assert torch.equal(some.bottom, together.bottom[rows])
        picked = Codes(*(level[:5] for level in some))
        alone = Codes(*(level[:1] for level in some))
        given = torch.rand(len(picked.top), 3, 4, 24, 24)
        assert torch.equal(
            decode_predicted(pixels, picked, given)[:1], decode_predicted(pixels, alone, given[:1])
        )


def test_a_sample_starts_with_the_prefix_codes_and_the_rest_differs_by_window():
    codes = window_codes(2)
    result = sampled([0, 1], codes)
    assert result.top.shape == (2, *GRIDS.top)
    assert result.bottom.shape == (2, *GRIDS.bottom)
    assert torch.equal(result.top[:, :1], codes["prefix_top"])
    assert torch.equal(result.bottom[:, :2], codes["prefix_bottom"])
    assert not torch.equal(result.bottom[0, 2:], result.bottom[1, 2:])


def test_random_numbers_belong_to_seed_window_and_sample():
    first = uniforms(0, "a@00000", 0, 50)
    assert (first == uniforms(0, "a@00000", 0, 50)).all()
    for other in (
        uniforms(1, "a@00000", 0, 50),
        uniforms(0, "b@00000", 0, 50),
        uniforms(0, "a@00000", 1, 50),
    ):
        assert (first != other).any()
    assert first.min() >= 0 and first.max() < 1


def test_drawn_codes_follow_the_distribution():
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0]])
    evenly = (torch.arange(4000) + 0.5) / 4000
    codes = draw(logits.expand(4000, -1), evenly, SETTINGS)
    shares = torch.bincount(codes, minlength=4) / 4000
    torch.testing.assert_close(shares, logits.softmax(-1)[0], rtol=0, atol=1 / 2000)


def test_temperature_top_k_and_top_p_leave_out_unlikely_codes():
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0]]).expand(100, -1)
    evenly = (torch.arange(100) + 0.5) / 100
    assert set(draw(logits, evenly, dataclasses.replace(SETTINGS, top_k=2)).tolist()) == {0, 2}
    assert set(draw(logits, evenly, dataclasses.replace(SETTINGS, top_p=0.6)).tolist()) == {2}
    assert set(draw(logits, evenly, dataclasses.replace(SETTINGS, temperature=0.05)).tolist()) == {2}


def test_the_largest_random_number_still_draws_a_possible_code():
    logits = torch.tensor([[1.0, 2.0, -torch.inf]])
    assert draw(logits, torch.tensor([1 - 2**-53], dtype=torch.float64), SETTINGS).item() == 1
