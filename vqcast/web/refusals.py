"""Why a video cannot be had from its URL: one of a few classes, told from what yt-dlp raises.

A site says most of it in prose, which yt-dlp passes on in an ExtractorError; servers say it in a status.
Where a text may mean either, it is taken for the class that is asked again: a video that is taken for gone
is lost for good, one that is taken for a fault costs a request in the next run.
"""

import re
from collections.abc import Iterator

from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import DownloadError, GeoRestrictedError, UnsupportedError

from vqcast.web.http import STATUSES, asked_pause
from vqcast.web.outcomes import FetchError

# The first that occurs in a message decides; what is said of all videos alike comes first.
WORDING = [
    ("rate-limited", r"confirm you're not a bot|try again later|rate-limited|too many requests|captcha"),
    ("network", r"this content isn't available|needs? to be reloaded|http error (403|5\d\d)"),
    (
        "no-video",
        r"playback on other websites|not available on this app|drm protect|live event|premieres? in",
    ),
    ("age", r"confirm your age|age.restricted|inappropriate for some users|mature audiences"),
    ("private", r"private video|video is private|members.only|channel's members|join this channel"),
    ("private", r"please sign in|registered users|requires payment"),
    ("region", r"in your (country|region|location)|from your location|geo.?restrict"),
    ("removed", r"removed|terminated|no longer available|has been closed|does not exist|copyright grounds"),
    ("removed", r"video unavailable|video is (not available|unavailable)"),
]


class Unreachable(FetchError):
    """There is no talking to the server, about this video or any other."""


class Refusal(FetchError):
    """What a server says with a status, and the seconds to wait that it asks for, if it does."""

    def __init__(self, error: HTTPError):
        super().__init__(STATUSES.get(error.status, "network"), f"HTTP {error.status} {error.reason}")
        self.retry_after = asked_pause(error.response)


def refusal(error: Exception) -> FetchError:
    """The class and the reason of what yt-dlp raised."""
    reason = _plain(str(error)) or type(error).__name__
    for cause in _causes(error):
        if isinstance(cause, HTTPError):
            return Refusal(cause)
        if isinstance(cause, TransportError | OSError):
            return Unreachable("network", reason)
        if isinstance(cause, GeoRestrictedError):
            return FetchError("region", reason)
        if isinstance(cause, UnsupportedError):  # whose text is the URL
            return FetchError("no-video", "yt-dlp finds no video on the page")
    if not isinstance(error, DownloadError):  # a fault of yt-dlp, whose text may hold anything
        return FetchError("no-video", f"yt-dlp fails: {type(error).__name__}: {reason}")
    text = reason.lower().replace("’", "'")
    outcome = next((outcome for outcome, pattern in WORDING if re.search(pattern, text)), "no-video")
    return FetchError(outcome, reason)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What lies behind an error of yt-dlp, the innermost last."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "exc_info", None)
        inner = inner[1] if inner else None
        error = getattr(error, "cause", None) or (inner if inner is not error else None)
        if not isinstance(error, BaseException):
            return


def _plain(text: str) -> str:
    """The sentence of an error, without what yt-dlp puts round it for its own users."""
    text = re.sub(r"^ERROR: ", "", text)
    text = re.sub(r"^\[[\w:+-]+\] (\S+: )?", "", text)
    text = re.split(
        r"\s*(?:\(caused by |; please report this|You might want to use a VPN|It is recommended to use|"
        r"Use --|See  ?https|For more information)",
        text,
    )[0]
    text = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>:? ?|\w*Connection\w*\(host=[^)]*\):? ?", "", text)
    return " ".join(text.split())
