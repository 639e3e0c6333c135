"""Figures of frames and codes are those one computes by hand."""

import numpy as np
import pytest

from vqcast.features.features import shrunk
from vqcast.features.perceptual import Perceptual
from vqcast.measures.codes import code_counts, entropy_bits, perplexity, usage
from vqcast.measures.image import PSNR_CAP, psnr, squared_error, ssim
from vqcast.metrics.scores import feature_batch, image_scores, scores_by_system, sizes_of
from vqcast.metrics.summary import rounded


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def mean_colour(videos: np.ndarray) -> np.ndarray:
    """Stands in for I3D where a test asks which frames are seen: each frame's mean, (B, T)."""
    return videos.mean(axis=(2, 3, 4))


def test_squared_error_does_not_wrap_around_at_a_byte():
    black, white = np.zeros((1, 2, 4, 4, 3), np.uint8), np.full((1, 2, 4, 4, 3), 255, np.uint8)
    assert squared_error(black, white).tolist() == [[65025.0, 65025.0]]
    assert psnr(squared_error(black, white)).tolist() == [[0.0, 0.0]]


def test_psnr_of_a_known_error():
    assert psnr(np.array([65.025])) == pytest.approx(30.0)


def test_equal_frames_score_the_cap_and_not_infinity():
    assert psnr(np.zeros(3)).tolist() == [PSNR_CAP] * 3


def test_ssim_is_one_for_equal_frames_and_falls_with_noise():
    truth = np.full((2, 3, 32, 32, 3), 120, np.uint8) + noise(2, 3, 32, 32, 3) // 8
    little, much = truth + noise(*truth.shape, seed=1) // 64, truth + noise(*truth.shape, seed=1) // 4
    equal = ssim(truth, truth)
    assert equal.shape == (2, 3)
    np.testing.assert_allclose(equal, 1, atol=1e-5)
    assert (ssim(much, truth) < ssim(little, truth)).all() and (ssim(little, truth) < 1).all()


def test_a_codebook_used_evenly_has_full_entropy_and_perplexity():
    counts = code_counts(np.tile(np.arange(8, dtype=np.uint16), 5).reshape(2, 2, 10), codebook=16)
    assert usage(counts) == 0.5
    assert entropy_bits(counts) == pytest.approx(3)
    assert perplexity(counts) == pytest.approx(8)


def test_a_single_code_has_no_entropy():
    assert entropy_bits(code_counts(np.zeros(9, np.uint16), codebook=4)) == 0


@pytest.mark.parametrize(("seen", "frames"), [("predicted", 3), ("all", 5)])
def test_features_are_of_the_frames_that_the_settings_name(seen, frames):
    truth = noise(2, 5, 16, 16, 3)
    model = noise(2, 4, 3, 16, 16, 3, seed=1)
    found = feature_batch(truth, {"model": model}, mean_colour, given=2, seen=seen, size=16)
    assert found["true"].shape == (2, 1, frames)
    assert found["model"].shape == (2, 4, frames)
    np.testing.assert_array_equal(found["model"][..., -3:], model.mean(axis=(3, 4, 5)))
    np.testing.assert_array_equal(found["model"][:, 1, : frames - 3], found["true"][:, 0, : frames - 3])


def test_videos_are_judged_at_their_own_size_and_at_the_smaller_ones_that_are_asked_for():
    assert sizes_of(256, (64, 256, 300)) == [64, 256]
    assert sizes_of(64, (64,)) == [64]
    truth, small = noise(2, 5, 32, 32, 3), noise(1, 1, 3, 16, 16, 3, seed=1)
    found = feature_batch(truth, {"other": small}, mean_colour, 2, "all", 16, of_truth=False)
    assert found.keys() == {"other"}
    given = shrunk(truth[:1, :2], 16)
    assert given.dtype == np.uint8 and given.shape == (1, 2, 16, 16, 3)
    np.testing.assert_array_equal(found["other"][0, 0], [*mean_colour(given)[0], *mean_colour(small[0])[0]])


def test_shrinking_by_two_weighs_each_pixels_neighbours_and_rounds_to_bytes():
    rows = np.zeros((1, 1, 8, 8, 3), np.uint8)
    rows[:, :, 4:] = 255
    # Of four rows, the triangle of width two takes 1/8, 3/8, 3/8 and 1/8.
    assert shrunk(rows, 4)[0, 0, :, 1, 0].tolist() == [0, 32, 223, 255]


def test_a_window_is_scored_over_its_predicted_frames_sample_by_sample():
    truth = noise(2, 5, 16, 16, 3)
    predicted = np.stack([truth[:, 2:], noise(2, 3, 16, 16, 3, seed=1)], axis=1)
    scores = scores_by_system(image_scores(truth, {"model": predicted}, 2, Perceptual()))["model"]
    assert scores.squared_error.shape == (2, 2, 3)
    assert (scores.psnr[:, 0] == PSNR_CAP).all()
    error = np.square(predicted[:, 1].astype(float) - truth[:, 2:]).mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(scores.psnr[:, 1], 10 * np.log10(65025 / error))
    assert scores.of(np.array([False, True])).psnr.shape == (1, 2)


def test_figures_are_rounded_all_the_way_down():
    assert rounded({"a": [1.2345678, None], "b": {"c": 123456.7}, "n": 3}) == {
        "a": [1.2346, None],
        "b": {"c": 123460.0},
        "n": 3,
    }
