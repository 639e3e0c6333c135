"""Frames as a file that plays, by ffmpeg: each goes there as it comes, so that there may be any number."""

import contextlib
import itertools
import subprocess
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from vqcast.errors import VqcastError
from vqcast.media.ffmpeg import (
    QUIET,
    REPRODUCIBLE,
    SCALER,
    TO_YUV,
    X264,
    executable,
    last_error,
    raise_for_faults,
)


def encode_mp4(frames: Iterable[np.ndarray], rate: int, path: Path, crf: int) -> None:
    """Write uint8 `frames`, each (H, W, 3), as an H.264 mp4."""
    to_yuv = f"scale=flags={SCALER}:{TO_YUV},format=yuv420p"
    # What it spends in bytes, it saves in time.
    _write(frames, rate, path, "-vf", to_yuv, *X264, "-preset", "ultrafast", "-crf", str(crf), "-f", "mp4")


def encode_gif(frames: Iterable[np.ndarray], rate: Fraction, path: Path) -> None:
    """Write uint8 `frames`, each (H, W, 3), as a GIF without end; each has colours of its own."""
    palettes = "split[a][b];[a]palettegen=stats_mode=single[c];[b][c]paletteuse=new=1:dither=none"
    _write(frames, rate, path, "-filter_complex", palettes, "-f", "gif")


def _write(frames: Iterable[np.ndarray], rate: int | Fraction, path: Path, *how: str) -> None:
    """Hand frames to ffmpeg as they come."""
    frames = iter(frames)
    first = next(frames)
    size = f"{first.shape[1]}x{first.shape[0]}"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size, "-framerate", str(rate), "-i", "pipe:")
    command = [executable(), *QUIET, *raw, *how, *REPRODUCIBLE, "-y", str(path)]
    with (
        tempfile.TemporaryFile() as log,  # a pipe would fill, while nobody reads it
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            for frame in itertools.chain([first], frames):
                try:
                    process.stdin.write(frame.tobytes())
                except BrokenPipeError:  # it has ended, and the log says why
                    break
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
        finally:
            process.kill()  # nothing, if it has ended
        log.seek(0)
        result = subprocess.CompletedProcess(command, process.returncode, b"", log.read())
    raise_for_faults(result)
    if result.returncode:
        raise VqcastError(f"ffmpeg cannot encode {path}: {last_error(result)}")
