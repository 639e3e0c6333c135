"""Windows of clips, read at random from the shards."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch.utils.data import Dataset

from vqcast.clips.shards import Shard
from vqcast.errors import VqcastError
from vqcast.media.decoding import decode
from vqcast.settings.data import Window
from vqcast.sources.manifest import CLIPS, read_table

CACHED_BYTES = 256 * 2**20  # of the decoded windows used last, a process
OPEN_SHARDS = 64  # at once, a process
CLIPS_AT_ONCE = 10_000  # whose ids are Python objects at the same time
COLUMNS = ("clip", "video", "label", "split", "shard", "row", "sha256")  # of the manifest, in a WindowRef


@dataclass(frozen=True)
class WindowRef:
    """Where a window's frames are."""

    clip: str
    video: str
    label: str
    split: str
    shard: str
    row: int
    sha256: str  # of the clip's bytes
    start: int  # frame of the clip

    @property
    def id(self) -> str:
        return window_id(self.clip, self.start)


def window_id(clip: str, start: int) -> str:
    """What the window of a clip that begins with frame `start` is called."""
    return f"{clip}@{start:05d}"


class Windows(Sequence):
    """Every window of some clips, in their order; a WindowRef is made when it is asked for."""

    def __init__(self, clips: pa.Table, window: Window):
        """clips: a row a clip, COLUMNS and `frames`."""
        self._clips, self._window = clips, window
        frames = clips["frames"].to_numpy().astype(np.int64)
        self._ends = np.cumsum(np.maximum((frames - window.frames) // window.stride + 1, 0))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int | slice) -> "WindowRef | list[WindowRef]":
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        clip = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[clip - 1]) if clip else 0
        values = (self._clips[name][clip].as_py() for name in COLUMNS)
        return WindowRef(*values, start=(index - first) * self._window.stride)

    def ids(self) -> Iterator[str]:
        """The id of every window, many times faster than by way of its WindowRef."""
        first = 0
        for clips in self._clips.select(["clip"]).to_batches(max_chunksize=CLIPS_AT_ONCE):
            ends = self._ends[first : first + len(clips)]
            counts = np.diff(ends, prepend=self._ends[first - 1] if first else 0)
            for clip, count in zip(clips["clip"].to_pylist(), counts.tolist(), strict=True):
                yield from (window_id(clip, number * self._window.stride) for number in range(count))
            first += len(clips)

    def __reduce__(self) -> tuple:
        """Pickled, a slice of a table would bring the whole table along."""
        return Windows, (self._clips.take(pa.array(range(len(self._clips)))), self._window)

    def by_shard(self) -> Iterator[tuple[str, "Windows"]]:
        """The windows of each shard, and its name."""
        shards = self._clips["shard"].combine_chunks().indices.to_numpy()
        changes = np.flatnonzero(np.diff(shards)) + 1
        for first, end in pairwise([0, *changes.tolist(), len(shards)]):
            clips = self._clips.slice(first, end - first)
            yield clips["shard"][0].as_py(), Windows(clips, self._window)

    def clips_sha256(self) -> str:
        """Hash of which clips these are, and of their bytes."""
        columns = (self._clips[name].to_pylist() for name in ("clip", "sha256", "frames"))
        return hashlib.sha256(repr(list(zip(*columns, strict=True))).encode()).hexdigest()


class Clips:
    """The clips that a manifest lists, in a folder of shards. Picklable: workers open their own files."""

    def __init__(self, folder: str | Path, manifest: str | Path):
        self.reader = ClipReader(Path(folder))
        self.manifest = Path(manifest)
        table = read_table(manifest, CLIPS, [*COLUMNS, "frames", "status"])
        self._table = _compact(table.filter(pc.field("status") == "ok"))

    def row(self, clip: str) -> dict:
        """A clip's whole row of the manifest, read from the file."""
        (row,) = pq.read_table(self.manifest, filters=pc.field("clip") == clip, partitioning=None).to_pylist()
        return row

    def windows(self, split: str, window: Window) -> Windows:
        """Every window of a split, in the manifest's order; raises VqcastError if there is none."""
        windows = Windows(self._table.filter(pc.field("split") == split).combine_chunks(), window)
        if not windows:
            raise VqcastError(
                f"{self.manifest} lists no clip of split {split!r} that holds {window.frames} frames"
            )
        return windows

    def frames(self, ref: WindowRef, count: int) -> np.ndarray:
        """`count` frames from the window's start on: uint8 (count, H, W, 3).

        Raises VqcastError where the clip's bytes are not those that the manifest lists.
        """
        return self.reader.cached(ref, count)


class ClipReader:
    """Reads windows from a folder of shards; picklable, and knows only what a WindowRef tells it.

    Threads may share it: they decode side by side.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._forget()

    def read(self, ref: WindowRef, count: int) -> np.ndarray:
        """What Clips.frames says, from the file."""
        with self._lock:
            mp4 = self._mp4(ref)
        return decode(mp4, range(ref.start, ref.start + count))

    def cached(self, ref: WindowRef, count: int) -> np.ndarray:
        """The same, from memory where it was read a short time ago."""
        key = (ref.clip, ref.start, count)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        frames = self.read(ref, count)
        with self._lock:
            self._cached_bytes += 0 if key in self._cache else frames.nbytes
            self._cache[key] = frames
            while self._cached_bytes > CACHED_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return frames

    def _mp4(self, ref: WindowRef) -> bytes:
        shard, verified = self._opened(ref.shard)
        clip, mp4 = shard[ref.row] if ref.row < len(shard) else (None, b"")
        if clip != ref.clip or not (verified[ref.row] or hashlib.sha256(mp4).hexdigest() == ref.sha256):
            raise VqcastError(
                f"{self.folder / ref.shard} is damaged: row {ref.row} is not the clip {ref.clip!r}"
            )
        verified[ref.row] = True
        return mp4

    def _opened(self, name: str) -> tuple[Shard, bytearray]:
        """A shard, and which of its clips have been found to be what the manifest says."""
        if name not in self._shards:
            shard = Shard(self.folder / name)
            self._shards[name] = shard, bytearray(len(shard))
        self._shards.move_to_end(name)
        if len(self._shards) > OPEN_SHARDS:
            self._shards.popitem(last=False)
        return self._shards[name]

    def _forget(self) -> None:
        self._shards: OrderedDict[str, tuple[Shard, bytearray]] = OrderedDict()
        self._cache: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        return {"folder": self.folder}

    def __setstate__(self, state: dict) -> None:
        self.folder = state["folder"]
        self._forget()


class WindowDataset(Dataset):
    """Windows as tensors: uint8 (3, T, H, W)."""

    def __init__(self, clips: Clips, windows: Sequence[WindowRef], frames: int):
        self.clips, self.windows, self.frames = clips, windows, frames

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> torch.Tensor:
        frames_THWC = self.clips.frames(self.windows[index], self.frames)
        return torch.from_numpy(frames_THWC.transpose(3, 0, 1, 2).copy())


def _compact(table: pa.Table) -> pa.Table:
    """A manifest's columns in little memory: millions of clips take some hundred bytes each."""
    for name in ("label", "split", "shard"):
        column = table.column_names.index(name)
        table = table.set_column(column, name, table[name].dictionary_encode())
    return table.combine_chunks()
