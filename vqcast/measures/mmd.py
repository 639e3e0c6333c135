"""Squared maximum mean discrepancy of two sets of features.

By the polynomial kernel k(a, b) = (a.b / D + 1)^3 of KID (Binkowski et al. 2018), in the unbiased form that
Luo et al. (2024, JEDi) recommend for video: unlike a Frechet distance it does not fall with the number of
windows, and may lie below 0 where the sets are alike. Windows of one video are much alike, so only windows of
different videos are compared.

Shapes: N windows, S samples a window, D features.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from vqcast.measures.arrays import ArrayFile
from vqcast.measures.intervals import Estimate

WINDOWS_AT_ONCE = 1024


def mmd(
    first: ArrayFile, second: ArrayFile, video: np.ndarray, chosen: np.ndarray | None = None
) -> Estimate | None:
    """That of two systems' features (N or fewer, S, D) of the same windows; None for fewer than 3 videos.

    video (N,): number of the video that a window is of. chosen (N,), bool: the windows that count, or all.

    Memory does not grow with N: features are read a block at a time, each against each. Where h_i is
    the mean of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i, x_j) over all j of another video, the value
    is the mean of h_i, and a video adds to it, to the first order, twice what it adds to that mean.
    """
    count = min(len(first), len(second))
    rows = np.arange(count) if chosen is None else np.flatnonzero(chosen[:count])
    videos = np.unique(video[rows])
    if len(videos) < 3:
        return None
    edges = np.searchsorted(rows, range(0, count + WINDOWS_AT_ONCE, WINDOWS_AT_ONCE))
    pieces = [rows[start:end] for start, end in pairwise(edges) if end > start]
    sums, others = np.zeros(len(rows)), np.zeros(len(rows))
    for at, mine, (x, y) in _blocks(first, second, pieces):
        for _, theirs, (u, v) in _blocks(first, second, pieces):
            apart = video[mine][:, None] != video[theirs][None, :]
            terms = _kernel(x, u) + _kernel(y, v) - _kernel(x, v) - _kernel(y, u)
            sums[at] += (terms * apart).sum(1)
            others[at] += apart.sum(1)
    pairs = others.sum()
    value = float(sums.sum() / pairs)
    influence = np.bincount(np.searchsorted(videos, video[rows]), sums - value * others, len(videos))
    return Estimate(value, 2 * influence / pairs)


def _blocks(
    first: ArrayFile, second: ArrayFile, pieces: list[np.ndarray]
) -> Iterator[tuple[slice, np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """Windows some at a time: their places among all that count, their numbers, both systems' features."""
    start = 0
    for rows in pieces:
        span = range(int(rows[0]), int(rows[-1]) + 1)
        features = tuple(array.read(span)[rows - span.start].astype(np.float64) for array in (first, second))
        yield slice(start, start + len(rows)), rows, features
        start += len(rows)


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean over samples of the kernel between each of (N, S, D) and each of (M, R, D): (N, M)."""
    (n, samples, dimension), (m, others, _) = first.shape, second.shape
    products = first.reshape(-1, dimension) @ second.reshape(-1, dimension).T
    return ((products / dimension + 1) ** 3).reshape(n, samples, m, others).mean((1, 3))
