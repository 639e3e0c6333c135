"""What a source of videos is, and which ones there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vqcast.video.store import Store, StoredFile


class FetchError(Exception):
    """One video cannot be had; its text is the reason in the video's row."""


@dataclass(frozen=True)
class Video:
    """A video that a source knows of, before it is fetched."""

    video: str  # unique id
    label: str
    split: str | None  # None: decided by the content
    url: str | None = None
    licence: str | None = None
    attribution: str | None = None
    start: float | None = None  # seconds
    end: float | None = None


@dataclass(frozen=True)
class Fetched:
    """A video, and either its file in the store or the reason why there is none."""

    video: Video
    stored: StoredFile | None
    reason: str | None = None


class Source(Protocol):
    """Where videos come from.

    A request is what one worker fetches in one go: some files of a folder, an archive, one URL. It is
    picklable, and fetching it twice does no harm.
    """

    def plan(self) -> Sequence[object]:
        """The requests that make the collection, in its order; raises VqcastError if there are none."""
        ...

    def fetch(self, request: object, store: Store) -> list[Fetched]:
        """Bring the request's files into `store`: one Fetched a video, failed ones too."""
        ...
