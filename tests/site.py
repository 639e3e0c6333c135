"""A video site on loopback, which answers each path as a test wants, and remembers what it was asked."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """What the server says; `body` as a range where it is asked for one and `ranges` allows it."""

    body: bytes = b""
    kind: str = "video/mp4"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    stated_length: int | None = None  # a lie
    cut_after: int | None = None  # bytes of the whole body, then the connection is closed
    stall_after: int | None = None  # bytes of the whole body, then nothing more comes
    drip: float = 0.0  # seconds before each byte
    header_drip: float = 0.0  # seconds before each of endless headers


@dataclass(frozen=True)
class Asked:
    path: str
    span: str | None  # the Range header
    cookie: str | None
    when: float
    sent: int  # bytes of a body


class Site:
    def __init__(self):
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self.address = ""

    def put(self, path: str, *replies: Reply) -> str:
        """Answer requests of `path` by one reply after another, the last of them for ever."""
        self.replies[path] = list(replies)
        return self.address + path

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]

    def reply(self, path: str) -> Reply:
        replies = self.replies.get(path)
        if replies is None:
            return Reply(status=404)
        return replies.pop(0) if len(replies) > 1 else replies[0]


@contextlib.contextmanager
def running() -> Iterator[Site]:
    """A site that lasts as long as the context."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            reply = site.reply(self.path)
            span = self.headers.get("Range")
            start, stop = 0, len(reply.body)
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", span or "")
            partial = bool(found) and reply.ranges and reply.status == 200
            if partial:
                start = int(found[1])
                stop = min(stop, int(found[2]) + 1) if found[2] else stop
            if partial and start >= len(reply.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(reply.body)}")
                self.end_headers()
                return
            body = reply.body[start:stop]
            for limit in (reply.cut_after, reply.stall_after):
                if limit is not None:
                    body = body[: max(limit - start, 0)]
            # Before the reply: the test may look as soon as its client has that.
            site.asked.append(Asked(self.path, span, self.headers.get("Cookie"), time.time(), len(body)))
            self.send_response(206 if partial else reply.status)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(reply.body)}")
            stated = stop - start if reply.stated_length is None else reply.stated_length
            for name, value in {
                "Content-Type": reply.kind,
                "Content-Length": str(stated),
                **reply.headers,
            }.items():
                self.send_header(name, value)
            while reply.header_drip and not site.closing.wait(reply.header_drip):
                self.send_header("X-More", "a")
                self.flush_headers()
            self.end_headers()
            if reply.drip:
                for byte in body:
                    if site.closing.wait(reply.drip):
                        return
                    self.wfile.write(bytes([byte]))
            self.wfile.write(body)
            self.wfile.flush()
            if reply.stall_after is not None and reply.stall_after < stop:
                site.closing.wait()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None  # a client may go away at any time
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.closing.set()
        server.shutdown()
        server.server_close()
