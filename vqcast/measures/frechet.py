"""Frechet distance between two sets of features, each taken as a Gaussian.

Shapes: N and M features of dimension D.
"""

import copy

import numpy as np

from vqcast.errors import VqcastError

PIECE = 1024  # features taken in at once


class Gaussian:
    """Mean and covariance of features that come in pieces; its memory does not grow with their number.

    Kept are the mean (D,) and a root R (at most D, D), such that R'R is the sum of (x - mean)(x - mean)'. R
    is the triangle of a QR decomposition, and that of R above further rows is the root of both together. So
    no covariance is ever formed, which would cost half of the digits.
    """

    def __init__(self, dimension: int):
        self.count = 0
        self.mean = np.zeros(dimension)
        self.root = np.zeros((0, dimension))

    def add(self, features: np.ndarray) -> None:
        """Take in features (N, D), in float64; raises VqcastError where they are not finite."""
        for first in range(0, len(features), PIECE):
            self._add(np.asarray(features[first : first + PIECE], dtype=np.float64))

    def _add(self, piece: np.ndarray) -> None:
        if not np.isfinite(piece).all():
            raise VqcastError("a Frechet distance needs finite features, and some are not")
        mean = piece.mean(axis=0)
        self._join(len(piece), mean, piece - mean)

    def with_(self, other: "Gaussian") -> "Gaussian":
        """That of both sets together."""
        both = copy.copy(self)
        both._join(other.count, other.mean, other.root)
        return both

    def _join(self, count: int, mean: np.ndarray, root: np.ndarray) -> None:
        if not count:
            return
        total = self.count + count
        step = mean - self.mean
        between = np.sqrt(self.count * count / total) * step
        self.root = np.linalg.qr(np.vstack([self.root, between, root]), mode="r")
        self.mean = self.mean + step * (count / total)
        self.count = total


def distance(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) in float64, covariances over N - 1.

    Never negative; N and M may be less than D.

    With C = R'R, the trace of (C1 C2)^(1/2) is the sum of the singular values of R1 R2'. No square root of an
    indefinite matrix is taken, so identical sets give 0 to rounding.
    Raises VqcastError for fewer than two features a set.
    """
    root_1, root_2 = _root_of_covariance(first), _root_of_covariance(second)
    common = np.linalg.svd(root_1 @ root_2.T, compute_uv=False).sum()
    squared = ((first.mean - second.mean) ** 2).sum() + (root_1**2).sum() + (root_2**2).sum() - 2 * common
    return max(float(squared), 0.0)


def _root_of_covariance(gaussian: Gaussian) -> np.ndarray:
    if gaussian.count < 2:
        raise VqcastError(f"a Frechet distance needs at least 2 videos a set, not {gaussian.count}")
    return gaussian.root / np.sqrt(gaussian.count - 1)
