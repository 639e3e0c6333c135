"""What a source of videos is, and which ones there are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from vqcast.sources.store import Store, StoredFile


@dataclass(frozen=True, slots=True)  # there may be half a million
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


@dataclass(frozen=True, slots=True)
class Fetched:
    """A video, and either its file in the store or why there is none."""

    video: Video | None  # None: the request failed as a whole, and which videos it holds is not known
    stored: StoredFile | None
    outcome: str = "ok"  # one of vqcast/web/outcomes.py
    reason: str | None = None  # None if ok


class Source(Protocol):
    """Where videos come from.

    A request is what one worker fetches in one go: some files of a folder, an archive, one URL. It is
    picklable, and fetching it twice does no harm.
    """

    order: Sequence[str]  # the ids of all videos, once `plan` has made it: the order of their rows

    def plan(self) -> Sequence[object]:
        """The requests that make the collection, in its order; raises VqcastError if there are none."""
        ...

    def fetch(self, request: object, store: Store) -> list[Fetched]:
        """Bring the request's files into `store`: one Fetched a video, failed ones too."""
        ...

    def missing(self, fetched: Collection[Fetched]) -> list[Fetched]:
        """The videos that are wanted but not in `fetched`, which is what all requests gave."""
        ...
