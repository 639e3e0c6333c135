"""Some frames of anyone's video, read as the clip stage reads what it cuts: by ffmpeg, confined."""

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vqcast.media import ffmpeg
from vqcast.media.decoding import count_frames, decode


@dataclass(frozen=True)
class Read:
    """What a video held."""

    frames: np.ndarray  # uint8 (T, S, S, 3), the centre square of the picture as displayed
    rate: Fraction  # frames/s
    complaint: str  # what ended the decoding before its time; "" where nothing did


def read_frames(
    path: str | Path,
    most: int,
    limits: ffmpeg.Limits,
    *,
    size: int | None = None,
    fps: float | None = None,
    start: float = 0.0,
) -> Read:
    """At most `most` frames of a video from `start` (seconds) on; raises ffmpeg.Undecodable if it has none.

    size: pixels a side; None keeps those of the shorter side. fps: frames/s to resample to; None keeps every
    frame. On the way nothing is lost but the resolution of colour, so that no frame depends on later ones.
    """
    stream = ffmpeg.probe(path, limits)
    rate = stream.rate if fps is None else Fraction(fps).limit_denominator(1001)
    how = ffmpeg.Cut(
        size=size or max(min(stream.width, stream.height) // 2 * 2, 2),  # x264 wants it even
        rate=rate,
        resample=fps is not None,
        frames=most,
        gop=most,
        crf=0,
        start=None,
        end=None,
        most=most,
        seek=start or None,
    )
    with tempfile.TemporaryDirectory() as folder:
        complaint = ffmpeg.cut(path, stream, how, Path(folder), limits)
        mp4 = b"".join(file.read_bytes() for file in sorted(Path(folder).iterdir())[:1])
    count = count_frames(mp4) if mp4 else 0
    if not count:
        after = f" after {start:g} s" if start else ""
        raise ffmpeg.Undecodable(complaint or f"no frame can be decoded{after}")
    return Read(decode(mp4, range(count)), rate, complaint)
