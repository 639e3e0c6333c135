"""The process of benchmarks.likelihood: its codes are those that its closed form speaks of."""

import numpy as np
import pytest

from benchmarks.likelihood import CODES, GRIDS, PARTS, REPLACED, VELOCITIES, MovingGrid, entropy_bits

WINDOWS = [{level: codes.numpy() for level, codes in MovingGrid(100, seed=3)[i].items()} for i in range(100)]


def expected_bottom(window, number, velocity):
    """What slice `number` holds but for replacement: a part of the top code above, a part that has moved."""
    time, height, width = GRIDS.ratio
    above = window["top"][number // time].repeat(height, 0).repeat(width, 1)
    return above // PARTS * PARTS + np.roll(window["bottom"][number - 1] % PARTS, velocity, (0, 1))


def shares_kept(window, velocity):
    """Shares of the predicted codes, top and bottom, that are what this velocity lets expect."""
    top = [window["top"][n] == np.roll(window["top"][n - 1], velocity, (0, 1)) for n in (1, 2, 3)]
    bottom = [window["bottom"][n] == expected_bottom(window, n, velocity) for n in range(2, 8)]
    return np.mean(top), np.mean(bottom)


def test_each_code_is_replaced_as_often_as_the_entropy_assumes():
    shares = [max(shares_kept(window, velocity) for velocity in VELOCITIES) for window in WINDOWS]
    expected = 1 - REPLACED + REPLACED / CODES
    np.testing.assert_allclose(np.mean(shares, axis=0), expected, atol=0.01)


def test_replaced_codes_are_any_code_alike():
    codes = np.concatenate([window["top"].ravel() for window in WINDOWS])
    counts = np.bincount(codes, minlength=CODES)
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()


def test_velocity_can_be_read_from_the_prefix_codes_alone():
    for window in WINDOWS:
        first, second = window["prefix_bottom"] % PARTS
        agreeing = [(np.roll(first, velocity, (0, 1)) == second).mean() for velocity in VELOCITIES]
        best, next_best = sorted(agreeing)[:-3:-1]
        assert best > 0.75 and next_best < 0.6


def test_prefix_codes_are_the_first_slices_of_the_window():
    for window in WINDOWS:
        np.testing.assert_array_equal(window["prefix_top"], window["top"][: GRIDS.prefix_top])
        np.testing.assert_array_equal(window["prefix_bottom"], window["bottom"][: GRIDS.prefix_bottom])


def test_entropy_of_a_code_by_hand():
    p = 1 - 0.1 + 0.1 / 16
    other = [0.1 / 16] * 15
    assert entropy_bits() == pytest.approx(-sum(q * np.log2(q) for q in [p, *other]))
