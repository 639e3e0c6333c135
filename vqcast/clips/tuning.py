"""The validation videos on which settings and weights are chosen, so that figures are of others."""

import hashlib
from collections.abc import Iterable

import numpy as np


def chosen_on(windows: Iterable[str], share: float) -> np.ndarray:
    """Which of the validation windows (N,), by their ids, are of the `share` of videos for choosing.

    All windows of a video are, or none. The videos are taken in the order of a hash of their names; at least
    one is left for the figures, and one taken, where there are two and a share at all.
    """
    videos = [video_of_window(window) for window in windows]
    names = sorted(set(videos), key=lambda name: hashlib.sha256(f"tuning {name}".encode()).digest())
    count = min(max(round(share * len(names)), 1), len(names) - 1) if share else 0
    chosen = set(names[:count])
    return np.array([video in chosen for video in videos], bool)


def video_of_window(window: str) -> str:
    """The id of the video that a window, by its id, is of."""
    return window.rpartition("#")[0]
