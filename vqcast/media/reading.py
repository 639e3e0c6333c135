"""Some frames of anyone's video, read as the clip stage reads what it cuts: by ffmpeg, confined."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vqcast.media import ffmpeg
from vqcast.media.decoding import _reader, _unpadded, count_frames


@dataclass(frozen=True)
class Read:
    """What a video held."""

    frames: np.ndarray  # uint8 (T, S, S, 3), the centre square of the picture as displayed
    rate: Fraction  # frames/s
    complaint: str  # what ended the decoding before its time; "" where nothing did


@dataclass(frozen=True)
class Footage:
    """What a video holds, in lossless files of a few frames; iterated over, it has one of them in memory."""

    files: tuple[Path, ...]
    count: int  # frames
    rate: Fraction  # frames/s
    complaint: str  # what ended the decoding before its time; "" where nothing did

    def __iter__(self) -> Iterator[np.ndarray]:
        """Its frames, uint8 (S, S, 3), the centre square of the picture as displayed."""
        for file in self.files:
            reader = _reader(file.read_bytes())
            for _ in range(len(reader)):
                yield _unpadded(reader.next().asnumpy())


def read_frames(
    path: str | Path,
    most: int,
    limits: ffmpeg.Limits,
    *,
    size: int | None = None,
    fps: float | None = None,
    start: float = 0.0,
) -> Read:
    """At most `most` frames of a video at once, otherwise as `footage_of` reads it."""
    with footage_of(path, most, limits, a_file=most, size=size, fps=fps, start=start) as footage:
        return Read(np.stack(list(footage)), footage.rate, footage.complaint)


@contextlib.contextmanager
def footage_of(
    path: str | Path,
    most: int,
    limits: ffmpeg.Limits,
    *,
    a_file: int,
    size: int | None = None,
    fps: float | None = None,
    start: float = 0.0,
) -> Iterator[Footage]:
    """At most `most` frames of a video from `start` (seconds) on; raises ffmpeg.Undecodable if it has none.

    Where the time that `limits` allow is over, those in finished files of `a_file` frames are what there is.
    size: pixels a side; None keeps those of the shorter side. fps: frames/s to resample to; None keeps every
    frame. On the way nothing is lost but the resolution of colour, so that no frame depends on later ones.
    """
    stream = ffmpeg.probe(path, limits)
    rate = stream.rate if fps is None else Fraction(fps).limit_denominator(1001)
    how = ffmpeg.Cut(
        size=size or max(min(stream.width, stream.height) // 2 * 2, 2),  # x264 wants it even
        rate=rate,
        resample=fps is not None,
        frames=a_file,
        gop=a_file,
        crf=0,
        start=None,
        end=None,
        most=most,
        seek=start or None,
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            complaint = ffmpeg.cut(path, stream, how, Path(folder), limits)
            files = sorted(Path(folder).iterdir())
        except ffmpeg.Undecodable as error:
            complaint = str(error)
            files = sorted(Path(folder).iterdir())[:-1]  # the last was being written
        counts = (file.stat().st_size and count_frames(file.read_bytes()) for file in files)
        counts = list(itertools.takewhile(bool, counts))
        if not counts:
            after = f" after {start:g} s" if start else ""
            raise ffmpeg.Undecodable(complaint or f"no frame can be decoded{after}")
        yield Footage(tuple(files[: len(counts)]), sum(counts), rate, complaint)
