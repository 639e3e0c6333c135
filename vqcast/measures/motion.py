"""How much predicted frames move, where, and how smoothly, against the truth.

Motion is the absolute difference between one frame's luma and the next one's, beginning with the last given
frame, in grey levels of 0..255.

Shapes: B windows, S samples a window, P predicted frames, H height, W width.
"""

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BLOCK = 4  # pixels; what moves by less than this is in the right place
MEASURES = ("amount", "distance", "overlap", "jerk")


def motion(videos: np.ndarray, truth: np.ndarray, last_given: np.ndarray) -> dict[str, np.ndarray]:
    """Measures (B, S) of predicted frames uint8 (B, S, P, H, W, 3) beside the true ones (B, P, H, W, 3).

    amount    mean motion
    distance  mean absolute difference between its motion and the truth's, by frame and block of pixels
    overlap   cosine between both as maps, summed over time: 1 where the same places move, or nothing does
    jerk      mean absolute change of the differences from one frame to the next: low where motion is smooth

    last_given: uint8 (B, H, W, 3).
    """
    before = _luma(last_given)[:, None, None]
    steps = _steps(_luma(videos), before)
    true_map = _blocks(np.abs(_steps(_luma(truth)[:, None], before)))
    its_map = _blocks(np.abs(steps))
    changes = np.abs(np.diff(steps, axis=2)) if steps.shape[2] > 1 else np.zeros_like(steps)
    return {
        "amount": np.abs(steps).mean((2, 3, 4)),
        "distance": np.abs(its_map - true_map).mean((2, 3, 4)),
        "overlap": _cosine(its_map.sum(2), true_map.sum(2)),
        "jerk": changes.mean((2, 3, 4)),
    }


def _luma(frames: np.ndarray) -> np.ndarray:
    return frames.astype(np.float32) @ LUMA


def _steps(luma: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Differences from frame to frame (B, S, P, H, W), the first from the last given one (B, 1, 1, H, W)."""
    first = np.broadcast_to(before, (*luma.shape[:2], 1, *luma.shape[3:]))
    return np.diff(np.concatenate([first, luma], 2), axis=2)


def _blocks(maps: np.ndarray) -> np.ndarray:
    """Means over blocks of pixels; what is left over at the edges is cut off."""
    height, width = (max(size // BLOCK, 1) for size in maps.shape[-2:])
    h, w = (min(BLOCK, size) for size in maps.shape[-2:])
    cut = maps[..., : height * h, : width * w]
    return cut.reshape(*maps.shape[:-2], height, h, width, w).mean((-3, -1))


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(B, S), of maps (B, S or 1, h, w); of two that are empty 1, of one that is 0."""
    products = (first * second).sum((-2, -1))
    norms = np.sqrt(np.square(first).sum((-2, -1)) * np.square(second).sum((-2, -1)))
    both_empty = (first.sum((-2, -1)) == 0) & (second.sum((-2, -1)) == 0)
    return np.where(both_empty, 1.0, products / np.maximum(norms, 1e-12))
