"""How far a figure would be another one over other videos: bootstrap by video.

A figure over windows is taken as what it is plus what each video adds to it; drawing the videos anew, with
replacement, gives its distribution. Windows of one video are much alike, so videos are drawn, never windows.
To the first order this holds for means, their ratios, MMD and Frechet distances alike, and differences of two
systems over the same videos need no second drawing.

Shapes: N windows, U units: videos, or groups of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from vqcast.measures.frechet import Gaussian, distance

DRAWS = 2000
CONFIDENCE = 0.95
LEAST_UNITS = 5  # with fewer, no interval is said
MOST_UNITS = 1000  # more are drawn in so many groups: those of many videos are as good, and memory stays flat
GROUPS = 10  # of videos, left out one after another where a figure is no mean


@dataclass(frozen=True)
class Estimate:
    """A figure, and what each unit adds to it, (U,): the change of the figure per weight of the unit."""

    value: float
    influence: np.ndarray

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference to a figure over the same units."""
        return Estimate(self.value - other.value, self.influence - other.influence)

    def interval(self) -> list[float] | None:
        """Low and high end, in which it lies with CONFIDENCE; None where there are too few units."""
        if len(self.influence) < LEAST_UNITS:
            return None
        influence = np.bincount(np.arange(len(self.influence)) % MOST_UNITS, self.influence)
        units = len(influence)
        weights = np.random.default_rng(units).multinomial(units, np.full(units, 1 / units), DRAWS)
        drawn = (weights - 1) @ influence * np.sqrt(units / (units - 1))
        tail = (1 - CONFIDENCE) / 2
        return [float(self.value + end) for end in np.quantile(drawn, [tail, 1 - tail])]


def mean(values: np.ndarray, video: np.ndarray) -> Estimate:
    """The mean of values (N,); video (N,): number of the video that a window is of."""
    return ratio(values, np.ones(len(values)), video)


def ratio(values: np.ndarray, over: np.ndarray, video: np.ndarray) -> Estimate:
    """The sum of values (N,) over that of `over` (N,); 0 where that is 0."""
    whole = float(over.sum())
    value = float(values.sum()) / whole if whole else 0.0
    _, unit = np.unique(video, return_inverse=True)
    return Estimate(value, np.bincount(unit, values - value * over) / (whole or 1.0))


class Groups:
    """The features of one system as Gaussians of groups of videos."""

    def __init__(self, groups: Sequence[Gaussian]):
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def whole(self) -> Gaussian:
        return list(accumulate(self.groups, Gaussian.with_))[-1]

    @cached_property
    def each_left_out(self) -> list[Gaussian]:
        """What all groups but one make, for each of them."""
        before = list(accumulate(self.groups, Gaussian.with_))
        after = list(accumulate(self.groups[::-1], Gaussian.with_))[::-1]
        inner = [before[number - 1].with_(after[number + 1]) for number in range(1, len(self) - 1)]
        return [after[1], *inner, before[-2]]


def frechet(first: Groups, second: Groups) -> Estimate:
    """The Frechet distance of two systems over the same groups of videos, one left out after another: drawing
    videos twice, as a bootstrap does, would itself change such a distance."""
    value = distance(first.whole, second.whole)
    if len(first) < LEAST_UNITS:
        return Estimate(value, np.zeros(len(first)))
    without = [distance(*pair) for pair in zip(first.each_left_out, second.each_left_out, strict=True)]
    return Estimate(value, np.sqrt((len(first) - 1) / len(first)) * (np.mean(without) - np.array(without)))
