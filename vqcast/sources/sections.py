"""A section of the video at a URL: found by yt-dlp, cut out by ffmpeg, in a limited time."""

import io
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from yt_dlp import YoutubeDL

from vqcast.media import ffmpeg
from vqcast.web.outcomes import FetchError
from vqcast.web.refusals import refusal
from vqcast.web.remote import RemoteFile, on_loopback

LARGEST_FRAME = 1 << 26  # pixels; clip.max_pixels is for the clip stage to judge by
SLACK = 1.0  # seconds that a section may lack at its end: annotations are in whole seconds


class Silent:
    """Where yt-dlp says what it does."""

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str, **_) -> None: ...

    def error(self, message: str) -> None: ...


@cache
def open_client(video_format: str, cookies: str | None, timeout: float, cache_folder: str) -> YoutubeDL:
    """This process's yt-dlp, which keeps what it learns of a site from one video to the next.

    `cookies` is the text of a cookies file, which yt-dlp would otherwise write to.
    """
    return YoutubeDL(
        {
            "cachedir": cache_folder or False,
            "color": "never",
            "cookiefile": None if cookies is None else io.StringIO(cookies),
            "extract_flat": "in_playlist",  # what a playlist names is not looked up
            "ffmpeg_location": ffmpeg.executable(),
            "format": video_format,
            "logger": Silent(),
            "noplaylist": True,
            "noprogress": True,
            "quiet": True,
            "simulate": True,
            "socket_timeout": timeout,
        }
    )


def fetch_section(
    yt_dlp: YoutubeDL, url: str, start: float, end: float, folder: Path, time_limit: float
) -> Path:
    """The video from `start` to `end`, in seconds, as an mp4 in `folder`, which decodes to its end.

    ffmpeg has `time_limit` seconds; all of it is best `limited`. Raises FetchError.
    """
    video_format = _find(yt_dlp, url)
    file = RemoteFile(yt_dlp, video_format["url"], video_format.get("http_headers") or {}, folder)
    _refuse_text(file.part(0))
    path = folder / "section.mp4"
    try:
        with on_loopback(file) as local:
            limits = ffmpeg.Limits(time_limit, LARGEST_FRAME)
            complaint = ffmpeg.copy_section(local, path, start, end - start, limits)
        if file.failure is not None:  # to ffmpeg it was the end of the file
            raise file.failure
        # In less time than there is for all: a video that hangs ffmpeg is damaged, not slow to come.
        seconds = ffmpeg.decodable_seconds(path, ffmpeg.Limits(time_limit / 4, LARGEST_FRAME))
    except ffmpeg.Undecodable as error:
        raise file.failure or FetchError("corrupt", str(error)) from None
    if seconds < end - start - SLACK:
        exist = f"of the {end - start:g} s from second {start:g} on, {seconds:.1f} s exist"
        raise FetchError("corrupt" if complaint else "too-short", exist + (complaint and f" ({complaint})"))
    return path


def _find(yt_dlp: YoutubeDL, url: str) -> dict:
    """The format that yt-dlp chooses of the video at `url`: a single file on a web server."""
    try:
        found = yt_dlp.extract_info(url, download=False)
    except Exception as error:  # an extractor may stumble over a page in any way
        raise refusal(error) from None
    if not found or found.get("_type", "video") != "video":
        raise FetchError("no-video", "the page holds no single video")
    if found.get("is_live"):
        raise FetchError("no-video", "it is a live event")
    if "requested_formats" in found:
        raise FetchError("no-video", "download.kinetics_urls.format asks for several files to be merged")
    if not {found.get("protocol"), urlsplit(found["url"]).scheme} <= {"http", "https"}:
        raise FetchError("no-video", f"the video is no single file, but comes by {found.get('protocol')}")
    return found


def _refuse_text(beginning: bytes) -> None:
    """Name what poses as a video most often; ffmpeg would only say that it is none."""
    text = beginning[:64].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"#extm3u", b"ffconcat", b"<?xml")):
        raise FetchError("no-video", "the file is a playlist")
    if text.startswith((b"<!doctype", b"<html", b"<head")):
        raise FetchError("no-video", "the file is a web page")
