"""A mirror of Kinetics on loopback: annotation files, lists of archives, and archives, good and hostile."""

import dataclasses
import gzip
import io
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.site import Reply, Site
from tests.videos import DOWNLOAD, Workspace
from vqcast.settings.data import Download, KineticsArchives, KineticsSelection, Network

HEADER = "label,youtube_id,time_start,time_end,split"
PATIENCE = Network(timeout=1.0, tries=3, pause=0.01, max_pause=2.0)


def youtube_id(number: int) -> str:
    return f"-id{number:08d}"  # as 744 of Kinetics-600's begin


def clip_id(number: int) -> str:
    return f"{youtube_id(number)}_000005_000015"


def annotation(number: int, split: str = "train", label: str = "cutting/slicing (fruit)") -> str:
    return f"{label},{youtube_id(number)},5,15,{split}"


def content(number: int, size: int = 3000) -> bytes:
    """Bytes that begin as an mp4 file does and cannot be packed smaller."""
    return b"\0\0\0\x20ftypisom" + random.Random(number).randbytes(size)


def file(number: int, data: bytes | None = None, name: str = "{}.mp4") -> tuple[tarfile.TarInfo, bytes]:
    """A member of an archive; `name` says how it follows from the clip's id."""
    return member(name.format(clip_id(number)), content(number) if data is None else data)


def member(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header, data


def special(number: int, kind: bytes, target: str = "/etc/passwd") -> tuple[tarfile.TarInfo, bytes]:
    """A link, a device, a folder: something with a clip's name that is no file."""
    header = tarfile.TarInfo(f"{clip_id(number)}.mp4")
    header.type, header.linkname = kind, target
    return header, b""


def pack(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar.gz archive."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for header, data in members:
            archive.addfile(header, io.BytesIO(data))
    return gzip.compress(tar.getvalue(), 1, mtime=0)


class Mirror:
    """Puts a small Kinetics-600 on a site, laid out as the CVDF mirror is."""

    def __init__(self, site: Site):
        self.site = site
        self.urls: list[str] = []

    def annotate(self, *lines: str) -> None:
        self.site.put("/600/annotations/all.csv", Reply("\n".join([HEADER, *lines, ""]).encode()))

    def archive(self, name: str, *replies: Reply | bytes) -> str:
        """Put an archive and its line on the list; replies as in `Site.put`, bytes for a plain one."""
        plain = [reply if isinstance(reply, Reply) else Reply(reply) for reply in replies]
        self.urls.append(self.site.put(f"/600/train/{name}.tar.gz", *plain))
        self.site.put("/600/train/k600_train_path.txt", Reply("\n".join([*self.urls, ""]).encode()))
        return self.urls[-1]

    def settings(self, **changes) -> Download:
        """Settings that fetch from this mirror and bear that every video but one fails."""
        base = f"{self.site.address}/600"
        return dataclasses.replace(
            DOWNLOAD,
            **{
                "source": "kinetics-archives",
                "max_failed_share": 1.0,
                "kinetics": KineticsSelection((f"{base}/annotations/all.csv",), ("train", "val"), None, None),
                "kinetics_archives": KineticsArchives((f"{base}/train/k600_train_path.txt",), 1 << 20),
                "network": PATIENCE,
                **changes,
            },
        )

    def spans(self, name: str) -> list[str | None]:
        """The Range of each request of an archive."""
        return [one.span for one in self.site.asked if one.path == f"/600/train/{name}.tar.gz"]


def by_clip(rows: Sequence[dict]) -> dict[int, dict]:
    """Rows by the number of their clip."""
    return {int(row["video"][3:11]): row for row in rows}


def outcomes(rows: Sequence[dict]) -> dict[int, str]:
    return {number: row["outcome"] for number, row in by_clip(rows).items()}


def stored(place: Workspace, row: dict) -> bytes:
    return (place.store / row["file"]).read_bytes()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def put_whole(mirror: Mirror, *replies: Reply) -> bytes:
    """Make this a mirror of one archive, of 12 clips, that answers so; returns the archive."""
    mirror.annotate(*(annotation(number) for number in range(12)))
    packed = pack(*(file(number) for number in range(12)))
    mirror.archive("part_0", *[dataclasses.replace(reply, body=reply.body or packed) for reply in replies])
    return packed


def all_came(place: Workspace, rows: Sequence[dict]) -> bool:
    """Whether each of those 12 clips is in the store, as it was packed."""
    came = {number: stored(place, row) for number, row in by_clip(rows).items() if row["outcome"] == "ok"}
    return came == {number: content(number) for number in range(12)}
