"""Predictions of one system: the samples that this pipeline makes, or a folder of another system's files."""

from pathlib import Path

import numpy as np

from vqcast.errors import VqcastError
from vqcast.media import ffmpeg
from vqcast.media.reading import read_frames
from vqcast.sampling.store import Samples
from vqcast.settings.data import Clip, Window

SUFFIXES = (".npy", ".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif")
SAMPLE = 0  # of a window that has several


class System:
    """One system's predictions, by window id."""

    def __init__(self, folder: str | Path, window: Window, clip: Clip):
        """window, clip: what params.yaml says; of `clip`, the limits on decoding alone are read."""
        self.folder, self.window = Path(folder), window
        self._limits = ffmpeg.Limits(clip.time_limit, clip.max_pixels)
        if not self.folder.is_dir():
            raise VqcastError(f"{folder} is no folder of predictions")
        self._samples = Samples(folder) if any(self.folder.glob("samples-*.arrow")) else None
        self._files = {} if self._samples else _files(self.folder)
        self.windows = set(self._samples.windows if self._samples else self._files)
        if not self.windows:
            raise VqcastError(
                f"{folder} holds no predictions: neither samples-*.arrow, as the sample stage writes them, "
                f"nor files named <window id>{{{','.join(SUFFIXES)}}}"
            )

    def frames(self, window: str) -> tuple[np.ndarray | None, np.ndarray]:
        """Given frames, where the system's files hold them, and predicted ones: uint8 (T, H, W, 3) each."""
        if self._samples:
            return None, self._checked(window, self._samples.predicted(window, SAMPLE))[1]
        path = self._files[window]
        return self._checked(window, self._array(path) if path.suffix == ".npy" else self._video(path))

    def _checked(self, window: str, frames: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        total, given = self.window.frames, self.window.given
        if len(frames) == total:
            return frames[:given], frames[given:]
        if len(frames) == total - given:
            return None, frames
        raise VqcastError(
            f"{self.folder}: the prediction of {window!r} has {len(frames)} frames; it must have "
            f"{total - given}, the predicted ones, or {total}, the given ones before them"
        )

    def _array(self, path: Path) -> np.ndarray:
        try:
            frames = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise VqcastError(f"{path} is no array of frames: {str(error).splitlines()[0]}") from None
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape[3:] != (3,):
            what = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else "several arrays"
            raise VqcastError(f"{path} must hold frames as uint8 (T, H, W, 3), not {what}")
        return frames

    def _video(self, path: Path) -> np.ndarray:
        try:
            # One more than there may be, so that a longer video is told from a right one.
            return read_frames(path, self.window.frames + 1, self._limits).frames
        except ffmpeg.Undecodable as error:
            raise VqcastError(f"{path} cannot be decoded: {error}") from None


def _files(folder: Path) -> dict[str, Path]:
    """The files of a folder by window id, which is the path below it without the suffix.

    No path is ever made from an id, so that none leads elsewhere.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            window = path.relative_to(folder).as_posix().removesuffix(path.suffix)
            if window in files:
                raise VqcastError(f"{folder} holds two predictions of {window!r}: {files[window]} and {path}")
            files[window] = path
    return files
