"""The Frechet distance is what its formula says, also where the formula is numerically awkward."""

import time

import numpy as np
import pytest

from tests.frechet import frechet_distance
from vqcast.errors import VqcastError


def gaussian_sample(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> np.ndarray:
    """Features whose sample mean and covariance over N - 1 are exactly these."""
    drawn = np.random.default_rng(seed).standard_normal((count, len(mean)))
    drawn -= drawn.mean(axis=0)
    whitened = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def test_it_equals_the_closed_form_for_gaussians_with_commuting_covariances():
    mean_1, mean_2 = np.array([1.0, -2.0, 0.5]), np.array([0.0, 3.0, 0.25])
    variances_1, variances_2 = np.array([4.0, 0.01, 9.0]), np.array([1.0, 0.25, 2.25])
    expected = ((mean_1 - mean_2) ** 2).sum() + ((np.sqrt(variances_1) - np.sqrt(variances_2)) ** 2).sum()
    first = gaussian_sample(50, mean_1, np.diag(variances_1))
    second = gaussian_sample(70, mean_2, np.diag(variances_2), seed=1)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_it_equals_the_closed_form_for_any_gaussians():
    generator = np.random.default_rng(2)
    factors = generator.standard_normal((2, 6, 6))
    covariance_1, covariance_2 = (factor @ factor.T for factor in factors)
    root = symmetric_root(covariance_1)
    expected = 9 * 6 + np.trace(covariance_1 + covariance_2 - 2 * symmetric_root(root @ covariance_2 @ root))
    first = gaussian_sample(40, np.zeros(6), covariance_1)
    second = gaussian_sample(40, np.full(6, 3.0), covariance_2, seed=1)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [2, 30, 400, 1000])
def test_identical_sets_are_at_distance_zero_whatever_their_number(count):
    features = 50 * np.random.default_rng(0).standard_normal((count, 400)).astype(np.float32) + 7
    assert 0 <= frechet_distance(features, features.copy()) <= 1e-6


def test_sets_smaller_than_the_dimension_equal_the_formula_in_their_common_subspace():
    generator = np.random.default_rng(3)
    basis = np.linalg.qr(generator.standard_normal((400, 8)))[0]
    first, second = generator.standard_normal((20, 8)), 2 * generator.standard_normal((30, 8)) + 1
    within = frechet_distance(first, second)
    assert frechet_distance(first @ basis.T, second @ basis.T) == pytest.approx(within, rel=1e-9)


def test_it_is_symmetric_and_finite_for_features_that_do_not_vary():
    constant, other = np.full((5, 400), 3.0), np.full((9, 400), 1.0)
    assert frechet_distance(constant, other) == frechet_distance(other, constant) == 1600


def test_too_few_or_non_finite_features_are_refused():
    good = np.random.default_rng(0).standard_normal((4, 3))
    with pytest.raises(VqcastError, match="at least 2 videos"):
        frechet_distance(good[:1], good)
    with pytest.raises(VqcastError, match="finite"):
        frechet_distance(good, np.where(good > good.min(), good, np.nan))


def test_ten_thousand_pairs_of_features_take_under_ten_seconds():
    features = np.random.default_rng(0).standard_normal((2, 10_000, 400)).astype(np.float32)
    start = time.process_time()
    assert frechet_distance(*features) > 0
    assert time.process_time() - start < 10


@pytest.mark.parametrize("count", [2, 3, 50, 399, 401])
def test_no_pair_of_sets_is_at_a_negative_distance_or_none_at_all(count):
    """Also where all features lie on a line, or are equal but for the last bits."""
    generator = np.random.default_rng(count)
    on_a_line = generator.standard_normal((count, 1)) * generator.standard_normal(400) * 1e4
    nearly = on_a_line * (1 + 1e-15)
    for first, second in ((on_a_line, nearly), (on_a_line, on_a_line[:2]), (nearly, 0 * nearly)):
        found = frechet_distance(first, second)
        assert np.isfinite(found) and found >= 0
