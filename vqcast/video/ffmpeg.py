"""The three things this project asks of ffmpeg: what a file holds, clips cut from it, frames encoded.

A downloaded "video" may be anything. ffmpeg therefore never sees its name: the file is its standard
input, which it may seek in, and no protocol but `fd` is open to it, so that a playlist posing as a video
reaches no other file and no network.

Everything runs with one thread and without metadata, so that the same input gives the same bytes.
"""

import errno
import math
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from vqcast.errors import VqcastError

QUIET = ("-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1", "-filter_threads", "1")
HIGHEST_RATE = 240  # frames/s; containers that state no rate seem to have 1000 or 90000
ASSUMED_RATE = 25  # frames/s, where none is stated
X264 = ("-c:v", "libx264", "-bf", "0", "-sc_threshold", "0", "-threads", "1")
REPRODUCIBLE = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact")
# One colour matrix whatever the source's, and scaling that is the same on every kind of CPU.
TO_YUV = "out_color_matrix=bt601:out_range=limited"
SCALER = "accurate_rnd+bitexact+full_chroma_int+full_chroma_inp"


class Undecodable(Exception):
    """A file from which ffmpeg gets no video; its text is the reason."""


@dataclass(frozen=True)
class Stream:
    """The first video stream of a file, as it is displayed: rotation applied."""

    rate: Fraction  # frames/s
    width: int
    height: int


@cache
def executable() -> str:
    """Path of the ffmpeg binary that comes with imageio-ffmpeg."""
    return imageio_ffmpeg.get_ffmpeg_exe()


def probe(path: str | Path, time_limit: float) -> Stream:
    """Rate and size of a video file, from its first decodable frame; raises Undecodable."""
    arguments = [*_reading(), *_first_video_stream(), "-frames:v", "1", "-f", "framecrc", "-"]
    result = _run(arguments, path, time_limit)
    header = dict(re.findall(r"^#(tb|dimensions) 0: (\S+)$", result.stdout.decode(), re.MULTILINE))
    if "dimensions" not in header:
        raise Undecodable(_last_error(result) or "no frame can be decoded")
    rate = 1 / Fraction(header["tb"])
    width, height = map(int, header["dimensions"].split("x"))
    return Stream(rate if rate <= HIGHEST_RATE else Fraction(ASSUMED_RATE), width, height)


@dataclass(frozen=True)
class Cut:
    """How a video becomes clips."""

    size: int  # pixels, height and width
    rate: Fraction  # frames/s of the clips
    resample: bool  # drop and repeat frames to reach `rate`, instead of keeping every one
    frames: int  # of a clip
    gop: int  # frames between keyframes
    crf: int
    start: float | None  # seconds; None is the beginning
    end: float | None  # seconds; None is the end


def cut(path: str | Path, how: Cut, folder: Path, time_limit: float) -> str:
    """Write the video's consecutive clips to `folder`/00000.mp4, 00001.mp4, ...

    Each is the centre square, resized. Frames that follow a decoding error are left out: they would be
    guesses, after a gap in time. Returns that error, or "" if there was none.
    Raises Undecodable where time runs out.
    """
    seconds = float(how.frames / how.rate)
    arguments = [
        "-xerror",
        *([] if how.resample else ["-r", str(how.rate)]),  # timestamps count frames, so that none is lost
        *_reading(),
        *_first_video_stream(),
        *("-vf", _filters(how), "-fps_mode", "passthrough"),
        *X264,
        *("-preset", "veryfast", "-crf", str(how.crf)),
        *("-g", str(how.gop), "-force_key_frames", f"expr:not(mod(n,{how.frames}))"),
        *REPRODUCIBLE,
        *("-f", "segment", "-segment_format", "mp4", "-reset_timestamps", "1"),
        *("-segment_time", f"{seconds:.9f}", "-segment_time_delta", f"{float(1 / how.rate) / 2:.9f}"),
        str(folder / "%05d.mp4"),
    ]
    return _last_error(_run(arguments, path, time_limit))


def encode(frames: np.ndarray, rate: int, path: Path, crf: int) -> None:
    """Write uint8 `frames` (T, H, W, 3) as an H.264 mp4."""
    _, height, width, _ = frames.shape
    arguments = [
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(rate)),
        *("-i", "pipe:"),
        *("-vf", f"scale=flags={SCALER}:{TO_YUV},format=yuv420p"),
        *X264,
        *("-preset", "ultrafast", "-crf", str(crf)),  # what it spends in bytes, it saves in time
        *REPRODUCIBLE,
        *("-f", "mp4", "-y", str(path)),
    ]
    result = subprocess.run([executable(), *QUIET, *arguments], input=frames.tobytes(), capture_output=True)
    _raise_for_faults(result)
    if result.returncode:
        raise VqcastError(f"ffmpeg cannot encode {path}: {_last_error(result)}")


def copy_section(url: str, path: Path, start: float, seconds: float, time_limit: float) -> str:
    """Write the video stream of `url`, a server on loopback, from `start` on to `path`, an mp4.

    No frame is encoded anew: packets are copied from the keyframe before `start`, and an edit list leaves out
    what precedes it. Neither playlists nor any format that can name another file are recognised in what the
    server sends. Returns what ffmpeg complains of, or "". Raises Undecodable.
    """
    arguments = [
        *("-protocol_whitelist", "http,tcp", "-format_whitelist", "mov,matroska,webm", "-http_proxy", ""),
        *("-ss", f"{start:.3f}", "-t", f"{seconds:.3f}", "-i", url),
        *_first_video_stream(),
        *("-c", "copy", *REPRODUCIBLE, "-f", "mp4", "-y", str(path)),
    ]
    result = _run(arguments, os.devnull, time_limit)
    if result.returncode:
        raise Undecodable(_last_error(result).replace(url, "the file"))  # another URL in every run
    return _first_line(result).replace(url, "the file")


def decodable_seconds(path: str | Path, time_limit: float) -> float:
    """How long a video lasts, once each of its frames has been decoded; raises Undecodable."""
    arguments = [*_reading(), *_first_video_stream(), "-fps_mode", "passthrough", "-f", "framecrc", "-"]
    result = _run(["-xerror", *arguments], path, time_limit)
    if result.returncode:
        raise Undecodable(_last_error(result))
    text = result.stdout.decode()
    unit = re.search(r"^#tb 0: (\S+)$", text, re.MULTILINE)
    frames = re.findall(r"^0, +-?\d+, +(-?\d+), +(\d+),", text, re.MULTILINE)
    if not frames:
        return 0.0
    end = max(int(time) + int(duration) for time, duration in frames)
    return float((end - min(int(time) for time, _ in frames)) * Fraction(unit[1]))


def _reading() -> list[str]:
    return ["-protocol_whitelist", "fd", "-i", "fd:"]


def _first_video_stream() -> list[str]:
    return ["-map", "0:v:0", "-an", "-sn", "-dn"]


def _filters(how: Cut) -> str:
    """The filter graph: span, rate, centre square of the picture as displayed, size, colours."""
    filters = []
    if how.start is not None or how.end is not None:
        end = "" if how.end is None else f":end={how.end}"
        filters.append(f"trim=start={how.start or 0}{end},setpts=PTS-STARTPTS")
    if how.resample:
        filters.append(f"fps={how.rate}")
    filters += [
        "crop='min(iw,ih/sar)':'min(ih,iw*sar)'",
        f"scale={how.size}:{how.size}:flags=area+{SCALER}:{TO_YUV}",
        "setsar=1",
        "format=yuv420p",
    ]
    return ",".join(filters)


def _run(arguments: list[str], path: str | Path, time_limit: float) -> subprocess.CompletedProcess:
    orphan_limit = ("-timelimit", str(math.ceil(4 * time_limit)))  # CPU seconds, when nobody is left to wait
    with open(path, "rb") as file:
        try:
            result = subprocess.run(
                [executable(), *QUIET, *orphan_limit, *arguments],
                stdin=file,
                capture_output=True,
                timeout=time_limit,
            )
        except subprocess.TimeoutExpired:
            raise Undecodable(f"decoding takes longer than {time_limit:g} s") from None
    _raise_for_faults(result)
    return result


def _raise_for_faults(result: subprocess.CompletedProcess) -> None:
    """Raise for what is no property of the video: it must not be written down as one."""
    if b"No space left on device" in result.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if result.returncode in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
        raise VqcastError(f"ffmpeg was ended by {signal.Signals(-result.returncode).name}; run it again")


def _last_error(result: subprocess.CompletedProcess) -> str:
    """The most telling line of a failed run without addresses, which differ from run to run; else ""."""
    if result.returncode == 0:
        return ""
    if result.returncode < 0:
        return f"ffmpeg crashed with {signal.Signals(-result.returncode).name}"
    return _first_line(result) or f"ffmpeg ended with code {result.returncode}"


def _first_line(result: subprocess.CompletedProcess) -> str:
    """The first complaint, without the addresses before it; "" if there is none."""
    lines = result.stderr.decode(errors="replace").splitlines()
    lines = [re.sub(r"^(\[[^\]]*\] )+", "", line).strip() for line in lines]
    return next((line for line in lines if line), "")
