"""One video's clips: cut by ffmpeg, counted, and a row each that says what became of it."""

import hashlib
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.files import sha256_file
from vqcast.settings import Clip
from vqcast.video import ffmpeg
from vqcast.video.decoding import count_frames


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
    stream = ffmpeg.probe(path, settings.time_limit)
    rate = stream.rate if settings.fps is None else Fraction(settings.fps).limit_denominator(1001)
    length = max(1, round(settings.seconds * rate))
    how = ffmpeg.Cut(
        size=settings.size,
        rate=rate,
        resample=settings.fps is not None,
        frames=length,
        gop=settings.gop,
        crf=settings.crf,
        start=video["start"],
        end=video["end"],
    )
    error = ffmpeg.cut(path, how, folder, settings.time_limit)
    files = sorted(folder.iterdir())
    if not files:
        raise ffmpeg.Undecodable(error or "no frame can be decoded")
    begin = Fraction(video["start"] or 0)
    for index, file in enumerate(files):
        mp4 = file.read_bytes()
        frames = count_frames(mp4)
        row = _row(video, index) | {
            "start": float(begin + index * length / rate),
            "end": float(begin + (index * length + frames) / rate),
            "frames": frames,
            "fps": float(rate),
            "width": stream.width,
            "height": stream.height,
        }
        if frames < least_frames:
            reason = f"{frames} frames, a window needs {least_frames}" + (f" ({error})" if error else "")
            yield row | {"status": "rejected", "reason": reason}, None
        else:
            yield row | {"bytes": len(mp4), "sha256": hashlib.sha256(mp4).hexdigest()}, mp4


def _row(video: dict, index: int) -> dict:
    row = {name: video[name] for name in ("video", "label", "split", "licence", "attribution", "url")}
    clip = f"{video['video']}#{index:03d}"
    return row | {"clip": clip, "video_sha256": video["sha256"], "status": "ok", "reason": None}
