"""What both sources of Kinetics have in common: which segments to fetch, and how a segment is a video."""

from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.settings.data import Download
from vqcast.sources.annotations import Segment, select
from vqcast.sources.exclusions import Exclusions
from vqcast.sources.sources import Fetched, Video
from vqcast.web.http import read_text


def plan_segments(
    settings: Download, folder: Path, exclusions: Exclusions
) -> tuple[dict[str, Segment], list[Fetched], list[str]]:
    """The segments to fetch, by id; a row for each that is wanted but must not be fetched; and all ids.

    The ids are in the order in which the annotation files first name them, so that new lines come last.
    """
    selection = select(settings.kinetics, lambda place: read_text(place, folder, settings.network))
    left_out = [
        Fetched(video_of(segment), None, "held-out", f"its YouTube video is in the split {split} too")
        for segment, split in selection.in_two_splits.items()
    ]
    wanted = {}
    for segment in selection.wanted:
        reason = exclusions.reason(segment.id)
        if reason is None:
            wanted[segment.id] = segment
        else:
            left_out.append(Fetched(video_of(segment), None, "excluded", reason))
    if not wanted:
        raise VqcastError("all segments that download.kinetics selects are in two splits or excluded")
    return wanted, left_out, list(selection.order)


def video_of(segment: Segment, url: str | None = None) -> Video:
    """The video that a segment is, cut already; Kinetics' test split is judged on, as val is."""
    split = "train" if segment.split == "train" else "val"
    return Video(segment.id, segment.label, split, url, segment.licence)
