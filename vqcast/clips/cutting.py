"""One video's clips: cut by ffmpeg, counted, and a row each that says what became of it."""

import hashlib
import math
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.media import ffmpeg
from vqcast.media.decoding import count_frames
from vqcast.settings.data import Clip
from vqcast.work.files import sha256_file

TOLERANCE = 0.5  # seconds: sound may end after the last frame, and rates are not always exact


def clips_of(
    video: dict, store: Path, scratch: Path, settings: Clip, least_frames: int
) -> Iterator[tuple[dict, bytes | None]]:
    """Each clip of a `video` (a row of raw.parquet): its row of clips.parquet, and its mp4 unless rejected.

    `scratch` is a folder for passing files. Raises VqcastError where the stored file is not the one that was
    downloaded.
    """
    path = _verified(video, store)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            yield from _cut(video, path, settings, least_frames, Path(folder))
        except ffmpeg.Undecodable as error:
            yield _row(video, 0) | {"status": "rejected", "reason": str(error)}, None


def _verified(video: dict, store: Path) -> Path:
    """Where a video lies in the store, once its content is found to be what raw.parquet says."""
    path = store / video["file"]
    again = "fetch it again with: dvc repro --force --single-item download"
    if not path.is_file():
        raise VqcastError(f"{path}, the video {video['video']!r}, is missing; {again}")
    if sha256_file(path) != video["sha256"]:
        raise VqcastError(f"{path}, the video {video['video']!r}, is not what was downloaded; {again}")
    return path


def _cut(
    video: dict, path: Path, settings: Clip, least_frames: int, folder: Path
) -> Iterator[tuple[dict, bytes | None]]:
    limits = ffmpeg.Limits(settings.time_limit, settings.max_pixels)
    size = path.stat().st_size
    if size > settings.max_bytes:
        raise ffmpeg.Undecodable(f"{size} bytes, clip.max_bytes allows {settings.max_bytes}")
    stream = ffmpeg.probe(path, limits)
    ends = [end for end in (video["end"], stream.seconds) if end is not None]
    if ends and min(ends) > settings.max_seconds:
        raise ffmpeg.Undecodable(f"{min(ends):.1f} s long, clip.max_seconds allows {settings.max_seconds:g}")
    rate = stream.rate if settings.fps is None else Fraction(settings.fps).limit_denominator(1001)
    most = math.ceil(settings.max_seconds * rate)
    how = ffmpeg.Cut(
        size=settings.resolution,
        rate=rate,
        resample=settings.fps is not None,
        frames=max(1, round(settings.seconds * rate)),
        gop=settings.gop,
        crf=settings.crf,
        start=video["start"],
        end=video["end"],
        most=most + 1,
    )
    error = ffmpeg.cut(path, stream, how, folder, limits)
    files = sorted(folder.iterdir())
    counts = [count_frames(file.read_bytes()) for file in files]
    if not sum(counts):
        raise ffmpeg.Undecodable(error or "no frame can be decoded")
    if sum(counts) > most:
        raise ffmpeg.Undecodable(f"more frames than clip.max_seconds ({settings.max_seconds:g}) allows")
    note = _note(video, stream, sum(counts), rate, error)
    begin = Fraction(video["start"] or 0)
    for index, (file, frames) in enumerate(zip(files, counts, strict=True)):
        row = _row(video, index) | {
            "start": float(begin + index * how.frames / rate),
            "end": float(begin + (index * how.frames + frames) / rate),
            "frames": frames,
            "fps": float(rate),
            "width": stream.width,
            "height": stream.height,
            "note": note,
        }
        if frames < least_frames:
            reason = f"{frames} frames, a window needs {least_frames}" + (f" ({error})" if error else "")
            yield row | {"status": "rejected", "reason": reason}, None
        else:
            mp4 = file.read_bytes()
            yield row | {"bytes": len(mp4), "sha256": hashlib.sha256(mp4).hexdigest()}, mp4


def _note(video: dict, stream: ffmpeg.Stream, frames: int, rate: Fraction, error: str) -> str | None:
    """Where a video is not what its container or its label says; None where they agree."""
    if error:
        return f"breaks off after {frames} frames: {error}"
    start, end = video["start"] or 0.0, stream.seconds if video["end"] is None else video["end"]
    lasts = float(frames / rate)
    if end is None or abs(end - start - lasts) <= TOLERANCE:
        return None
    return f"{frames} frames last {lasts:.2f} s, not the {end - start:.2f} s that were stated"


def _row(video: dict, index: int) -> dict:
    """What a clip's row says of the clip itself."""
    return {
        "clip": f"{video['video']}#{index:03d}",
        "video": video["video"],
        "video_sha256": video["sha256"],
        "status": "ok",
        "reason": None,
    }
