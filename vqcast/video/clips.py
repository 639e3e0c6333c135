"""The clip stage: consecutive clips of every video, in shards, and data/clips.parquet.

A unit is a few consecutive videos of raw.parquet. Its clips and rows go to two scratch files, which appear
when it is done; finished units are then poured into shards in the table's order. So neither the number of
workers nor a kill at any instant changes a byte.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqcast.errors import VqcastError
from vqcast.execution import run_units
from vqcast.files import appearing, publish_directory
from vqcast.settings import Clip
from vqcast.video.cutting import clips_of
from vqcast.video.exclusions import Exclusions
from vqcast.video.manifest import RAW, SPLITS, read_manifest, summary
from vqcast.video.shards import Shard, write_shard

VIDEOS_PER_UNIT = 8


@dataclass(frozen=True, eq=False)
class Unit:
    """Some videos to cut, and where in the scratch folder their clips and rows go."""

    index: int
    split: str
    videos: tuple[dict, ...]  # rows of raw.parquet
    store: Path
    scratch: Path
    settings: Clip
    least_frames: int  # a shorter clip holds no window

    @property
    def shard(self) -> Path:
        return self.scratch / f"unit-{self.index:06d}.arrow"

    @property
    def rows(self) -> Path:
        return self.scratch / f"unit-{self.index:06d}.json"


def make_clips(
    settings: Clip,
    least_frames: int,
    raw: str | Path,
    store: str | Path,
    exclusions: Exclusions,
    scratch: Path,
    out: str | Path,
) -> list[dict]:
    """Cut the videos that table `raw` pins in folder `store` into the shards of folder `out`.

    Excluded ones are left out. Clips shorter than `least_frames` are rejected. Returns the rows of
    data/clips.parquet. Raises VqcastError where a file is not the one that was downloaded, or where too many
    videos yield no clip.
    """
    videos = [
        row
        for row in read_manifest(raw, RAW)
        if row["status"] == "ok" and exclusions.reason(row["video"]) is None
    ]
    units = _units(videos, settings, least_frames, Path(store), scratch)
    for _ in run_units(cut_unit, units, "clip"):
        pass
    rows = {unit: json.loads(unit.rows.read_text()) for unit in units}
    _check_rejections([row for unit in units for row in rows[unit]], settings.max_rejected_share)
    folder = scratch / "shards"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for split in SPLITS:
        finished = [(unit, rows[unit]) for unit in units if unit.split == split]
        _pour(finished, folder, split, settings.clips_per_shard)
    publish_directory(folder, out)
    return [row for unit in units for row in rows[unit]]


def cut_unit(unit: Unit) -> None:
    """Cut a unit's videos, unless an earlier run has done so."""
    if unit.rows.is_file():  # it is the later of the two to appear
        return
    rows = []
    with appearing(unit.shard) as partial:
        write_shard(_cut_all(unit, rows), partial)
    with appearing(unit.rows) as partial:
        partial.write_text(json.dumps(rows))


def _units(videos: list[dict], settings: Clip, least_frames: int, store: Path, scratch: Path) -> list[Unit]:
    units = []
    for split in SPLITS:
        members = [row for row in videos if row["split"] == split]
        for start in range(0, len(members), VIDEOS_PER_UNIT):
            some = tuple(members[start : start + VIDEOS_PER_UNIT])
            units.append(Unit(len(units), split, some, store, scratch, settings, least_frames))
    return units


def _cut_all(unit: Unit, rows: list[dict]) -> Iterator[tuple[str, bytes]]:
    """Yield (clip id, mp4) of a unit's usable clips, and append the rows of all its clips to `rows`."""
    for video in unit.videos:
        for row, mp4 in clips_of(video, unit.store, unit.scratch, unit.settings, unit.least_frames):
            rows.append(row)
            if mp4 is not None:
                yield row["clip"], mp4


def _pour(
    finished: Sequence[tuple[Unit, list[dict]]], folder: Path, split: str, clips_per_shard: int
) -> None:
    """Write a split's shards from its units', and say in each clip's row where it is."""
    usable = [(unit, [row for row in rows if row["status"] == "ok"]) for unit, rows in finished]
    places = [(unit, position, row) for unit, rows in usable for position, row in enumerate(rows)]
    for start in range(0, len(places), clips_per_shard):
        some = places[start : start + clips_per_shard]
        shard = f"{split}-{start // clips_per_shard:05d}.arrow"
        write_shard((Shard(unit.shard)[position] for unit, position, _ in some), folder / shard)
        for number, (_, _, row) in enumerate(some):
            row |= {"shard": shard, "row": number}


def _check_rejections(rows: list[dict], max_share: float) -> None:
    videos = {row["video"] for row in rows}
    usable = {row["video"] for row in rows if row["status"] == "ok"}
    rejected = [row for row in rows if row["video"] not in usable]
    if not usable:
        raise VqcastError(f"none of the {len(videos)} videos is usable: {summary(rejected)}")
    if len(videos - usable) > max_share * len(videos):
        raise VqcastError(
            f"{len(videos - usable)} of {len(videos)} videos are unusable, more than clip.max_rejected_share "
            f"({max_share:g}) allows: {summary(rejected)}"
        )
