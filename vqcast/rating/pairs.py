"""What is compared: windows that both systems predicted, and the two predictions of each as pictures."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from vqcast.clips.shards import Shard
from vqcast.errors import VqcastError
from vqcast.media.decoding import decode
from vqcast.rating.systems import System
from vqcast.sources.manifest import CLIPS, read_table

SAME = 24.0  # of 255: given frames that differ more in the mean are others, whatever encoded them


@dataclass(frozen=True)
class Pair:
    """Two predictions of one window, each as a picture: its frames one below the other, a PNG.

    Without loss, so that people judge predictions and no codec.
    """

    window: str
    label: str | None
    given: int  # frames at the beginning of both that neither system predicted
    frames: int
    pictures: dict[str, bytes]  # of "a" and "b"


class Comparison:
    """The pairs of a study, chosen by chance: the same ones whenever the same systems are compared."""

    def __init__(self, a: System, b: System, clips: str | Path, manifest: str | Path, videos: int):
        """clips, manifest: where given frames and labels are; neither need be there.

        Raises VqcastError where the two have no window in common, or not the same given frames.
        """
        common = a.windows & b.windows
        if not common:
            raise VqcastError(
                f"{a.folder} and {b.folder} predict no window in common; {a.folder} has such as "
                f"{min(a.windows)!r}, {b.folder} such as {min(b.windows)!r}"
            )
        self.in_common = len(common)
        chosen = _chosen(common, videos)
        of_clip = _ClipsOf(Path(clips), Path(manifest), chosen, a.window.given)
        self.pairs = [_pair(window, a, b, of_clip) for window in chosen]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that raters see."""
        digest = hashlib.sha256()
        for pair in self.pairs:
            for part in (pair.window.encode(), pair.pictures["a"], pair.pictures["b"]):
                digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()


class _ClipsOf:
    """Labels of some windows, and their given frames, where their clips are here.

    Not by vqcast.clips.windows, which imports torch: the page would wait for that, and has no use for it.
    """

    def __init__(self, folder: Path, manifest: Path, windows: list[str], given: int):
        self._folder, self._given = folder, given
        self._rows: dict[str, dict] = {}
        if manifest.is_file():
            columns = ["clip", "label", "frames", "shard", "row", "sha256", "status"]
            table = read_table(manifest, CLIPS, columns)
            wanted = pc.is_in(table["clip"], pa.array([_clip_and_start(window)[0] for window in windows]))
            usable = table.filter(pc.and_(wanted, pc.equal(table["status"], "ok")))
            self._rows = {row["clip"]: row for row in usable.to_pylist()}

    def label(self, window: str) -> str | None:
        """The clip's; where it is not here, what stands before the first slash of the id."""
        row = self._rows.get(_clip_and_start(window)[0])
        return row["label"] if row else window.split("/")[0] if "/" in window else None

    def frames(self, window: str) -> np.ndarray | None:
        """The given frames, uint8 (T, H, W, 3)."""
        clip, start = _clip_and_start(window)
        row = self._rows.get(clip)
        if row is None or start is None or row["frames"] < start + self._given:
            return None
        shard = Shard(self._folder / row["shard"])
        mp4 = shard[row["row"]][1] if row["row"] < len(shard) else b""
        if hashlib.sha256(mp4).hexdigest() != row["sha256"]:
            raise VqcastError(
                f"{self._folder / row['shard']} is damaged: row {row['row']} is not the clip {clip!r}"
            )
        return decode(mp4, range(start, start + self._given))


def _chosen(windows: Iterable[str], count: int) -> list[str]:
    """`count` windows by chance, from as many clips as there are before any clip comes twice."""
    by_clip = defaultdict(list)
    for window in sorted(windows, key=lambda window: hashlib.sha256(window.encode()).digest()):
        by_clip[_clip_and_start(window)[0]].append(window)
    in_turns = [(turn, clip) for clip, its in by_clip.items() for turn in range(len(its))]
    in_turns.sort(key=lambda place: place[0])  # stable: within a turn, by chance as above
    return [by_clip[clip][turn] for turn, clip in in_turns[:count]]


def _pair(window: str, a: System, b: System, of_clip: _ClipsOf) -> Pair:
    given_a, predicted_a = a.frames(window)
    given_b, predicted_b = b.frames(window)
    sources = {"the clips": of_clip.frames(window), str(a.folder): given_a, str(b.folder): given_b}
    had = {name: frames for name, frames in sources.items() if frames is not None}
    size = min((frames.shape[1:3] for frames in (*had.values(), predicted_a, predicted_b)), key=np.prod)
    had = {name: _resized(frames, size) for name, frames in had.items()}
    (first, shown), *others = had.items() or [("", np.empty((0, *size, 3), np.uint8))]
    for name, frames in others:
        if np.abs(frames.astype(float) - shown).mean() > SAME:
            raise VqcastError(
                f"the given frames of {window!r} are not the same in {first} and in {name}: "
                "both systems must have continued the same ones"
            )
    videos = {
        side: np.concatenate([shown, _resized(frames, size)])
        for side, frames in (("a", predicted_a), ("b", predicted_b))
    }
    pictures = {side: _png(frames) for side, frames in videos.items()}
    return Pair(window, of_clip.label(window), len(shown), len(videos["a"]), pictures)


def _clip_and_start(window: str) -> tuple[str, int | None]:
    """A window id is its clip's, '@', and the frame of the clip at which it starts."""
    clip, _, start = window.rpartition("@")
    return (clip, int(start)) if clip and start.isascii() and start.isdecimal() else (window, None)


def _resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames brought down to the smaller system's size by averaging: size must not tell who is who."""
    if frames.shape[1:3] == size:
        return frames
    height, width = size
    return np.stack(
        [Image.fromarray(frame).resize((width, height), Image.Resampling.BOX) for frame in frames]
    )


def _png(frames: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frames.reshape(-1, *frames.shape[2:])).save(file, "PNG")
    return file.getvalue()
