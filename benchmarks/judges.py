"""Which measures can be trusted: real windows, damaged in known ways, and what each measure says of them.

    python -m benchmarks.judges --videos DIR [--windows 128]

DIR is laid out as `presets/folder.yaml` says. The predicted frames of its windows, of as many videos as can
be, are damaged in eight ways at five strengths; `DAMAGES` says how. A measure is right about a damage when it
says the more, the stronger the damage is: its rank correlation (Spearman) with the strength, the mean over
`FOLDS` folds of the windows that share no video. It passes at 0.9 or more on at least six of the eight.

{measure: {damage: correlation, ...}}, and beside these
trusted         whether it passes
spread          standard deviation of the correlation over the folds, the largest of those damages that pass
windows_needed  the smallest of N, N/2, N/4 ... windows at which it still passes
seconds         of this machine, for 1,000 windows, one system's and the truth's
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from tqdm import tqdm

from benchmarks.stages import ROOT, make_clips
from vqcast.clips.windows import Clips, WindowRef
from vqcast.features.features import Features, open_features
from vqcast.features.perceptual import Perceptual
from vqcast.measures.arrays import ArrayFile
from vqcast.measures.frechet import distance
from vqcast.measures.image import psnr, squared_error, ssim
from vqcast.measures.mmd import mmd
from vqcast.measures.motion import motion
from vqcast.metrics.comparison import fold_of_windows, gather
from vqcast.metrics.scores import perceptual_distances
from vqcast.settings.params import load_settings
from vqcast.work.environment import cores, prepare_networks

PRESET = "presets/folder.yaml"
FOLDS = 4
PASSES, OF_DAMAGES = 0.9, 6
LEAST_WINDOWS = 12
BATCH = 16
PAIRED = ("psnr", "ssim", "st_lpips", "motion_distance")


@dataclass(frozen=True)
class Scene:
    """A window's last given frame, its predicted ones uint8 (P, H, W, 3), and those of another video."""

    given: np.ndarray
    true: np.ndarray
    other: np.ndarray
    random: np.random.Generator


def blur(scene: Scene, sigma: float) -> np.ndarray:
    return np.stack([gaussian_filter(frame, (sigma, sigma, 0)) for frame in scene.true])


def noise(scene: Scene, sigma: float) -> np.ndarray:
    return _bytes(scene.true + scene.random.normal(0, sigma, scene.true.shape))


def shuffle(scene: Scene, share: float) -> np.ndarray:
    """A share of the frames, put in another order among themselves."""
    count = len(scene.true)
    chosen = np.sort(scene.random.permutation(count)[: max(round(share * count), 2)])
    order = np.arange(count)
    order[chosen] = np.roll(scene.random.permutation(chosen), 1)
    return scene.true[order]


def freeze(scene: Scene, share: float) -> np.ndarray:
    """A share of the frames, at the end, stand still."""
    still = round(share * len(scene.true))
    moving = np.concatenate([scene.given[None], scene.true])[: len(scene.true) + 1 - still]
    return np.concatenate([moving[1:], np.repeat(moving[-1:], still, 0)])


def slow(scene: Scene, factor: float) -> np.ndarray:
    """Plays `factor` times as slow."""
    frames = np.concatenate([scene.given[None], scene.true])
    return frames[np.round(np.arange(1, len(frames)) / factor).astype(int)]


def colour(scene: Scene, levels: float) -> np.ndarray:
    return _bytes(scene.true + np.array([levels, 0, -levels]))


def ending(scene: Scene, share: float) -> np.ndarray:
    """A share of the frames, at the end, are another scene's."""
    own = len(scene.true) - round(share * len(scene.true))
    return np.concatenate([scene.true[:own], scene.other[own:]])


def blocks(scene: Scene, quality: float) -> np.ndarray:
    """What JPEG of a quality leaves."""
    return np.stack([_jpeg(frame, int(quality)) for frame in scene.true])


DAMAGES: dict[str, tuple[Callable[[Scene, float], np.ndarray], tuple[float, ...]]] = {
    "blur": (blur, (0.4, 0.8, 1.2, 1.8, 2.7)),
    "noise": (noise, (4, 8, 16, 32, 64)),
    "shuffle": (shuffle, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "freeze": (freeze, (0.25, 0.5, 0.75, 0.9, 1.0)),
    "slow": (slow, (1.2, 1.5, 2.0, 3.0, 6.0)),
    "colour": (colour, (5, 10, 20, 40, 80)),
    "ending": (ending, (0.1, 0.25, 0.5, 0.75, 1.0)),
    "blocks": (blocks, (60, 30, 15, 8, 3)),
}


def scenes_of(clips: Clips, refs: list[WindowRef], given: int, frames: int) -> list[Scene]:
    windows = [clips.reader.read(ref, frames) for ref in refs]
    scenes = []
    for number, window in enumerate(windows):
        around = [*range(number + 1, len(refs)), *range(number)]
        other = windows[next(n for n in around if refs[n].video != refs[number].video)]
        scenes.append(Scene(window[given - 1], window[given:], other[given:], np.random.default_rng(number)))
    return scenes


class Measures:
    """Every measure of damaged windows; each says more where it is worse."""

    def __init__(self, scenes: list[Scene], refs: list[WindowRef], spaces: list[Features], folder: Path):
        self.scenes, self.spaces, self.folder = scenes, spaces, folder
        names = sorted({ref.video for ref in refs})
        self.video = np.array([names.index(ref.video) for ref in refs])
        self.perceptual = Perceptual()
        self.seconds = dict.fromkeys((*PAIRED, *(space.space for space in spaces)), 0.0)
        self.true = self._features([scene.true for scene in scenes], "true")

    def paired(self, videos: list[np.ndarray]) -> dict[str, np.ndarray]:
        """(N,) by measure."""
        said: dict[str, list[np.ndarray]] = {name: [] for name in PAIRED}
        for start in range(0, len(videos), BATCH):
            some = np.stack(videos[start : start + BATCH])
            scenes = self.scenes[start : start + BATCH]
            true, given = (np.stack([getattr(scene, name) for scene in scenes]) for name in ("true", "given"))
            for name in PAIRED:
                begun = time.perf_counter()
                said[name].append(self._of_pairs(name, some, true, given))
                self.seconds[name] += time.perf_counter() - begun
        return {name: np.concatenate(parts) for name, parts in said.items()}

    def _of_pairs(self, measure: str, videos: np.ndarray, true: np.ndarray, given: np.ndarray) -> np.ndarray:
        """(B,) of videos and true ones (B, P, H, W, 3), behind the last given frames (B, H, W, 3)."""
        if measure == "psnr":
            return -psnr(squared_error(videos, true).mean(1))
        if measure == "ssim":
            return -ssim(videos, true).mean(1)
        if measure == "motion_distance":
            return motion(videos[:, None], true, given)["distance"][:, 0]
        distances = perceptual_distances(self.perceptual, true, {"damaged": videos[:, None]})
        return distances["damaged"].mean((1, 2))

    def of_sets(self, videos: list[np.ndarray]) -> dict[str, Callable[[np.ndarray], float]]:
        """By measure, what it says of the windows that a mask (N,) selects."""
        features = self._features(videos, "damaged")
        said = {}
        for space in self.spaces:
            mine, true = features[space.space], self.true[space.space]
            said[space.frechet] = lambda chosen, mine=mine, true=true: distance(
                *(gather(array, np.where(chosen, 0, -1), 1)[0] for array in (mine, true))
            )
            said[space.mmd] = lambda chosen, mine=mine, true=true: mmd(mine, true, self.video, chosen).value
        return said

    def _features(self, videos: list[np.ndarray], name: str) -> dict[str, ArrayFile]:
        files = {}
        for space in self.spaces:
            begun = time.perf_counter()
            batches = range(0, len(videos), BATCH)
            made = np.concatenate([space(np.stack(videos[start : start + BATCH])) for start in batches])
            self.seconds[space.space] += time.perf_counter() - begun
            path = self.folder / f"{space.space}-{name}.npy"
            np.save(path, made[:, None])
            files[space.space] = ArrayFile(path)
        return files


def judged(measures: Measures, sets: dict[int, np.ndarray]) -> dict[str, dict[str, dict[int, np.ndarray]]]:
    """Correlation of each measure with the strength of each damage, over each set of windows.

    sets: by their number, which one each window is in, (N,). The result: by measure, damage and number of
    sets, (sets,).
    """
    result: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for damage, (function, strengths) in DAMAGES.items():
        said: dict[str, dict[int, list[list[float]]]] = {}
        for strength in tqdm(strengths, damage, leave=False):
            videos = [function(scene, strength) for scene in measures.scenes]
            paired, of_sets = measures.paired(videos), measures.of_sets(videos)
            for count, part in sets.items():
                masks = [part == number for number in range(count)]
                for name, values in paired.items():
                    row = [float(values[mask].mean()) for mask in masks]
                    said.setdefault(name, {}).setdefault(count, []).append(row)
                for name, measure in of_sets.items():
                    row = [measure(mask) for mask in masks]
                    said.setdefault(name, {}).setdefault(count, []).append(row)
        for name, by_count in said.items():
            result.setdefault(name, {})[damage] = {
                count: np.array([spearmanr(range(len(column)), column)[0] for column in np.array(rows).T])
                for count, rows in by_count.items()
            }
    return result


def passes(by_damage: dict[str, dict[int, np.ndarray]], sets: int) -> bool:
    return sum(bool(found[sets].mean() >= PASSES) for found in by_damage.values()) >= OF_DAMAGES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judges", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--videos", required=True, help="folder of videos: <label>/<file>, videos.csv if any")
    parser.add_argument("--windows", type=int, default=128, help="judged (default: %(default)s)")
    arguments = parser.parse_args()
    settings = load_settings(ROOT / PRESET)
    prepare_networks()
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = {"root": str(Path(arguments.videos).resolve())}
        clips = Clips(*make_clips(folder, PRESET, {"source": "directory", "directory": root}))
        splits = [clips.windows(split, settings.window) for split in ("train", "val")]
        refs = _spread(splits, arguments.windows)
        scenes = scenes_of(clips, refs, settings.window.given, settings.window.frames)
        measures = Measures(scenes, refs, open_features(settings.evaluate), folder)
        counts = [FOLDS]
        while len(refs) // (2 * counts[-1]) >= LEAST_WINDOWS:
            counts.append(2 * counts[-1])
        found = judged(measures, {count: fold_of_windows(refs, count) for count in (1, 2, *counts)})
    judgements = len(refs) * (1 + sum(len(strengths) for _, strengths in DAMAGES.values()))
    result = {}
    for measure, by_damage in found.items():
        correlations = {damage: sets[FOLDS] for damage, sets in by_damage.items()}
        passed = [of_folds.std() for of_folds in correlations.values() if of_folds.mean() >= PASSES]
        enough = [len(refs) // count for count in (1, 2, *counts) if passes(by_damage, count)]
        timed = next(name for name in measures.seconds if measure in (name, f"mmd_{name}", f"frechet_{name}"))
        result[measure] = {
            **{damage: round(float(of_folds.mean()), 3) for damage, of_folds in correlations.items()},
            "trusted": passes(by_damage, FOLDS),
            "spread": round(float(max(passed)), 3) if passed else None,
            "windows_needed": min(enough) if enough else None,
            "seconds": round(1000 * measures.seconds[timed] / judgements, 1),
        }
    print(json.dumps(result))


def _spread(splits: list, count: int) -> list[WindowRef]:
    """`count` windows, from as many videos as there are before any video comes twice."""
    turns: dict[str, int] = {}
    placed = []
    for windows in splits:
        for ref in windows:
            turns[ref.video] = turns.get(ref.video, -1) + 1
            placed.append((turns[ref.video], len(placed), ref))
    return [ref for _, _, ref in sorted(placed, key=lambda one: one[:2])[:count]]


def _jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _bytes(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
