"""Whose clips are shown, and whether their licence allows it."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from vqcast.clips.windows import Clips, WindowRef
from vqcast.sources.manifest import CLIPS, read_table

VERSION = re.compile(r"[\d.]+(-[a-z]+)?")  # and, as in CC-BY-3.0-DE, the country

CREDITS = ("video", "label", "licence", "attribution", "url")


def credits_of(clips: Clips, refs: Sequence[WindowRef]) -> list[dict]:
    """The CREDITS of the clip of each window."""
    rows = read_table(clips.manifest, CLIPS, ["clip", *CREDITS])
    wanted = rows.filter(pc.field("clip").isin(pa.array([ref.clip for ref in refs])))
    by_clip = {row["clip"]: row for row in wanted.to_pylist()}
    return [by_clip[ref.clip] for ref in refs]


def web_address(url: str | None) -> str | None:
    """`url` if it is one that a page may link to."""
    return url if host_of(url) and urlsplit(url).scheme in ("http", "https") else None


def host_of(url: str | None) -> str | None:
    """The host that a URL names; None where there is none, or it is no URL."""
    try:
        return urlsplit(url or "").hostname
    except ValueError:
        return None


def may_be_shown(licence: str | None, allowed: Sequence[str]) -> bool:
    """Whether `licence` is one of the `allowed` ones, or a version of one; None, an unknown licence, is not.

    Spelling counts as far as letters, digits, dots and brackets do: "CC BY 4.0" is CC-BY-4.0, a version of
    CC-BY. "CC-BY-NC-4.0" and "MIT (clips of third parties)" are no versions of CC-BY and MIT.
    """
    stated = _plain(licence or "")
    return any(_is(stated, _plain(name)) for name in allowed)


def _is(stated: str, name: str) -> bool:
    if not name or not stated.startswith(name):
        return False
    rest = stated[len(name) :]
    return not rest or (rest[0] == "-" and VERSION.fullmatch(rest[1:]) is not None)


def _plain(licence: str) -> str:
    return re.sub(r"[\s_-]+", "-", licence.strip().casefold())
