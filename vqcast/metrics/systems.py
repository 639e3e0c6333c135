"""Predictions of other systems, judged as the model's are: a folder of videos, or an array in an .npy file.

Shapes: M videos of T frames, each H = W pixels.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from vqcast.errors import VqcastError
from vqcast.measures.arrays import ArrayFile
from vqcast.media.ffmpeg import Limits, Undecodable, read_frames
from vqcast.settings.data import Window
from vqcast.settings.evaluate import OtherSystem
from vqcast.work.files import sha256_file

LIMITS = Limits(seconds=60.0, pixels=2**22)  # for a video of a folder


class OtherVideos:
    """Another system's videos, in order: number n is its prediction for validation window n.

    Each is a whole window, the given frames first, or the predicted frames alone. Raises VqcastError for what
    is neither.
    """

    def __init__(self, system: OtherSystem, root: Path, window: Window):
        """root: the folder in which all lie."""
        self.name, self.path, self._root = system.name, root / system.path, root
        if not self.path.absolute().is_relative_to(root.absolute()) or ".." in self.path.parts:
            raise VqcastError(f"{self._says()} must lie in {root}, where a change to it is noticed")
        if not self.path.exists():
            raise VqcastError(f"{self._says()} does not exist")
        self._window = window
        self._videos = _Folder(self.path, self.files, window) if self.path.is_dir() else _Array(self.path)
        _, self.frames, height, self.pixels, channels = self._videos.shape
        predicted = window.frames - window.given
        if self.frames not in (window.frames, predicted) or channels != 3 or height != self.pixels:
            raise VqcastError(
                f"{self._says()} must hold square videos in colour of {window.frames} frames, or of "
                f"the {predicted} predicted ones; it has {self.frames} frames "
                f"of {self.pixels}x{height}x{channels}"
            )

    def __len__(self) -> int:
        return self._videos.shape[0]

    def read(self, numbers: range) -> np.ndarray:
        """Videos uint8 (len(numbers), T, H, W, 3)."""
        return self._videos.read(numbers)

    def predicted(self, numbers: range) -> np.ndarray:
        """Their predicted frames alone."""
        return self.read(numbers)[:, self.frames - (self._window.frames - self._window.given) :]

    @cached_property
    def files(self) -> list[Path]:
        """Its files, in the order of their names."""
        if self.path.is_file():
            return [self.path]
        found = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path for path in found if not _is_hidden(path.relative_to(self.path)))

    def identity(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of every file."""
        return [(str(path.relative_to(self._root)), sha256_file(path)) for path in self.files]

    def _says(self) -> str:
        return f"evaluate.systems: {self.path} of {self.name!r}"


class _Array:
    """uint8 (M, T, H, W, 3) in an .npy file."""

    def __init__(self, path: Path):
        self._array = ArrayFile(path)
        self.shape = self._array.shape
        if len(self.shape) != 5 or self._array.dtype != np.uint8 or not len(self._array):
            raise VqcastError(
                f"{path} must be uint8 of 5 axes (videos, frames, height, width, 3), "
                f"not {self._array.dtype} of {list(self.shape)}"
            )
        self.read = self._array.read


class _Folder:
    """A video a file, all of one size."""

    def __init__(self, folder: Path, files: list[Path], window: Window):
        self._files = files
        if not files:
            raise VqcastError(f"{folder} holds no video")
        self._most = window.frames + 1  # one more than there may be
        self.shape = (len(self._files), *self._read(self._files[0]).shape)

    def read(self, numbers: range) -> np.ndarray:
        videos = [self._read(self._files[number]) for number in numbers]
        for number, video in zip(numbers, videos, strict=True):
            if video.shape != self.shape[1:]:
                raise VqcastError(
                    f"{self._files[number]} has {_size(video.shape)}, where {self._files[0]} "
                    f"has {_size(self.shape[1:])}"
                )
        return np.stack(videos)

    def _read(self, path: Path) -> np.ndarray:
        try:
            return read_frames(path, self._most, LIMITS)
        except Undecodable as error:
            raise VqcastError(f"{path} is no video that can be decoded: {error}") from None


def _size(shape: tuple[int, ...]) -> str:
    frames, height, width, _ = shape
    return f"{frames} frames of {width}x{height}"


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
