"""Features of which all are at hand, as `vqcast.measures.frechet` takes them in."""

from collections.abc import Iterable

import numpy as np

from vqcast.measures.frechet import Gaussian, distance


def gaussian(pieces: Iterable[np.ndarray]) -> Gaussian:
    """The Gaussian of features that come in pieces (n, D), of which there is at least one."""
    pieces = list(pieces)
    result = Gaussian(pieces[0].shape[1])
    for piece in pieces:
        result.add(piece)
    return result


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance between features (N, D) and (M, D)."""
    return distance(gaussian([first]), gaussian([second]))
