"""The bytes of a URL, over as many connections as it takes."""

import contextlib
import email.utils
import io
import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx

from vqcast.errors import TransientError, VqcastError
from vqcast.settings.data import Network
from vqcast.web.outcomes import TRANSIENT, FetchError
from vqcast.web.time_limit import TimeIsUp, limited

HEADERS = {"Accept-Encoding": "identity", "User-Agent": "vqcast"}
# Any other is taken for a fault that may pass; so is 403, which servers send to whom they throttle.
STATUSES = {
    401: "private",
    402: "private",
    404: "removed",
    410: "removed",
    429: "rate-limited",
    451: "region",
}
LEAST_BYTES = 1024  # in network.timeout seconds; a connection that brings fewer is as good as silent
LARGEST_TEXT = 1 << 28  # bytes


def is_url(place: str) -> bool:
    return re.match(r"https?://", place) is not None


def read_text(place: str, folder: Path, network: Network) -> str:
    """The text of a URL, or of a file in `folder`; raises VqcastError, TransientError if it may pass."""
    if not is_url(place):
        try:
            return (folder / place).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise VqcastError(f"{folder / place} does not exist") from None
        except UnicodeDecodeError:
            raise VqcastError(f"{folder / place} is no text in UTF-8") from None
    text = bytearray()
    try:
        for chunk in stream(place, network):
            text += chunk
            if len(text) > LARGEST_TEXT:
                raise VqcastError(f"{place} is larger than any list: {LARGEST_TEXT} bytes and more")
        return text.decode("utf-8-sig")
    except FetchError as error:
        kind = TransientError if error.outcome in TRANSIENT else VqcastError
        raise kind(f"{place} cannot be had: {error}") from None
    except UnicodeDecodeError:
        raise VqcastError(f"{place} is no text in UTF-8") from None


def stream(url: str, network: Network) -> Iterator[bytes]:
    """The content of `url` in pieces; a connection that breaks, stalls or drips is taken up where it ended.

    Raises FetchError when `network.tries` connections in a row bring less than LEAST_BYTES each, when the
    server says that it will not do, or when the content changes on the way.
    """
    position, identity, failures = 0, None, 0
    with httpx.Client(headers=HEADERS, timeout=network.timeout, follow_redirects=True) as client:
        while True:
            pause, begin = None, position
            try:
                with contextlib.ExitStack() as open_until:
                    with limited(2 * network.timeout):  # headers can drip, too
                        asking = client.stream("GET", url, headers=_from(position, identity))
                        response = open_until.enter_context(asking)
                    if _is_past_the_end(response, position):
                        return
                    pause = asked_pause(response)
                    failure = _check_status(response)
                    if failure is None:
                        identity, total, skip = _continued(response, position, identity)
                        for chunk in _flowing(response.iter_raw(), network.timeout):
                            fresh = chunk[skip:]
                            skip -= len(chunk) - len(fresh)
                            if fresh:
                                position += len(fresh)
                                yield fresh
                        if total is None or position >= total:
                            return
                        failure = FetchError("network", f"the connection ended at byte {position} of {total}")
            except httpx.TransportError as error:
                failure = FetchError("network", _sentence(error, network.timeout))
            except TimeIsUp:
                failure = FetchError("network", f"no answer is complete in {2 * network.timeout:g} s")
            except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise FetchError("no-video", f"{url!r} leads nowhere: {error}") from None
            failures = 1 if position - begin >= LEAST_BYTES else failures + 1
            if failures >= network.tries:
                raise failure
            if pause is not None and pause > network.max_pause:
                raise FetchError("rate-limited", f"{failure}; the server asks to come back in {pause:.0f} s")
            time.sleep(growing_pause(failures, network) if pause is None else pause)


class _Dripping(httpx.ReadTimeout):
    """What comes is too little to wait for."""


def _flowing(chunks: Iterator[bytes], timeout: float) -> Iterator[bytes]:
    """`chunks`, as long as they come faster than drops: what is waited for, not the time between."""
    waited, came = 0.0, 0
    while True:
        began = time.monotonic()
        chunk = next(chunks, None)
        if chunk is None:
            return
        waited += time.monotonic() - began
        came += len(chunk)
        if waited > timeout:
            if came < LEAST_BYTES:
                raise _Dripping("drops")
            waited, came = 0.0, 0
        yield chunk


class Body(io.RawIOBase):
    """The content of a URL as a file to read from once, from begin to end; counts `bytes_read`."""

    def __init__(self, url: str, network: Network):
        super().__init__()
        self.bytes_read = 0
        self._chunks = stream(url, network)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        # Never a single byte where more follow: gzip would take half of its first two for damage.
        while len(self._left) < 2 and (chunk := next(self._chunks, b"")):
            self._left = memoryview(bytes(self._left) + chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        self.bytes_read += count
        return count

    def close(self) -> None:
        self._chunks.close()
        super().close()


def _from(position: int, identity: str | None) -> dict[str, str]:
    """Headers that ask for what follows `position`, if the content is still the same."""
    if not position:
        return {}
    usable = identity and not identity.startswith("W/")  # a weak validator names no bytes
    return {"Range": f"bytes={position}-", **({"If-Range": identity} if usable else {})}


def _is_past_the_end(response: httpx.Response, position: int) -> bool:
    """Whether nothing follows `position`: the length that was declared before was too large."""
    return response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{position}"


def _check_status(response: httpx.Response) -> FetchError | None:
    """What is wrong with the reply but may pass; raises FetchError for what will not."""
    status = response.status_code
    said = f"HTTP {status} {response.reason_phrase}".strip()
    if 200 <= status < 300:
        return None
    failure = FetchError(STATUSES.get(status, "network"), said)
    if failure.outcome in TRANSIENT:
        return failure
    raise failure


def _continued(
    response: httpx.Response, position: int, identity: str | None
) -> tuple[str | None, int | None, int]:
    """What names the reply's content, its whole length, and how many bytes of the reply are known already."""
    headers = response.headers
    new = headers.get("ETag") or headers.get("Last-Modified")
    if position and identity and new and new != identity:
        raise FetchError("network", "it changed on the server while it was fetched")
    if response.status_code != 206:
        length = headers.get("Content-Length", "")
        return new, int(length) if length.isdecimal() else None, position
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if span is None or int(span[1]) != position:
        raise FetchError(
            "network", f"the server sends {headers.get('Content-Range')!r} from byte {position} on"
        )
    return new, None if span[2] == "*" else int(span[2]), 0


def asked_pause(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait, as a number or a date in Retry-After."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def growing_pause(failures: int, network: Network) -> float:
    """Doubles with every failure; never the same for two, who else would all come back at once."""
    return min(network.pause * 2.0 ** (failures - 1), network.max_pause) * random.uniform(0.5, 1.0)


def _sentence(error: httpx.TransportError, timeout: float) -> str:
    if isinstance(error, _Dripping):
        return f"the server sent fewer than {LEAST_BYTES} bytes in {timeout:g} s"
    if isinstance(error, httpx.TimeoutException):
        return f"the server was silent for {timeout:g} s"
    return str(error) or type(error).__name__
