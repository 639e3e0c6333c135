"""The VQ-VAE that codes predicted frames in sight of the given ones, and what it must not see."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from stages import evaluate, report, sample
from tests.evaluated import CLIPS, EVALUATE, PRIORS, REPORT, SMALL, run, save_untrained_models, write_params
from tests.evaluated import CODES as CODES_OF
from tests.html import Page
from tests.networks import CODES, EXPECTATION, GRIDS, SIGHTED_SETTINGS, VQVAE_SETTINGS, WINDOW, randomised
from tests.test_vqvae import video
from vqcast.codes.latents import (
    LEVELS,
    WHOLE_LEVELS,
    LatentManifest,
    Latents,
    footer_sha256,
    write_codebooks,
    write_shard,
)
from vqcast.codes.models import load_vqvae, save_vqvae
from vqcast.networks.expectation import CELL, ExpectationNetwork, warped
from vqcast.networks.quantizer import Quantizer
from vqcast.networks.sighted import SightedVQVAE, vqvae_of
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.settings.checks import SettingsError
from vqcast.work.environment import on_device
from vqcast.work.files import sha256_file

GIVEN = WINDOW.given


def sighted() -> SightedVQVAE:
    torch.manual_seed(0)
    network = randomised(vqvae_of(SIGHTED_SETTINGS, EXPECTATION, GIVEN, WINDOW.frames)).train()
    network(video(4))
    return network.eval()


def changed_after_given(before: torch.Tensor) -> torch.Tensor:
    after = before.clone()
    after[:, :, GIVEN:] = video(len(before), seed=9)[:, :, GIVEN:]
    return after


def test_the_settings_choose_the_vqvae():
    assert isinstance(vqvae_of(SIGHTED_SETTINGS, EXPECTATION, GIVEN, 16), SightedVQVAE)
    assert type(vqvae_of(VQVAE_SETTINGS, EXPECTATION, GIVEN, 16)) is VQVAE


def test_codes_have_the_papers_grids_and_predicted_frames_come_back():
    network, window = sighted(), video(2)
    codes = network.encode_window(window, GIVEN)
    assert codes.top.shape == (2, *GRIDS.top) and codes.bottom.shape == (2, *GRIDS.bottom)
    assert network.decode_predicted(codes, window[:, :, :GIVEN]).shape == (2, 3, 16 - GIVEN, 24, 24)


def test_nothing_that_conditions_a_prediction_moves_with_later_frames():
    network, before = sighted(), video(4)
    after = changed_after_given(before)
    for window in (before, after):
        assert torch.equal(
            network.expectation(window[:, :, :GIVEN]), network.expectation(before[:, :, :GIVEN])
        )
    old, new = (network.encode_window(window, GIVEN) for window in (before, after))
    prefix = network.encode_given(after[:, :, :GIVEN])
    for level, slices in (("top", GRIDS.prefix_top), ("bottom", GRIDS.prefix_bottom)):
        for codes in (old, new):
            assert torch.equal(getattr(codes, level)[:, :slices], getattr(prefix, level))
    assert not torch.equal(old.bottom, new.bottom)


def test_every_given_frame_is_seen_and_no_predicted_one():
    """By gradients, which a change that rounds away would not escape."""
    network = sighted()
    window = video(1).requires_grad_()
    network.expectation(window[:, :, :GIVEN]).square().sum().backward()
    moved = window.grad.abs().amax((0, 1, 3, 4)) > 0
    assert moved.tolist() == [True] * GIVEN + [False] * (16 - GIVEN)


def test_decoding_reads_the_given_frames_and_codes_of_predicted_ones_alone():
    network, window = sighted(), video(2)
    given = window[:, :, :GIVEN]
    codes = network.encode_window(window, GIVEN)
    other = Codes(codes.top.clone(), codes.bottom.clone())
    other.top[:, : GRIDS.prefix_top] = 0
    other.bottom[:, : GRIDS.prefix_bottom] = 0
    assert torch.equal(network.decode_predicted(codes, given), network.decode_predicted(other, given))
    assert not torch.equal(
        network.decode_predicted(codes, given), network.decode_predicted(codes, given.roll(1, 0))
    )
    assert not torch.equal(
        network.decode_predicted(codes, given), network.decode_predicted(codes, given, use_bottom=False)
    )


def test_expectations_are_learned_for_their_own_sake():
    """The error of what is decoded does not move the network that expects."""
    network = sighted().train()
    result = network(video(2))
    result.predicted.square().mean().backward()
    assert all(parameter.grad is None for parameter in network.expectation.parameters())


def test_a_scene_at_rest_is_expected_to_rest():
    """At first, before anything is learned: nothing moves, and little is new."""
    torch.manual_seed(0)
    expectation = ExpectationNetwork(4, 12, hidden=8, layers=3, flows=2, last_kernel=3)
    frame = video(1, frames=1)
    with torch.no_grad():
        expected = expectation(frame.expand(-1, -1, 4, -1, -1))
    assert (expected - frame).abs().mean() < 0.05  # of noise, which nothing that moves would resemble


@torch.no_grad()
def test_what_is_expected_is_explained_by_where_it_comes_from_and_what_is_new():
    torch.manual_seed(0)
    expectation = ExpectationNetwork(4, 12, hidden=8, layers=1, flows=1, last_kernel=1)
    given = video(2, frames=4)
    expectation.velocities.bias[: CELL**2] = 0.5  # pixels to the right, in each frame
    moving = expectation.explained(given)
    assert (moving.new < 0.05).all()
    assert torch.allclose(moving.flow[:, 0, 5].mean(), torch.tensor(3.0), atol=0.15)
    assert moving.flow[:, 1].abs().mean() < 0.1
    shifted = given[:, :, 3, :, 3:]
    assert (moving.video[:, :, 5, :, :-3] - shifted).abs().mean() < 0.1
    expectation.frames.bias.view(12, -1, CELL**2)[:, 2 + 3] = 20.0  # the mask of new pixels
    assert (expectation.explained(given).new > 0.99).all()


def test_warping_takes_each_pixel_from_where_the_flow_says():
    images = torch.rand(2, 3, 9, 7)
    flow = torch.zeros(2, 2, 9, 7)
    flow[0, 0], flow[0, 1] = 2, -1  # x, y
    moved = warped(images, flow)
    assert torch.allclose(moved[1], images[1], atol=1e-5)
    assert torch.allclose(moved[0, :, 1:, :-2], images[0, :, :-1, 2:], atol=1e-5)
    assert torch.allclose(moved[0, :, 0, 0], images[0, :, 0, 2], atol=1e-5)  # beyond the edge is the edge


def test_where_bits_have_a_price_the_common_code_is_taken_unless_another_is_much_nearer():
    quantizer = Quantizer(2, 1, 0.9, bit_price=0.1).eval()
    quantizer.codebook.copy_(torch.tensor([[0.0], [1.0]]))
    quantizer.counts.copy_(torch.tensor([15.0, 1.0]))  # 0.093 and 4 bits: 0.39 apart
    points = torch.tensor([0.0, 0.6, 0.69, 0.71, 1.0]).view(1, 1, -1, 1, 1)
    assert quantizer(points).codes.flatten().tolist() == [0, 0, 0, 1, 1]
    free = Quantizer(2, 1, 0.9).eval()
    free.codebook.copy_(quantizer.codebook)
    free.counts.copy_(quantizer.counts)
    assert free(points).codes.flatten().tolist() == [0, 1, 1, 1, 1]


def test_codes_that_are_rare_beside_a_common_one_do_not_die_of_it():
    quantizer = Quantizer(4, 1, 0.0, bit_price=0.01).train()
    vectors = torch.tensor([0.0] * 97 + [1.0, 2.0, 3.0]).view(1, 1, -1, 1, 1)
    quantizer.codebook.copy_(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))
    quantizer.steps.fill_(1)
    quantizer.counts.fill_(1.0)
    quantizer(vectors)
    quantizer.learn()
    assert quantizer.codebook.flatten().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert quantizer.counts.tolist() == [97.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("price", [-0.1, float("inf"), float("nan")])
def test_a_price_that_is_none_is_refused(price):
    with pytest.raises(SettingsError, match="bit_price"):
        dataclasses.replace(EXPECTATION, bit_price=price)


def test_saved_and_loaded_it_gives_the_same_codes_and_pixels(tmp_path):
    network, window = on_device(sighted()), video(2)  # as a loaded one's, its weights lie channels last
    save_vqvae(tmp_path, network, 24)
    loaded = load_vqvae(tmp_path)
    codes = network.encode_window(window, GIVEN)
    for old, new in zip(codes, loaded.encode_window(window, GIVEN), strict=True):
        assert torch.equal(old, new)
    given = window[:, :, :GIVEN]
    with torch.no_grad():
        old, new = (one.decode_predicted(codes, given) for one in (network, loaded))
    assert torch.equal(old, new)


def test_the_papers_vqvae_is_saved_as_it_was_before_there_was_another(tmp_path):
    save_vqvae(tmp_path, VQVAE(VQVAE_SETTINGS), 24)
    config = json.loads((tmp_path / "config.json").read_text())
    assert set(config) == {"kind", "settings", "sha256", "size"}
    assert "sees_given" not in config["settings"]


def test_prefix_codes_are_stored_once(tmp_path):
    generator = np.random.default_rng(0)
    codes = [[generator.integers(0, CODES, GRIDS.shape(level)) for level in WHOLE_LEVELS] for _ in range(3)]
    shard = tmp_path / "train-00000.parquet"
    write_shard(shard, ["a", "b", "c"], codes, "a VQ-VAE", "clips", WHOLE_LEVELS)
    books = write_codebooks(tmp_path, torch.rand(CODES, 6), torch.rand(CODES, 6))
    files = {path.name: sha256_file(path) for path in (shard, books)}
    footers = {shard.name: footer_sha256(shard)}
    clips = {shard.name: "clips"}
    LatentManifest(CODES, 4, GRIDS, "a VQ-VAE", clips, files, footers, sees_given=True).write(tmp_path)
    assert pq.read_schema(shard).names == ["window", *WHOLE_LEVELS]
    latents = Latents(tmp_path, "train")
    assert set(latents[1]) == set(LEVELS)
    assert np.array_equal(latents[1]["top"].numpy(), codes[1][0])
    assert np.array_equal(latents[1]["prefix_bottom"].numpy(), codes[1][1][: GRIDS.prefix_bottom])
    assert np.array_equal(latents.codes("prefix_top", [2])[0], codes[2][0][: GRIDS.prefix_top])


def test_every_stage_from_encode_to_report_goes_along(evaluated, tmp_path, monkeypatch):
    shutil.copytree(evaluated, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    for made in ("models", "latents", "samples"):
        shutil.rmtree(made)
    write_params(Path(), vqvae={**SMALL["vqvae"], "sees_given": True})
    save_untrained_models(Path())
    assert LatentManifest.read(Path("latents")).sees_given
    run(sample, *CLIPS, *CODES_OF, *PRIORS, "--out", "samples")
    run(evaluate, *EVALUATE, "--out", "evaluate.json")
    figures = json.loads(Path("evaluate.json").read_text())
    for some in (figures, figures["moving"]):
        assert some["expectation"].keys() == some["repeat_last_frame"].keys()
        assert some["expectation"]["psnr"] != some["model"]["psnr"]
    assert "expectation" in {row["system"] for row in figures["table_2"]}
    run(report, *REPORT, "--out", "index.html")
    page = Page(Path("index.html").read_text()).text
    assert "white where pixels are new" in page and "four times as strong" in page
    assert "Expectation, without codes" in page and "let expect, without codes, scores" in page
