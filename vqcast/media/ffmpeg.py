"""What this project asks of ffmpeg about a file: what it holds, clips cut from it, its frames.

A downloaded "video" may be anything. ffmpeg therefore never sees its name: the file is its standard
input, which it may seek in, no protocol but `fd` is open to it, and no format that names other files, so
that a playlist posing as a video reaches no other file and no network. Every decode is a process of its
own with limits on its time, its memory and the size of a frame: what hangs or grows ends with its video.

Everything runs with one thread and without metadata, so that the same input gives the same bytes.
"""

import contextlib
import errno
import math
import os
import re
import resource
import signal
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from vqcast.errors import VqcastError

QUIET = ("-nostdin", "-hide_banner", "-loglevel", "level+error", "-threads", "1", "-filter_threads", "1")
# Containers and raw streams of video. Left out: playlists, text, subtitles, disc images, single pictures.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,av1,obu,ivf,m4v,mjpeg,mxf,nut,rm,dv,"
    "vc1,vvc,h263,wtv,swf,yuv4mpegpipe"
)
SERIOUS = re.compile(r"^(\[[^\]]*\] )*\[(error|fatal|panic)\] ")  # lines of the log
HDR = ("smpte2084", "arib-std-b67")  # the transfers of BT.2100: PQ and HLG
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
class Limits:
    """What decoding one video may cost before it is given up."""

    seconds: float
    pixels: int  # of a frame

    @property
    def memory(self) -> int:
        """Bytes of address space: 4K in 4:4:4 and 10 bits with 16 reference frames takes half of it."""
        return 2**30 + 256 * self.pixels


@dataclass(frozen=True)
class Stream:
    """The first video stream of a file, as it is displayed: rotation applied."""

    rate: Fraction  # frames/s
    width: int
    height: int
    seconds: float | None  # how long the container says that it lasts; None where it does not say
    transfer: str  # ffmpeg's name of the transfer characteristics, such as smpte2084
    primaries: str  # ffmpeg's name of the colour primaries


@cache
def executable() -> str:
    """Path of the ffmpeg binary that comes with imageio-ffmpeg, whatever the environment names.

    Another one may cut other bytes, and nothing would notice; so there is VqcastError where it brings none.
    """
    binaries = Path(imageio_ffmpeg.__file__).parent / "binaries"
    found = sorted(binaries.glob("ffmpeg-*"))
    if not found:
        raise VqcastError(f"imageio-ffmpeg brings no ffmpeg for this platform: {binaries} has none")
    return str(found[0])


def probe(path: str | Path, limits: Limits) -> Stream:
    """What a video file is, from its header and its first frame; raises Undecodable."""
    arguments = [
        *("-loglevel", "level+info", "-xerror", *_reading(limits), *_first_video_stream()),
        *("-vf", "showinfo", "-frames:v", "1", "-f", "framecrc", "-"),
    ]
    result = _run(arguments, path, limits)
    header = dict(re.findall(r"^#(tb|dimensions) 0: (\S+)$", result.stdout.decode(), re.MULTILINE))
    if "dimensions" not in header:
        raise Undecodable(last_error(result) or "no frame can be decoded")
    rate = 1 / Fraction(header["tb"])
    width, height = map(int, header["dimensions"].split("x"))
    log = result.stderr.decode(errors="replace")
    colours = dict(re.findall(r" color_(trc|primaries):(\S+)", log))
    return Stream(
        rate=rate if rate <= HIGHEST_RATE else Fraction(ASSUMED_RATE),
        width=width,
        height=height,
        seconds=_declared_seconds(log),
        transfer=colours.get("trc", "unknown"),
        primaries=colours.get("primaries", "unknown"),
    )


def _declared_seconds(log: str) -> float | None:
    found = re.search(r"^\[info\]   Duration: (\d+):(\d+):(\d+\.\d+),", log, re.MULTILINE)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


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
    most: int  # frames of all clips together; what follows is left
    seek: float | None = None  # seconds passed over without decoding them; all else counts from there

    @property
    def by_time(self) -> bool:
        """Whether a frame's own timestamp matters, not just which frame it is."""
        return self.resample or any(time is not None for time in (self.start, self.end, self.seek))


def cut(path: str | Path, stream: Stream, how: Cut, folder: Path, limits: Limits) -> str:
    """Write the video's consecutive clips to `folder`/00000.mp4, 00001.mp4, ...

    stream: what `probe` said of it. Each clip is the centre square, resized, in the colours of an SDR screen.
    Frames that follow a decoding error are left out: they would be guesses, after a gap in time. Returns
    that error, or "" if there was none. Raises Undecodable where time runs out.
    """
    seconds = float(how.frames / how.rate)
    arguments = [
        "-xerror",
        *([] if how.by_time else ["-r", str(how.rate)]),  # timestamps count frames, so that none is lost
        *([] if how.seek is None else ["-ss", f"{how.seek:.6f}"]),
        *_reading(limits),
        *_first_video_stream(),
        *("-vf", _filters(stream, how), "-fps_mode", "passthrough", "-frames:v", str(how.most)),
        *X264,
        # Read at random for ever after: a quarter less time to decode, for 3% more bytes.
        *("-preset", "veryfast", "-tune", "fastdecode", "-crf", str(how.crf)),
        *("-g", str(how.gop), "-force_key_frames", f"expr:not(mod(n,{how.frames}))"),
        *REPRODUCIBLE,
        *("-f", "segment", "-segment_format", "mp4", "-reset_timestamps", "1"),
        *("-segment_time", f"{seconds:.9f}", "-segment_time_delta", f"{float(1 / how.rate) / 2:.9f}"),
        str(folder / "%05d.mp4"),
    ]
    return last_error(_run(arguments, path, limits))


def read_frames(path: str | Path, most: int, limits: Limits) -> np.ndarray:
    """The first frames of a video, `most` of them or all, as they are displayed: uint8 (T, H, W, 3).

    Raises Undecodable where there is none, or where a decoding error comes before them.
    """
    arguments = [
        *("-xerror", *_reading(limits), *_first_video_stream(), "-fps_mode", "passthrough"),
        *("-frames:v", str(most), "-vf", f"scale=flags={SCALER},format=rgb24"),
        *("-c:v", "ppm", "-f", "image2pipe", "-"),
    ]
    result = _run(arguments, path, limits)
    if result.returncode or not result.stdout:
        raise Undecodable(last_error(result) or "no frame can be decoded")
    head = re.match(rb"P6\n(\d+) (\d+)\n255\n", result.stdout)
    width, height = int(head[1]), int(head[2])
    frames = np.frombuffer(result.stdout, np.uint8).reshape(-1, head.end() + 3 * width * height)
    return frames[:, head.end() :].reshape(-1, height, width, 3)


def copy_section(url: str, path: Path, start: float, seconds: float, limits: Limits) -> str:
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
    result = _run(arguments, os.devnull, limits)
    if result.returncode:
        raise Undecodable(last_error(result).replace(url, "the file"))  # another URL in every run
    return _first_line(result).replace(url, "the file")


def decodable_seconds(path: str | Path, limits: Limits) -> float:
    """How long a video lasts, once each of its frames has been decoded; raises Undecodable."""
    arguments = [*_reading(limits), *_first_video_stream(), "-fps_mode", "passthrough", "-f", "framecrc", "-"]
    result = _run(["-xerror", *arguments], path, limits)
    if result.returncode:
        raise Undecodable(last_error(result))
    text = result.stdout.decode()
    unit = re.search(r"^#tb 0: (\S+)$", text, re.MULTILINE)
    frames = re.findall(r"^0, +-?\d+, +(-?\d+), +(\d+),", text, re.MULTILINE)
    if not frames:
        return 0.0
    end = max(int(time) + int(duration) for time, duration in frames)
    return float((end - min(int(time) for time, _ in frames)) * Fraction(unit[1]))


def _reading(limits: Limits) -> list[str]:
    confined = ("-protocol_whitelist", "fd", "-format_whitelist", FORMATS)
    return [*confined, "-max_pixels", str(limits.pixels), "-i", "fd:"]


def _first_video_stream() -> list[str]:
    return ["-map", "0:v:0", "-an", "-sn", "-dn"]


def _filters(stream: Stream, how: Cut) -> str:
    """The filter graph: span, rate, centre square of the picture as displayed, size, colours."""
    filters = []
    if how.start is not None or how.end is not None:
        end = "" if how.end is None else f":end={how.end}"
        filters.append(f"trim=start={how.start or 0}{end},setpts=PTS-STARTPTS")
    if how.resample:
        filters.append(f"fps={how.rate}")
    elif how.by_time:
        filters.append(f"settb={1 / how.rate},setpts=N")
    resize = f"scale={how.size}:{how.size}:flags=area+{SCALER}"
    filters += [
        "crop='min(iw,ih/sar)':'min(ih,iw*sar)'",
        *_to_sdr(stream, resize),
        f"{resize}:{TO_YUV}",
        "setsar=1",
        "format=yuv420p",
    ]
    return ",".join(filters)


def _to_sdr(stream: Stream, resize: str) -> list[str]:
    """Filters that bring HDR and wide colours to what an SDR screen shows; none for other videos.

    What is darker than a third of HDR's reference white (203 nits, BT.2408) keeps its light, that white
    becomes 0.68 of the SDR screen's, and 1000 nits and more become all of it. These filters work in
    floating point: unlike all others, their last bit may differ from one kind of CPU to the next.
    """
    hdr = stream.transfer in HDR
    if not hdr and stream.primaries != "bt2020":
        return []
    transfer = stream.transfer if hdr else "bt2020-10"
    return [
        f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}",
        f"{resize}:out_range=limited",
        "format=yuv444p12",
        "zscale=transfer=linear:primaries=bt709:npl=203",
        "format=gbrpf32",
        *(["tonemap=mobius:peak=5:desat=0"] if hdr else []),
        "zscale=transfer=bt709",
        "format=gbrp",
    ]


def _run(arguments: list[str], path: str | Path, limits: Limits) -> subprocess.CompletedProcess:
    orphan_limit = ("-timelimit", str(math.ceil(4 * limits.seconds)))  # CPU seconds, when nobody waits
    command = [executable(), *QUIET, *orphan_limit, *arguments]
    with (
        open(path, "rb") as file,
        subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        try:
            _limit_memory(process.pid, limits.memory)
            stdout, stderr = process.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            raise Undecodable(f"decoding takes longer than {limits.seconds:g} s") from None
        finally:
            process.kill()  # nothing, if it has ended
    result = subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
    raise_for_faults(result)
    return result


def _limit_memory(pid: int, size: int) -> None:
    """Bound a process's address space, where the system can; an allocation beyond it fails."""
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


def raise_for_faults(result: subprocess.CompletedProcess) -> None:
    """Raise for what is no property of the video: it must not be written down as one."""
    if b"No space left on device" in result.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if result.returncode in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
        raise VqcastError(f"ffmpeg was ended by {signal.Signals(-result.returncode).name}; run it again")


def last_error(result: subprocess.CompletedProcess) -> str:
    """The most telling line of a failed run without addresses, which differ from run to run; else ""."""
    if result.returncode == 0:
        return ""
    if result.returncode < 0:
        return f"ffmpeg crashed with {signal.Signals(-result.returncode).name}"
    log = result.stderr.decode(errors="replace")
    if size := re.search(r"Picture size (\d+x\d+) (?:is invalid|exceeds)", log):
        return f"a frame of {size[1]} pixels is more than clip.max_pixels allows"
    return _first_line(result) or f"ffmpeg ended with code {result.returncode}"


def _first_line(result: subprocess.CompletedProcess) -> str:
    """The first serious complaint, without the addresses before it; "" if there is none."""
    lines = [line for line in result.stderr.decode(errors="replace").splitlines() if SERIOUS.search(line)]
    lines = [re.sub(r"^(\[[^\]]*\] )+", "", line).strip() for line in lines]
    return next((line for line in lines if line), "")
