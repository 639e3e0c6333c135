"""The clip stage: consecutive clips of every video, in shards, and data/clips.parquet.

`layout.py` says which videos share a shard. A shard is known by its key: all that its bytes follow from. One
that an earlier run finished is not made again. The others are cut a few videos at a time, in units whose
clips and rows go to two scratch files of their own, and a shard is put together once its last unit is done.
So neither the number of workers nor a kill at any instant changes a byte, and a run after some videos came or
went cuts those shards alone that they belong to.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vqcast.clips.cutting import clips_of
from vqcast.clips.layout import lay_out
from vqcast.clips.shards import Shard, write_shard
from vqcast.errors import VqcastError
from vqcast.settings.data import Clip
from vqcast.sources.exclusions import Exclusions
from vqcast.sources.manifest import RAW, read_table, summary
from vqcast.work.execution import run_units
from vqcast.work.files import appearing, publish_directory
from vqcast.work.finished import FinishedShards

VIDEOS_PER_UNIT = 8
SHAPING = ("video", "file", "sha256", "start", "end")  # what a video's clips follow from
CARRIED = ("label", "split", "licence", "attribution", "url")  # what a clip's row says as its video's does


@dataclass(frozen=True)
class Unit:
    """Some videos of a shard to cut, and where in the scratch folder their clips and rows go."""

    name: str
    videos: tuple[dict, ...]  # rows of raw.parquet
    store: Path
    scratch: Path
    settings: Clip
    least_frames: int  # a shorter clip holds no window

    @property
    def shard(self) -> Path:
        return self.scratch / f"{self.name}.arrow"

    @property
    def rows(self) -> Path:
        return self.scratch / f"{self.name}.json"


class ShardPlan:
    """What raw.parquet makes of its videos: shards by number, each with a name, a key and videos to cut."""

    def __init__(self, raw: str | Path, videos_per_shard: int, exclusions: Exclusions):
        self._table = read_table(raw, RAW, RAW.names).combine_chunks()
        columns = ("video", "split", "status", "sha256")
        videos, splits, status, contents = (self._table[name].to_pylist() for name in columns)
        excluded = exclusions.taken_out(dict(zip(videos, contents, strict=True)))
        self._rows: list[list[int]] = []  # of the videos that were had
        self.names: list[str] = []
        self.keys: list[str] = []
        for place in lay_out(videos, splits, videos_per_shard):
            had = (row for row in place.rows if status[row] == "ok")
            rows = [row for row in had if videos[row] not in excluded]
            if rows:
                self._rows.append(rows)
                self.names.append(f"{place.name}.arrow")
                self.keys.append(self._key(len(self.keys)))

    @functools.lru_cache(maxsize=2)  # noqa: B019 the plan lives as long as the stage
    def videos(self, shard: int) -> list[dict]:
        """The rows of raw.parquet that a shard is cut from."""
        return self._table.take(pa.array(self._rows[shard])).to_pylist()

    def units(self, shard: int) -> range:
        """Numbers of the units that a shard is cut in."""
        return range(-(-len(self._rows[shard]) // VIDEOS_PER_UNIT))

    def _key(self, shard: int) -> str:
        shaping = [[video[name] for name in SHAPING] for video in self.videos(shard)]
        return hashlib.sha256(json.dumps(shaping).encode()).hexdigest()


class Units(Sequence):
    """The units of some shards; a unit is made when it is asked for."""

    def __init__(self, plan: ShardPlan, shards: Sequence[int], **rest: object):
        self.plan, self.rest = plan, rest
        self.places = [(shard, number) for shard in shards for number in plan.units(shard)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Unit:
        return self.unit(*self.places[index])

    def unit(self, shard: int, number: int) -> Unit:
        first = number * VIDEOS_PER_UNIT
        videos = tuple(self.plan.videos(shard)[first : first + VIDEOS_PER_UNIT])
        return Unit(f"{self.plan.keys[shard]}-{number:05d}", videos, **self.rest)


def shaping_clips(settings: Clip) -> Clip:
    """`settings` without what no clip's bytes follow from: these are set to what they never are."""
    return dataclasses.replace(settings, max_rejected_share=0.0, videos_per_shard=1)


def make_clips(
    settings: Clip,
    least_frames: int,
    raw: str | Path,
    store: str | Path,
    exclusions: Exclusions,
    scratch: Path,
    out: str | Path,
) -> Iterator[dict]:
    """Cut the videos that table `raw` pins in folder `store` into the shards of folder `out`.

    Excluded ones are left out. Clips shorter than `least_frames` are rejected. Returns the rows of
    data/clips.parquet, read from `scratch` as they are asked for; that folder is for these settings and this
    code alone, and keeps what the next run can use. Raises VqcastError where a file is not the one that was
    downloaded, or where too many videos yield no clip.
    """
    plan = ShardPlan(raw, settings.videos_per_shard, exclusions)
    shards = FinishedShards(scratch / "shards", ".arrow")
    whole = shards.whole(plan.keys)
    missing = [shard for shard, key in enumerate(plan.keys) if key not in whole]
    folder = scratch / "units"
    folder.mkdir(exist_ok=True)
    units = Units(
        plan, missing, store=Path(store), scratch=folder, settings=settings, least_frames=least_frames
    )
    left = Counter(shard for shard, _ in units.places)
    for index, _ in run_units(cut_unit, units, "clip"):
        shard, _ = units.places[index]
        left[shard] -= 1
        if not left[shard]:
            _join(shards, plan.keys[shard], [units.unit(shard, number) for number in plan.units(shard)])
    _check_rejections((shards.note(key)["rows"] for key in plan.keys), settings.max_rejected_share)
    usable = {name: key for name, key in zip(plan.names, plan.keys, strict=True) if shards.note(key)["clips"]}
    shards.publish_into(scratch / "published", usable)
    publish_directory(scratch / "published", out)
    shards.keep_only(plan.keys)
    shutil.rmtree(folder)
    return _rows(plan, shards)


def cut_unit(unit: Unit) -> None:
    """Cut a unit's videos, unless an earlier run has done so."""
    if unit.rows.is_file():  # it is the later of the two to appear
        return
    rows = []
    with appearing(unit.shard) as partial:
        write_shard(_cut_all(unit, rows), partial)
    with appearing(unit.rows) as partial:
        partial.write_text(json.dumps(rows))


def _cut_all(unit: Unit, rows: list[dict]) -> Iterator[tuple[str, bytes]]:
    """Yield (clip id, mp4) of a unit's usable clips, and append the rows of all its clips to `rows`."""
    for video in unit.videos:
        for row, mp4 in clips_of(video, unit.store, unit.scratch, unit.settings, unit.least_frames):
            rows.append(row)
            if mp4 is not None:
                yield row["clip"], mp4


def _join(shards: FinishedShards, key: str, units: Sequence[Unit]) -> None:
    """Finish a shard from its units, which are not needed any more then."""
    rows = [row for unit in units for row in json.loads(unit.rows.read_text())]
    with shards.appearing(
        key, {"rows": rows, "clips": sum(row["status"] == "ok" for row in rows)}
    ) as partial:
        parts = (Shard(unit.shard) for unit in units)
        write_shard((part[number] for part in parts for number in range(len(part))), partial)
    for unit in units:
        unit.rows.unlink()
        unit.shard.unlink()


def _rows(plan: ShardPlan, shards: FinishedShards) -> Iterator[dict]:
    """A row a clip: what became of it, where it is, and what the table of videos says of its video now."""
    for shard, (name, key) in enumerate(zip(plan.names, plan.keys, strict=True)):
        carried = {video["video"]: {field: video[field] for field in CARRIED} for video in plan.videos(shard)}
        place = itertools.count()
        for row in shards.note(key)["rows"]:
            where = {"shard": name, "row": next(place)} if row["status"] == "ok" else {}
            yield row | where | carried[row["video"]]


def _check_rejections(shards: Iterable[list[dict]], max_share: float) -> None:
    """Raise VqcastError where too few videos are usable; `shards` are the rows of each."""
    videos = usable = 0
    rejected = []
    for rows in shards:
        good = {row["video"] for row in rows if row["status"] == "ok"}
        videos += len({row["video"] for row in rows})
        usable += len(good)
        rejected += [row for row in rows if row["video"] not in good]
    if not usable:
        raise VqcastError(f"none of the {videos} videos is usable: {summary(rejected)}")
    if videos - usable > max_share * videos:
        raise VqcastError(
            f"{videos - usable} of {videos} videos are unusable, more than clip.max_rejected_share "
            f"({max_share:g}) allows: {summary(rejected)}"
        )
