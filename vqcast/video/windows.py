"""Windows of clips, read at random from the shards."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from vqcast.errors import VqcastError
from vqcast.settings import Window
from vqcast.video.decoding import decode
from vqcast.video.manifest import CLIPS, read_manifest
from vqcast.video.shards import Shard

CACHED_BYTES = 256 * 2**20  # of the decoded windows used last, a process


@dataclass(frozen=True)
class WindowRef:
    """Where a window's frames are."""

    clip: str
    video: str
    label: str | None  # None: Kinetics states none for its test split
    split: str
    shard: str
    row: int
    sha256: str  # of the clip's bytes
    start: int  # frame of the clip

    @property
    def id(self) -> str:
        return f"{self.clip}@{self.start:05d}"


class Clips:
    """The clips that a manifest lists, in a folder of shards. Picklable: workers open their own files.

    Threads may share it: they decode side by side.
    """

    def __init__(self, folder: str | Path, manifest: str | Path):
        self.folder, self.manifest = Path(folder), Path(manifest)
        self._rows = {row["clip"]: row for row in read_manifest(manifest, CLIPS)}
        self._forget()

    def row(self, clip: str) -> dict:
        """A clip's row of the manifest."""
        return self._rows[clip]

    def windows(self, split: str, window: Window) -> list[WindowRef]:
        """Every window of a split, in the manifest's order; raises VqcastError if there is none."""
        rows = [row for row in self._rows.values() if row["status"] == "ok" and row["split"] == split]
        refs = [_ref(row, start) for row in rows for start in _starts(row["frames"], window)]
        if not refs:
            raise VqcastError(
                f"{self.manifest} lists no clip of split {split!r} that holds {window.frames} frames"
            )
        return refs

    def frames(self, ref: WindowRef, count: int) -> np.ndarray:
        """`count` frames from the window's start on: uint8 (count, H, W, 3).

        Raises VqcastError where the clip's bytes are not those that the manifest lists.
        """
        key = (ref.clip, ref.start, count)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            mp4 = self._mp4(ref)
        frames = decode(mp4, range(ref.start, ref.start + count))
        with self._lock:
            self._cached_bytes += frames.nbytes if key not in self._cache else 0
            self._cache[key] = frames
            while self._cached_bytes > CACHED_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return frames

    def _mp4(self, ref: WindowRef) -> bytes:
        if ref.shard not in self._shards:
            self._shards[ref.shard] = Shard(self.folder / ref.shard)
        clip, mp4 = self._shards[ref.shard][ref.row]
        if clip != ref.clip or (ref.clip not in self._verified and sha256(mp4).hexdigest() != ref.sha256):
            raise VqcastError(
                f"{self.folder / ref.shard} is damaged: row {ref.row} is not the clip {ref.clip!r}"
            )
        self._verified.add(ref.clip)
        return mp4

    def _forget(self) -> None:
        self._shards: dict[str, Shard] = {}
        self._verified: set[str] = set()
        self._cache: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "manifest": self.manifest, "_rows": self._rows}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()


class WindowDataset(Dataset):
    """Windows as tensors: uint8 (3, T, H, W)."""

    def __init__(self, clips: Clips, windows: list[WindowRef], frames: int):
        self.clips, self.windows, self.frames = clips, windows, frames

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> torch.Tensor:
        frames_THWC = self.clips.frames(self.windows[index], self.frames)
        return torch.from_numpy(frames_THWC.transpose(3, 0, 1, 2).copy())


def _starts(frames: int, window: Window) -> range:
    return range(0, frames - window.frames + 1, window.stride)


def _ref(row: dict, start: int) -> WindowRef:
    names = ("clip", "video", "label", "split", "shard", "row", "sha256")
    return WindowRef(**{name: row[name] for name in names}, start=start)
