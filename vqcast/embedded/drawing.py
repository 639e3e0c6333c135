"""Textures and anti-aliased shapes, as functions of coordinates.

Units are the frame's short side. Coordinates are float32 arrays that broadcast to (T, H, W).

Pixels come from additions, multiplications, square roots and a sine table alone. Those round alike on
every CPU, which vectorised sines and powers do not: the same seed gives the same bytes anywhere.
"""

import math
from collections.abc import Callable

import numpy as np

_TABLE = 4096
_SINE = np.array([round(math.sin(math.tau * i / _TABLE), 6) for i in range(_TABLE)], np.float32)


def sine(turns: np.ndarray) -> np.ndarray:
    """sin(2 pi x turns)."""
    return _SINE[(turns * np.float32(_TABLE)).astype(np.int32) & (_TABLE - 1)]


def turn(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of a few `angles`, in turns, rounded so that every libm gives the same."""
    radians = math.tau * np.asarray(angles, np.float64)
    return np.round(np.cos(radians), 9).astype(np.float32), np.round(np.sin(radians), 9).astype(np.float32)


def grating(x: np.ndarray, y: np.ndarray, wavelength: float, angle: float, phase: float) -> np.ndarray:
    """A plane wave in [-1, 1] along `angle` (turns)."""
    cosine, sin = turn(angle)
    return sine((x * cosine + y * sin) * np.float32(1 / wavelength) + np.float32(phase))


def disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - np.float32(1)


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(x * x + y * y) - np.float32(0.7)) - np.float32(0.3)


def square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.85)


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    slope = np.abs(x) * np.float32(0.866025) - y * np.float32(0.5)
    return np.maximum(slope, y) - np.float32(0.55)


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two overlapping triangles."""
    return np.minimum(triangle(x, y), triangle(x, -y))


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    wide, narrow = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return np.maximum(wide - np.float32(1), narrow - np.float32(0.36))


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    function.__name__: function for function in (disc, ring, square, triangle, star, cross)
}
"""Distance to the outline in the shape's own coordinates (radius about 1): negative inside."""


def coverage(distance: np.ndarray, pixel: float) -> np.ndarray:
    """Share of each pixel that a shape covers, from the distance to its outline; `pixel` in its unit."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / pixel), np.float32(0), np.float32(1))
