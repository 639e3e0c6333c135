"""The source `kinetics-urls`: each segment of the annotation files from its video's own URL, by yt-dlp.

The store keeps what came of each: a segment that it has is not fetched again, one that is gone is not asked
for again. What was a fault of the network, or too fast for the server, is tried anew in the next run.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from yt_dlp.version import __version__ as yt_dlp_version

from vqcast.errors import VqcastError
from vqcast.settings.data import Download
from vqcast.sources.annotations import Segment
from vqcast.sources.exclusions import Exclusions
from vqcast.sources.kinetics import plan_segments, video_of
from vqcast.sources.sections import fetch_section, open_client
from vqcast.sources.sources import Fetched
from vqcast.sources.store import Store, StoredFile
from vqcast.web.http import growing_pause
from vqcast.web.outcomes import TRANSIENT, FetchError
from vqcast.web.pace import Pace
from vqcast.web.refusals import Refusal, Unreachable
from vqcast.web.time_limit import TimeIsUp, limited

SEGMENTS_PER_REQUEST = 4
COOKIES_MAY_HELP = ("private", "age")


class TooSlow(FetchError):
    """It took all the time there is for a video: another try belongs to another run."""


class KineticsUrls:
    """Fetches the segments one after the other; `plan` comes first."""

    def __init__(self, settings: Download, folder: Path, exclusions: Exclusions):
        self.settings = settings
        self.folder = folder
        self.exclusions = exclusions
        self.cookies: str | None = None  # the text of the file
        self.left_out: list[Fetched] = []
        self.order: list[str] = []

    def __getstate__(self) -> dict:
        return vars(self) | {"left_out": [], "order": []}  # which no worker needs

    def plan(self) -> Sequence[tuple[Segment, ...]]:
        self.cookies = _read_cookies(self.settings.kinetics_urls.cookies)
        wanted, self.left_out, self.order = plan_segments(self.settings, self.folder, self.exclusions)
        _check(self.settings, self.cookies)
        segments = list(wanted.values())
        starts = range(0, len(segments), SEGMENTS_PER_REQUEST)
        return [tuple(segments[start : start + SEGMENTS_PER_REQUEST]) for start in starts]

    def fetch(self, request: tuple[Segment, ...], store: Store) -> list[Fetched]:
        return [self._fetch(segment, store) for segment in request]

    def missing(self, fetched: Collection[Fetched]) -> list[Fetched]:
        return self.left_out

    def _fetch(self, segment: Segment, store: Store) -> Fetched:
        url = self.settings.kinetics_urls.url_template.replace("{id}", segment.youtube_id)
        length = float(segment.end - segment.start)
        video = dataclasses.replace(video_of(segment, url), start=0.0, end=length)  # in the file that is kept
        key = self._key(url, segment)
        stored = store.find(key)
        if stored is not None:
            return Fetched(video, stored)
        note = store.recall(key)
        if note is not None and self._holds(note):
            return Fetched(video, None, note["outcome"], note["reason"])
        try:
            return Fetched(video, self._download(url, segment, key, store))
        except FetchError as error:
            if error.outcome not in TRANSIENT:
                store.remember(key, self._note(error))
            return Fetched(video, None, error.outcome, error.reason)

    def _key(self, url: str, segment: Segment) -> str:
        """Of all that shapes the file; not of code, for which nobody would fetch 400,000 videos again."""
        identity = ["kinetics-urls", url, segment.start, segment.end, self.settings.kinetics_urls.format]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def _note(self, error: FetchError) -> dict:
        known = {"cookies": self.cookies is not None, "yt_dlp": yt_dlp_version}
        return {"outcome": error.outcome, "reason": error.reason} | known

    def _holds(self, note: dict) -> bool:
        """Whether asking again would come to the same: nothing has changed that may lead further."""
        if note["outcome"] in COOKIES_MAY_HELP and self.cookies is not None:
            return note["cookies"]
        return note["outcome"] != "no-video" or note["yt_dlp"] == yt_dlp_version

    def _download(self, url: str, segment: Segment, key: str, store: Store) -> StoredFile:
        """Fetch a segment, in a few turns if need be; raises the last FetchError."""
        pace = Pace(store.folder / "partial" / "pace", self.settings.kinetics_urls.rate_limit)
        failures = 0
        while True:
            if (outcome := pace.take_turn()) is not None:
                raise FetchError(outcome, "not asked for: this befell many videos in a row")
            try:
                stored = self._fetch_once(url, segment, key, store)
            except FetchError as error:
                failures += 1
                if error.outcome in TRANSIENT and self._wait(error, failures, pace):
                    continue
                common = error.outcome == "rate-limited" or isinstance(error, Unreachable)
                pace.count(error.outcome if common else None)
                raise
            pace.count(None)
            return stored

    def _fetch_once(self, url: str, segment: Segment, key: str, store: Store) -> StoredFile:
        settings = self.settings.kinetics_urls
        cache = store.folder / "partial" / "yt-dlp"
        client = open_client(settings.format, self.cookies, self.settings.network.timeout, str(cache))
        with store.workplace() as folder:
            try:
                with limited(settings.time_limit):
                    path = fetch_section(client, url, segment.start, segment.end, folder, settings.time_limit)
            except TimeIsUp:
                raise TooSlow("network", f"it takes longer than {settings.time_limit:g} s") from None
            return store.move_in(path, ".mp4", key)

    def _wait(self, error: FetchError, failures: int, pace: Pace) -> bool:
        """Let time pass after a failure, for all workers if the server wants it; False: no further try."""
        network = self.settings.network
        asked = error.retry_after if isinstance(error, Refusal) else None
        pause = growing_pause(failures, network) if asked is None else min(asked, network.max_pause)
        if error.outcome == "rate-limited":
            pace.pause(pause)  # in which take_turn waits
        last = failures >= network.tries or (asked or 0.0) > network.max_pause or isinstance(error, TooSlow)
        if not last and error.outcome != "rate-limited":
            time.sleep(pause)
        return not last


def _read_cookies(path: str | None) -> str | None:
    try:
        return None if path is None else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VqcastError(f"download.kinetics_urls.cookies: {path} cannot be read: {error}") from None


def _check(settings: Download, cookies: str | None) -> None:
    """Let yt-dlp say what it cannot do before any work."""
    try:
        client = open_client(settings.kinetics_urls.format, cookies, settings.network.timeout, "")
        _ = client.cookiejar
    except SyntaxError as error:
        raise VqcastError(f"download.kinetics_urls.format: {str(error).splitlines()[0]}") from None
    except Exception:
        path = settings.kinetics_urls.cookies
        raise VqcastError(f"download.kinetics_urls.cookies: {path} is no file of cookies") from None
