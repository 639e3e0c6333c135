"""Whether a prior is as sure as it may be: the rank of the true code among those that it would draw.

A calibrated prior finds the true code as often among the likeliest codes as their probability says. The rank
is the probability of all likelier codes; a code's own probability is spread over it (Czado, Gneiting and Held
2009), so that ranks of a calibrated prior are even over 0 to 1, also where there are few codes.
"""

import numpy as np

BINS = 10


def histogram(likelier: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Share (N, BINS) of the mass of each window's ranks that lies in each tenth.

    likelier (N, T, H, W): probability of all likelier codes. own: that of the true one and those as likely.
    """
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    width = np.maximum(own, 1e-12)
    below = [np.clip((edge - likelier) / width, 0, 1).mean(axis=(1, 2, 3)) for edge in inner]
    return np.diff(np.stack(below, axis=-1), axis=-1, prepend=0, append=1)


def miscalibration(shares: np.ndarray) -> float:
    """How much of the ranks' mass lies in the wrong tenth: 0 for a calibrated prior, at most 0.9."""
    return float(np.abs(shares - 1 / BINS).sum() / 2)
