"""The paper's Table 2: Frechet distances of every system under one protocol.

The windows are judged in folds, each a set of its own, for mean and spread (section 5.2). No two folds share
a video, whose windows are much alike. Every distance depends on the number N of windows, by a bias that falls
as 1/N; so each is also given at N, N/2, N/4 and N/8, and extrapolated to infinitely many (Chong and Forsyth
2020).

Shapes: N windows, S samples a window, D features.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vqcast.clips.windows import WindowRef
from vqcast.measures.arrays import ArrayFile
from vqcast.measures.frechet import PIECE, Gaussian, distance

MOST_PARTS = 8  # a power of 2; a distance is given at N windows, N/2, ... N/MOST_PARTS
LINEAR_FROM = 2  # windows for each dimension of the features: with fewer, the bias is not as 1/N
POINTS = 3  # through which a line is drawn at least

ABOUT = {
    "model": "the given frames, continued",
    "reconstruction": "the true codes, decoded: what they can hold",
    "repeat_last_frame": "the last given frame, repeated",
    "expectation": "what the given frames alone let expect, without codes",
}
FLOOR = "true"
ABOUT_FLOOR = "true windows against those of other videos: the floor, real against real"


@dataclass(frozen=True)
class Score:
    """Frechet distance of two sets of videos: of all, by folds, at several numbers of windows, and beyond."""

    all: float | None
    folds: list[float | None]
    mean: float | None  # over the folds
    spread: float | None  # standard deviation over the folds, over their number less 1
    by_windows: list[list[float]]  # a number of windows, and the mean distance of the sets of as many
    infinite_windows: float | None  # None where there are too few windows to extrapolate


class FeatureFolder:
    """The features of every system at every size, in files."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def of(self, system: str, size: int) -> ArrayFile:
        """Features (N, S, D)."""
        return ArrayFile(self.folder / str(size) / f"{system}.npy")


def table_2(
    metric: str,
    folder: FeatureFolder,
    refs: Sequence[WindowRef],
    judged: np.ndarray,
    folds: int,
    others: dict[str, str],
) -> list[dict]:
    """Rows of the table: what each system is, its size, N, and its Score against true videos; the model's
    also against reconstructions (FVD*).

    metric: what the distance is called. refs: the windows whose features lie in `folder`. judged (N,), bool:
    those that count. others: what other systems are, by name; their first videos are predictions for the
    first windows.
    """
    fold, rank = np.full(len(refs), -1), ranks(refs)
    fold[judged] = fold_of_windows([ref for ref, counts in zip(refs, judged, strict=True) if counts], folds)
    rows = []
    for size in sorted(int(path.name) for path in folder.folder.iterdir()):
        true = folder.of("true", size)
        for system, about in {**ABOUT, **others}.items():
            if not (folder.folder / str(size) / f"{system}.npy").exists():
                continue  # videos smaller than this
            features = folder.of(system, size)
            against = {"true": asdict(score(features, true, fold, rank))}
            if system == "model":
                reconstructed = folder.of("reconstruction", size)
                against["reconstructions"] = asdict(score(features, reconstructed, fold, rank))
            rows.append(_row(system, about, size, features, judged, against))
        rows.append(_row(FLOOR, ABOUT_FLOOR, size, true, judged, {"true": asdict(floor(true, fold))}))
    return [{"metric": metric, **row} for row in rows]


def _row(system: str, about: str, size: int, features: ArrayFile, judged: np.ndarray, against: dict) -> dict:
    return {
        "system": system,
        "about": about,
        "size": size,
        "windows": int(judged[: len(features)].sum()),
        "samples_per_window": features.shape[1],
        **against,
    }


def score(first: ArrayFile, second: ArrayFile, fold: np.ndarray, rank: np.ndarray) -> Score:
    """Score of two systems' features of the same windows, of as many as the first one has.

    fold (N,): which fold each window is in, -1 in none. rank (N,): its place in a random order.
    """
    judged = np.flatnonzero(fold[: len(first)] >= 0)
    count, part = len(judged), np.full(len(first), -1)
    part[judged] = rank[judged].argsort().argsort() * MOST_PARTS // max(count, 1)
    by_fold = _distances(first, second, fold[: len(first)], int(fold.max()) + 1)
    by_windows = []
    sets = [gather(features, part, MOST_PARTS) for features in (first, second)]
    while True:
        distances = [_distance(*pair) for pair in zip(*sets, strict=True)]
        if None not in distances:
            by_windows.insert(0, [count // len(distances), float(np.mean(distances))])
        if len(distances) == 1:
            break
        sets = [[a.with_(b) for a, b in zip(parts[::2], parts[1::2], strict=True)] for parts in sets]
    whole = by_windows[0][1] if by_windows else None
    dimension = first.shape[-1]
    return Score(whole, by_fold, *_mean_and_spread(by_fold), by_windows, extrapolated(by_windows, dimension))


def floor(true: ArrayFile, fold: np.ndarray) -> Score:
    """Real against real: each fold's true videos against those of the next, with no video in both."""
    folds = int(fold.max()) + 1
    sets = gather(true, fold, folds)
    pairs = [(0, 1)] if folds == 2 else [(number, (number + 1) % folds) for number in range(folds)]
    distances = [_distance(sets[a], sets[b]) for a, b in pairs if folds > 1]
    mean, spread = _mean_and_spread(distances)
    return Score(None, distances, mean, spread, [], None)


def gather(features: ArrayFile, part: np.ndarray, parts: int) -> list[Gaussian]:
    """The Gaussian of each part's features; part (N,): which one a window is in, -1 in none."""
    dimension = features.shape[-1]
    gaussians = [Gaussian(dimension) for _ in range(parts)]
    waiting: list[list[np.ndarray]] = [[] for _ in range(parts)]  # to be taken in by many, which is faster

    def take_in(number: int) -> None:
        gaussians[number].add(np.concatenate(waiting[number]))
        waiting[number].clear()

    for rows, piece in features.pieces():
        here = part[rows]
        for number in range(parts):
            chosen = piece[: len(here)][here == number]
            if len(chosen):
                waiting[number].append(chosen.reshape(-1, dimension))
            if sum(map(len, waiting[number])) >= PIECE:
                take_in(number)
    for number in range(parts):
        if waiting[number]:
            take_in(number)
    return gaussians


def extrapolated(by_windows: list[list[float]], dimension: int) -> float | None:
    """The distance at infinitely many windows: where a line in 1/N through the points meets 0."""
    points = [(1 / windows, value) for windows, value in by_windows if windows >= LINEAR_FROM * dimension]
    if len(points) < POINTS:
        return None
    _, at_zero = np.polyfit(*zip(*points, strict=True), deg=1)
    return float(at_zero)


def fold_of_windows(refs: Sequence[WindowRef], folds: int) -> np.ndarray:
    """The fold (N,) of each window: all of a video in one, and as many windows in each as can be.

    Videos are taken in the order of their ids' hashes, each for the fold that has the fewest windows.
    """
    videos = [ref.video for ref in refs]
    sizes = [0] * folds
    fold = {}
    counts = Counter(videos)
    for video in sorted(counts, key=_hash):
        fold[video] = sizes.index(min(sizes))
        sizes[fold[video]] += counts[video]
    return np.array([fold[video] for video in videos])


def ranks(refs: Sequence[WindowRef]) -> np.ndarray:
    """The place (N,) of each window in the order of their ids' hashes."""
    order = sorted(range(len(refs)), key=[_hash(ref.id) for ref in refs].__getitem__)
    return np.argsort(order)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _distances(first: ArrayFile, second: ArrayFile, part: np.ndarray, parts: int) -> list[float | None]:
    pairs = zip(gather(first, part, parts), gather(second, part, parts), strict=True)
    return [_distance(*pair) for pair in pairs]


def _distance(first: Gaussian, second: Gaussian) -> float | None:
    """Frechet distance, None for fewer than 2 videos."""
    return distance(first, second) if min(first.count, second.count) > 1 else None


def _mean_and_spread(distances: list[float | None]) -> tuple[float | None, float | None]:
    if not distances or None in distances:
        return None, None
    spread = float(np.std(distances, ddof=1)) if len(distances) > 1 else None
    return float(np.mean(distances)), spread
