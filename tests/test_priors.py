"""Causality, shown exhaustively at small size: change one code and see which logits move."""

import pytest
import torch

from tests.networks import CODES, GRIDS, bottom_prior, randomised, top_prior, window_codes
from vqcast.codes.likelihood import bottom_nll_bits, predicted_slices, top_nll_bits
from vqcast.networks.masked import MaskedConv3d, visible_offsets
from vqcast.networks.pixelcnn import Dropout, Kernels, PixelCNN

SEEN = 1e-6  # a logit that moves by less has not seen the change; those that see it move far more


def with_one_code_changed(codes: torch.Tensor) -> torch.Tensor:
    """Row i is `codes` (1, T, H, W) with its i-th code, in raster order, replaced by another."""
    flat = codes.flatten(1).repeat(codes.numel(), 1)
    places = torch.arange(codes.numel())
    flat[places, places] = (flat[places, places] + 1) % CODES
    return flat.view(-1, *codes.shape[1:])


def moved_logits(network: PixelCNN, codes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """(changed code, logit position) -> whether that logit moved."""
    with torch.inference_mode():
        before = network(codes, condition).flatten(1, 3)
        changed = with_one_code_changed(codes)
        after = network(changed, condition.expand(len(changed), -1, -1, -1, -1)).flatten(1, 3)
    return (after - before).abs().amax(-1) > SEEN


@pytest.mark.parametrize("prior", [top_prior(), bottom_prior()], ids=["top", "bottom"])
def test_no_logit_depends_on_its_own_or_a_later_code_and_attention_lets_it_see_all_earlier_ones(prior):
    network = prior.pixelcnn
    assert len(network.attention) == 2
    codes = torch.randint(CODES, (1, *network.grid), generator=torch.Generator().manual_seed(3))
    condition = torch.randn(1, *network.grid, 8, generator=torch.Generator().manual_seed(4))
    moved = moved_logits(network, codes, condition)
    earlier = torch.ones_like(moved).triu(diagonal=1)  # code i, logit j > i
    assert torch.equal(moved, earlier)


@pytest.mark.parametrize("kernels", [Kernels.over_time(3), Kernels.one_slice(5)], ids=["3D", "2D"])
def test_without_attention_the_convolutions_are_causal_as_well(kernels):
    grid = (3, 4, 5) if kernels.stem[0] > 1 else (1, 5, 6)
    torch.manual_seed(0)
    network = PixelCNN(
        CODES, grid, kernels, 8, hidden=8, residual=8, layers=3, attention_every=9, heads=2, dropout=0.0
    ).eval()
    codes = torch.randint(CODES, (1, *grid))
    moved = moved_logits(network, codes, torch.randn(1, *grid, 8))
    assert not moved.tril().any()
    assert moved.any()


def test_convolutions_in_planes_reach_right_and_down_by_going_back_in_time_alone():
    grid, (y, x) = (3, 7, 9), (3, 4)
    torch.manual_seed(0)
    network = PixelCNN(
        CODES,
        grid,
        Kernels.over_time(3),
        8,
        hidden=8,
        residual=8,
        layers=6,
        attention_every=9,
        heads=2,
        dropout=0.0,
    )
    randomised(network)
    moved = moved_logits(network, torch.randint(CODES, (1, *grid)), torch.randn(1, *grid, 8))
    seen = moved.view(*grid, *grid)[:, :, :, -1, y, x]  # by the centre of the last slice
    for back, slice_seen in enumerate(seen.flip(0)):
        rows, columns = slice_seen.nonzero().unbind(1)
        assert (rows.max() - y, columns.max() - x) == (back, 1 + back)


def test_earlier_time_steps_are_seen_on_every_side_and_the_present_one_only_before():
    seen = visible_offsets((3, 3, 3), "before")
    assert {(-1, y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)} <= set(seen)
    assert {offset for offset in seen if offset[0] == 0} == {(0, -1, -1), (0, -1, 0), (0, -1, 1), (0, 0, -1)}
    assert (0, 0, 0) in visible_offsets((3, 3, 3), "so far")


def test_masked_convolution_equals_a_sum_over_its_visible_offsets():
    torch.manual_seed(0)
    for rule in ("rows above", "rows so far", "before", "so far"):
        conv = MaskedConv3d(2, 3, (3, 3, 3), rule)
        x = torch.randn(1, 3, 4, 4, 2)
        padded = torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1, 1, 1))
        taps = [padded[:, 1 + t : 4 + t, 1 + y : 5 + y, 1 + x : 5 + x] for t, y, x in conv.offsets]
        expected = torch.cat(taps, -1) @ conv.taps() + conv.bias
        torch.testing.assert_close(conv(x), expected, rtol=1e-5, atol=1e-5)


def test_top_conditioning_reads_the_prefix_codes_and_nothing_of_the_window():
    prior = top_prior()
    codes, other = window_codes(2), window_codes(2, seed=5)
    with torch.inference_mode():
        condition = prior.conditioning(codes["prefix_top"], codes["prefix_bottom"])
        assert condition.shape == (2, *GRIDS.predicted_top, 8)
        moved = prior.conditioning(other["prefix_top"], codes["prefix_bottom"])
        assert not torch.equal(condition, moved)
        # The window's own codes of the given frames have seen the future: the prior must not read them.
        before = prior(codes["prefix_top"], codes["prefix_bottom"], codes["top"])
        mixed = torch.cat([other["top"][:, : GRIDS.prefix_top], codes["top"][:, GRIDS.prefix_top :]], 1)
        assert torch.equal(before, prior(codes["prefix_top"], codes["prefix_bottom"], mixed))


def test_bottom_conditioning_of_a_slice_reads_no_bottom_slice_from_it_on():
    prior = bottom_prior()
    codes, other = window_codes(1), window_codes(1, seed=5)
    for index in range(GRIDS.prefix_bottom, GRIDS.bottom[0]):
        slices = torch.tensor([[index]])
        with torch.inference_mode():
            upsampled = prior.conditioning.upsample(codes["top"])
            before = prior.condition(upsampled, codes["bottom"], slices)
            later = torch.cat([codes["bottom"][:, :index], other["bottom"][:, index:]], 1)
            assert torch.equal(before, prior.condition(upsampled, later, slices))
            earlier = torch.cat([other["bottom"][:, :index], codes["bottom"][:, index:]], 1)
            assert not torch.equal(before, prior.condition(upsampled, earlier, slices))


def test_past_slices_before_the_windows_start_are_masked_out():
    prior = bottom_prior()
    codes = window_codes(1)
    slices = torch.tensor([[2]])  # wants slices -2 to 1
    with torch.inference_mode():
        upsampled = prior.conditioning.upsample(codes["top"])
        before = prior.condition(upsampled, codes["bottom"], slices)
        prior.conditioning.embed_bottom.weight[int(codes["bottom"][0, 0, 0, 0])] += 1
        moved = prior.condition(upsampled, codes["bottom"], slices)
    assert not torch.equal(before, moved)


def test_no_likelihood_sees_the_windows_codes_of_the_given_frames():
    codes, other = window_codes(2), window_codes(2, seed=5)
    mixed = dict(codes)
    mixed["top"] = torch.cat([other["top"][:, : GRIDS.prefix_top], codes["top"][:, GRIDS.prefix_top :]], 1)
    first = GRIDS.prefix_bottom
    mixed["bottom"] = torch.cat([other["bottom"][:, :first], codes["bottom"][:, first:]], 1)
    slices = predicted_slices(GRIDS, 2)
    with torch.inference_mode():
        assert torch.equal(top_nll_bits(top_prior(), codes), top_nll_bits(top_prior(), mixed))
        assert torch.equal(
            bottom_nll_bits(bottom_prior(), codes, slices), bottom_nll_bits(bottom_prior(), mixed, slices)
        )


@pytest.mark.parametrize("probability", [0.15, 0.5])
def test_dropout_zeroes_its_share_and_keeps_the_mean(probability):
    torch.manual_seed(0)
    x = torch.ones(1000, 1001, requires_grad=True)
    dropout = Dropout(probability)
    y = dropout(x)
    assert y.eq(0).float().mean().item() == pytest.approx(probability, abs=0.004)
    assert y.mean().item() == pytest.approx(1, abs=0.005)
    y.sum().backward()
    assert torch.equal(x.grad, y)
    assert torch.equal(dropout.eval()(x), x)
