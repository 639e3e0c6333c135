"""Table 2: folds, numbers of windows, extrapolation and the floor are what they say."""

import numpy as np
import pytest

from tests.frechet import frechet_distance, gaussian
from vqcast.clips.windows import WindowRef
from vqcast.measures.arrays import ArrayFile, write_array
from vqcast.measures.frechet import distance
from vqcast.metrics.comparison import (
    FeatureFolder,
    extrapolated,
    floor,
    fold_of_windows,
    gather,
    ranks,
    score,
    table_2,
)


def refs(windows: int, windows_a_video: int = 4) -> list[WindowRef]:
    names = [f"video {number // windows_a_video}" for number in range(windows)]
    return [WindowRef(name, name, "", "val", "", 0, "", number) for number, name in enumerate(names)]


def saved(path, features: np.ndarray) -> ArrayFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_array(path, len(features), np.array_split(features, 3))
    return ArrayFile(path)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_features_in_a_file_are_read_as_they_were_written(tmp_path):
    features = drawn(0, 5000, 2, 400)
    file = saved(tmp_path / "a.npy", features)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), features)
    np.testing.assert_array_equal(file.read(range(7, 9)), features[7:9])
    pieces = list(file.pieces())
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), features)
    assert [rows.start for rows, _ in pieces[1:]] == [rows.stop for rows, _ in pieces[:-1]]


def test_a_gaussian_of_many_pieces_is_that_of_the_whole():
    features = (100 * drawn(1, 3000, 50) + 1000).astype(np.float64)
    pieces = gaussian(np.array_split(features, 37))
    np.testing.assert_allclose(pieces.mean, features.mean(axis=0), rtol=1e-12)
    covariance = pieces.root.T @ pieces.root / (pieces.count - 1)
    np.testing.assert_allclose(covariance, np.cov(features.T), rtol=1e-9, atol=1e-7)
    assert distance(pieces, gaussian([features])) <= 1e-6


def test_folds_share_no_video_and_are_of_one_size():
    some = refs(402, windows_a_video=4)
    fold = fold_of_windows(some, 2)
    assert sorted(np.bincount(fold)) == [200, 202]
    for video in {ref.video for ref in some}:
        assert len({fold[number] for number, ref in enumerate(some) if ref.video == video}) == 1
    assert fold_of_windows(some, 2).tolist() == fold.tolist()
    assert set(fold_of_windows(some, 3).tolist()) == {0, 1, 2}


def test_mean_and_spread_are_those_of_the_folds(tmp_path):
    first, second = drawn(0, 80, 2, 6), drawn(1, 80, 1, 6) + 1
    fold, rank = fold_of_windows(refs(80), 2), ranks(refs(80))
    found = score(saved(tmp_path / "a.npy", first), saved(tmp_path / "b.npy", second), fold, rank)
    by_hand = [
        frechet_distance(first[fold == number].reshape(-1, 6), second[fold == number].reshape(-1, 6))
        for number in (0, 1)
    ]
    assert found.folds == pytest.approx(by_hand, rel=1e-9)
    assert found.mean == pytest.approx(np.mean(by_hand))
    assert found.spread == pytest.approx(abs(by_hand[0] - by_hand[1]) / np.sqrt(2))
    assert found.all == pytest.approx(frechet_distance(first.reshape(-1, 6), second.reshape(-1, 6)))


def test_the_score_at_a_half_is_the_mean_over_two_disjoint_halves(tmp_path):
    first, second = drawn(0, 81, 1, 3), drawn(1, 81, 1, 3)
    rank = ranks(refs(81))
    assert sorted(rank) == list(range(81))
    found = score(saved(tmp_path / "a", first), saved(tmp_path / "b", second), np.zeros(81, int), rank)
    halves = [rank * 2 < 81, rank * 2 >= 81]
    by_hand = [frechet_distance(first[half, 0], second[half, 0]) for half in halves]
    assert found.by_windows[1] == [40, pytest.approx(np.mean(by_hand), rel=1e-9)]
    assert [windows for windows, _ in found.by_windows] == [81, 40, 20, 10]


def test_more_windows_score_less_and_the_extrapolation_comes_near_the_true_distance(tmp_path):
    """Of Gaussians a distance of 1 apart: at 3,000 windows the bias is a large part of that."""
    first, second = drawn(0, 3000, 1, 100), drawn(1, 3000, 1, 100)
    second[:, :, 0] += 1
    found = score(
        saved(tmp_path / "a", first), saved(tmp_path / "b", second), np.zeros(3000, int), ranks(refs(3000))
    )
    scores = [value for _, value in found.by_windows]
    assert scores == sorted(scores) and scores[0] == found.all
    assert found.all - 1 > 1.0  # which is what the extrapolation takes off
    assert found.infinite_windows == pytest.approx(1, abs=0.15)


def test_too_few_windows_are_not_extrapolated():
    assert extrapolated([[900, 3.0], [450, 4.0], [300, 5.0]], dimension=400) is None
    line = [[windows, 2 + 100 / windows] for windows in (4000, 2000, 1333, 1000, 800)]
    assert extrapolated(line, dimension=400) == pytest.approx(2)


def test_a_set_too_small_to_score_has_no_score(tmp_path):
    first = saved(tmp_path / "a", drawn(0, 3, 1, 4))
    found = score(first, first, fold_of_windows(refs(3, windows_a_video=1), 2), ranks(refs(3)))
    assert None in found.folds and found.mean is None and found.spread is None
    assert found.all == pytest.approx(0, abs=1e-6)


def test_the_floor_is_one_folds_true_videos_against_the_others(tmp_path):
    true = drawn(0, 80, 1, 6)
    fold = fold_of_windows(refs(80), 2)
    found = floor(saved(tmp_path / "true", true), fold)
    assert found.folds == [pytest.approx(frechet_distance(true[fold == 0, 0], true[fold == 1, 0]))]
    assert found.mean == found.folds[0] and found.spread is None
    three = floor(saved(tmp_path / "true", true), fold_of_windows(refs(80), 3))
    assert len(three.folds) == 3 and three.spread > 0


def test_windows_that_are_not_chosen_are_left_out(tmp_path):
    features = drawn(0, 50, 2, 5)
    chosen = np.arange(50) % 3 == 0
    (found,) = gather(saved(tmp_path / "a", features), np.where(chosen, 0, -1), 1)
    assert found.count == 2 * chosen.sum()
    np.testing.assert_allclose(found.mean, features[chosen].reshape(-1, 5).mean(axis=0), atol=1e-6)


def test_the_table_has_a_row_for_each_system_at_each_size_that_it_has(tmp_path):
    for size in (64, 256):
        for number, system in enumerate(("true", "reconstruction", "model", "repeat_last_frame")):
            saved(tmp_path / str(size) / f"{system}.npy", drawn(number, 40, 1, 4))
    saved(tmp_path / "64" / "GAN.npy", drawn(9, 30, 1, 4))
    rows = table_2("fvd", FeatureFolder(tmp_path), refs(40), np.ones(40, bool), 2, {"GAN": "somebody's"})
    assert [(row["system"], row["size"], row["windows"]) for row in rows] == [
        ("model", 64, 40),
        ("reconstruction", 64, 40),
        ("repeat_last_frame", 64, 40),
        ("GAN", 64, 30),
        ("true", 64, 40),
        ("model", 256, 40),
        ("reconstruction", 256, 40),
        ("repeat_last_frame", 256, 40),
        ("true", 256, 40),
    ]
    (gan,) = (row for row in rows if row["system"] == "GAN")
    assert gan["about"] == "somebody's"
    assert gan["true"]["all"] == pytest.approx(frechet_distance(drawn(9, 30, 4), drawn(0, 40, 4)[:30]))
    assert [row["system"] for row in rows if "reconstructions" in row] == ["model", "model"]


def test_windows_that_are_not_judged_are_in_no_row(tmp_path):
    judged = np.arange(40) % 4 > 0
    for number, system in enumerate(("true", "model", "reconstruction")):
        saved(tmp_path / "all" / "64" / f"{system}.npy", drawn(number, 40, 1, 4))
        saved(tmp_path / "judged" / "64" / f"{system}.npy", drawn(number, 40, 1, 4)[judged])
    some = [ref for ref, counts in zip(refs(40), judged, strict=True) if counts]
    of_all = table_2("fvd", FeatureFolder(tmp_path / "all"), refs(40), judged, 2, {})
    assert of_all == table_2("fvd", FeatureFolder(tmp_path / "judged"), some, np.ones(30, bool), 2, {})
