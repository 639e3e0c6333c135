"""A file on a web server as ffmpeg may read it: from loopback, by ranges, and nothing but that file.

ffmpeg is good at finding the few parts of a video that hold a section; it must not be let loose on a
network, where it would follow a playlist to anything, and where its errors say little. So it asks a server
in this process, which knows a single file, and brings each part that is asked for by yt-dlp's own client:
its TLS, cookies, proxies, and errors with a status.
"""

import contextlib
import re
import threading
from collections.abc import Iterator
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SO_SNDBUF, SOL_SOCKET

from yt_dlp import YoutubeDL
from yt_dlp.networking import Request, Response
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import YoutubeDLError

from vqcast.web.outcomes import FetchError
from vqcast.web.refusals import refusal

PART = 512 * 1024  # bytes that are fetched in one go
PARTS_KEPT = 8  # ffmpeg goes back to the beginning of a file, and reads overlapping ranges
MOST_BYTES = 4 * 1024**3  # of one video


class RemoteFile:
    """A file of which any part can be had, up to the first failure, which is kept: FetchError or OSError."""

    def __init__(self, client: YoutubeDL, url: str, headers: dict[str, str], folder: Path):
        self.client = client
        self.url = url
        self.headers = headers
        self.folder = folder
        self.size = None
        self.whole = None  # path of the whole file, if the server cannot give parts
        self.failure = None
        self._parts = {}  # number to bytes, the latest last
        self._lock = threading.Lock()  # ffmpeg opens a new connection before it closes the old one

    def part(self, number: int) -> bytes:
        """Bytes `number * PART` onwards, PART of them, or fewer at the end of the file."""
        with self._lock:
            if self.failure is not None:
                raise self.failure
            try:
                data = self._parts.pop(number, None)
                self._parts[number] = self._fetch(number) if data is None else data
            except Exception as error:
                self.failure = error
                raise
            if len(self._parts) > PARTS_KEPT:
                del self._parts[next(iter(self._parts))]
            return self._parts[number]

    def _fetch(self, number: int) -> bytes:
        start = number * PART
        if self.whole is not None:
            with open(self.whole, "rb") as file:
                file.seek(start)
                return file.read(PART)
        wanted = {"Range": f"bytes={start}-{start + PART - 1}", "Accept-Encoding": "identity"}
        try:
            with self.client.urlopen(Request(self.url, headers={**self.headers, **wanted})) as response:
                span = _content_range(response.headers.get("Content-Range"))
                if response.status == 206 and span is not None and span[0] == start:
                    return self._read_part(response, start, span[1])
                self._read_whole(response)
        except HTTPError as error:
            if error.status == 416 and number == 0:
                raise FetchError("network", "the server sends an empty file") from None
            raise refusal(error) from None
        except (YoutubeDLError, HTTPException) as error:
            raise refusal(error) from None
        return self._fetch(number)

    def _read_part(self, response: Response, start: int, size: int) -> bytes:
        if self.size not in (None, size):
            raise FetchError("network", "the file on the server changes while it is read")
        if size > MOST_BYTES:
            raise FetchError("refused", f"the file is larger than {MOST_BYTES} bytes")
        self.size = size
        wanted = min(PART, size - start)
        data = b""
        while len(data) < wanted and (more := response.read(wanted - len(data))):
            data += more
        if len(data) < wanted:
            raise FetchError("network", "the server ends the connection in mid-file")
        return data

    def _read_whole(self, response: Response) -> None:
        stated = response.headers.get("Content-Length")
        size = 0
        path = self.folder / "whole"
        with open(path, "wb") as file:
            while data := response.read(PART):
                size += len(data)
                if size > MOST_BYTES:
                    raise FetchError("refused", f"the file is larger than {MOST_BYTES} bytes")
                file.write(data)
        if stated is not None and stated.isdecimal() and int(stated) != size:
            raise FetchError("network", "the server ends the connection in mid-file")
        if not size:
            raise FetchError("network", "the server sends an empty file")
        self.size, self.whole = size, path


@contextlib.contextmanager
def on_loopback(file: RemoteFile) -> Iterator[str]:
    """The URL at which this machine's processes may read `file`, whose first part is there already."""
    file.part(0)

    class Handler(BaseHTTPRequestHandler):
        def setup(self):
            self.request.setsockopt(SOL_SOCKET, SO_SNDBUF, 64 * 1024)  # fetch little that nobody reads
            super().setup()

        def do_GET(self):
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
            start = int(found[1]) if found else 0
            if start >= file.size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{file.size}")
                self.end_headers()
                return
            stop = min(int(found[2]) + 1, file.size) if found and found[2] else file.size
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            with contextlib.suppress(Exception):  # ffmpeg is gone, or `file` keeps what happened
                while start < stop:
                    data = file.part(start // PART)[start % PART :][: stop - start]
                    self.wfile.write(data)
                    start += len(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        server.shutdown()
        server.server_close()


def _content_range(header: str | None) -> tuple[int, int] | None:
    """First byte and size of the whole file, of `bytes 0-499/1234`."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", (header or "").strip())
    return (int(found[1]), int(found[2])) if found else None
