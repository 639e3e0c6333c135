"""The source `kinetics-archives`: Kinetics' clips in tar.gz archives, as the CVDF mirror has them.

A list names an archive on each line; which clips it holds shows only when it is read. It is read once, from
begin to end, and its clips go to the store one after the other; the archive itself is never kept. What a
killed run has stored is not written again, but its archive is read again; one that was read whole is not.

Nothing in an archive decides where anything is written: a clip is a name in a table, and a file that the
store names by its content.
"""

import contextlib
import gzip
import hashlib
import io
import re
import shutil
import tarfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from vqcast.errors import VqcastError
from vqcast.settings.data import Download
from vqcast.sources.annotations import Segment
from vqcast.sources.exclusions import Exclusions
from vqcast.sources.kinetics import plan_segments, video_of
from vqcast.sources.sources import Fetched
from vqcast.sources.store import Store, StoredFile
from vqcast.web.http import Body, is_url, read_text
from vqcast.web.outcomes import TRANSIENT, FetchError

NAME = re.compile(r"([\w-]{11}_\d{6}_\d{6})\.mp4", re.ASCII)  # of a clip in an archive
LARGEST_EXPANSION = 16  # bytes unpacked for one packed; videos hardly shrink when they are packed
FREE_EXPANSION = 1 << 26  # bytes that may be unpacked before that counts
BLOCK = 1 << 18  # bytes read at once
LONGEST_NAME = 1 << 20  # bytes, with what else stands before a member
NAME_TYPES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class KineticsArchives:
    """Streams the archives of the lists; `plan` comes first."""

    def __init__(self, settings: Download, folder: Path, exclusions: Exclusions):
        self.settings = settings
        self.folder = folder
        self.exclusions = exclusions
        self.wanted: dict[str, Segment] = {}
        self.left_out: list[Fetched] = []
        self.order: list[str] = []

    def plan(self) -> Sequence[str]:
        """The URLs of the archives."""
        self.wanted, self.left_out, self.order = plan_segments(self.settings, self.folder, self.exclusions)
        urls = {}
        for place in self.settings.kinetics_archives.lists:
            for number, line in enumerate(
                read_text(place, self.folder, self.settings.network).splitlines(), 1
            ):
                url = line.strip()
                if url and not is_url(url):
                    raise VqcastError(f"{place}, line {number}: {url[:80]!r} is no URL of an archive")
                if url:
                    urls[url] = None
        if not urls:
            raise VqcastError("download.kinetics_archives.lists name no archive")
        return list(urls)

    def fetch(self, request: str, store: Store) -> list[Fetched]:
        fetched = self._from_earlier_run(request, store)
        if fetched is not None:
            return fetched
        taken: dict[str, Fetched] = {}
        refused: dict[str, list[str] | None] = {}  # of every clip, wanted or not
        try:
            for clip, file in clips_of(request, self.settings):
                if clip in refused:
                    continue
                refused[clip] = None
                if isinstance(file, FetchError):
                    got = file
                elif clip in self.wanted:
                    got = _take(file, archive_key(request, clip), store)
                else:
                    continue
                if isinstance(got, FetchError):
                    refused[clip] = [got.outcome, got.reason]
                if clip in self.wanted:
                    taken[clip] = self._fetched(request, clip, got)
        except FetchError as error:
            for clip in self.wanted.keys() - taken.keys():
                stored = store.find(archive_key(request, clip))
                if stored is not None:
                    taken[clip] = self._fetched(request, clip, stored)
            whole = Fetched(None, None, error.outcome, f"{request}: {error}")
            return [whole, *taken.values()]
        store.remember(archive_key(request), {"archive": request, "clips": refused})
        return list(taken.values())

    def missing(self, fetched: Collection[Fetched]) -> list[Fetched]:
        """What is not to be fetched, and what is in no archive, or in one that could not be read."""
        there = {one.video.video for one in fetched if one.video}
        unread = [one for one in fetched if one.video is None]
        outcome, reason = "absent", "in none of the archives"
        if unread:
            first = min(unread, key=lambda one: (one.outcome not in TRANSIENT, one.reason))
            outcome, reason = first.outcome, f"in none of the archives that could be read; {first.reason}"
        lost = [
            Fetched(video_of(segment), None, outcome, reason)
            for clip, segment in self.wanted.items()
            if clip not in there
        ]
        return self.left_out + lost

    def _from_earlier_run(self, url: str, store: Store) -> list[Fetched] | None:
        """What an archive gave that was read whole; None if it must be read."""
        note = store.recall(archive_key(url))
        if note is None:
            return None
        fetched = []
        for clip, refusal in note["clips"].items():
            if clip in self.wanted:
                got = FetchError(*refusal) if refusal else store.find(archive_key(url, clip))
                if got is None:
                    return None
                fetched.append(self._fetched(url, clip, got))
        return fetched

    def _fetched(self, url: str, clip: str, got: StoredFile | FetchError) -> Fetched:
        video = video_of(self.wanted[clip], f"{url}#{clip}.mp4")
        if isinstance(got, FetchError):
            return Fetched(video, None, got.outcome, got.reason)
        return Fetched(video, got)


def clips_of(url: str, settings: Download) -> Iterator[tuple[str, IO[bytes] | FetchError]]:
    """Yield each clip of an archive: its id, and a file to read from before the next is asked for.

    Instead of the file stands the reason why the clip is refused. What has no clip's name is passed over.
    Raises FetchError where the archive cannot be read on.
    """
    with (
        _damage_found(),
        Body(url, settings.network) as body,
        gzip.GzipFile(fileobj=body, mode="rb") as packed,
        _Unpacked(packed, body) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_Header) as archive,
    ):
        while (member := archive.next()) is not None:
            archive.members.clear()  # of no use in a stream
            name = NAME.fullmatch(PurePosixPath(member.name).name)
            if name is not None:
                refusal = _refusal(member, settings.kinetics_archives.max_clip_bytes)
                yield name[1], refusal or archive.extractfile(member)
        while unpacked.read(BLOCK):  # to the checksum at the end
            pass


@contextlib.contextmanager
def _damage_found() -> Iterator[None]:
    """Say as a FetchError that an archive cannot be read on; its clips too are read from it as they come."""
    try:
        yield
    except EOFError:
        raise FetchError("network", "it ends too early") from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error) as error:
        raise FetchError("corrupt", f"it is no sound tar.gz archive: {error}") from None


class _Header(tarfile.TarInfo):
    """tarfile takes damage past the first header for the archive's end, and reads names of any length."""

    @classmethod
    def frombuf(cls, buffer: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        header = super().frombuf(buffer, encoding, errors)
        if header.type in NAME_TYPES and header.size > LONGEST_NAME:
            raise FetchError("refused", f"it holds a name of {header.size} bytes")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise FetchError("corrupt", f"it is no sound tar.gz archive: {error}") from None


class _Unpacked(io.RawIOBase):
    """What an archive unpacks to, unless that is far more than what it is packed in."""

    def __init__(self, packed: gzip.GzipFile, body: Body):
        super().__init__()
        self.packed, self.body, self.count = packed, body, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self.packed.readinto(buffer)
        self.count += count
        if self.count > FREE_EXPANSION + LARGEST_EXPANSION * self.body.bytes_read:
            raise FetchError(
                "refused", f"it unpacks to more than {LARGEST_EXPANSION} times its size: {self.count} bytes"
            )
        return count


def _refusal(member: tarfile.TarInfo, max_bytes: int) -> FetchError | None:
    """Why a member that has a clip's name is not taken, from its header alone."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return FetchError("refused", f"its path in the archive leads outside: {member.name!r}")
    if not member.isreg() or member.issparse():
        kinds = {"islnk": "link", "issym": "link", "isdir": "folder", "isdev": "device or pipe"}
        kind = next((kind for test, kind in kinds.items() if getattr(member, test)()), "special file")
        return FetchError("refused", f"in the archive it is no file but a {kind}")
    if member.size > max_bytes:
        return FetchError(
            "refused",
            f"{member.size} bytes, more than download.kinetics_archives.max_clip_bytes ({max_bytes})",
        )
    if member.size == 0:
        return FetchError("no-video", "the file is empty")
    return None


def _take(file: IO[bytes], key: str, store: Store) -> StoredFile | FetchError:
    """Put a clip into the store, unless it is there already; or say why it is none."""
    stored = store.find(key)
    if stored is not None:
        return stored
    with store.workplace() as folder:
        path = folder / "clip.mp4"
        with open(path, "wb") as copy, _damage_found():
            head = file.read(512)
            copy.write(head)
            shutil.copyfileobj(file, copy, BLOCK)
        if b"\0" not in head:  # the length of an mp4's first box has one
            begin = head[:40].decode(errors="replace")
            return FetchError("no-video", f"the file is a text, no video; it begins with {begin!r}")
        return store.move_in(path, ".mp4", key)


def archive_key(url: str, clip: str = "") -> str:
    """What the store knows a clip of an archive by, and the archive itself."""
    return hashlib.sha256(f"{url}\n{clip}".encode()).hexdigest()
