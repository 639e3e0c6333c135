"""Which videos share a shard: a function of the table of videos alone, stable as videos come and go."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from vqcast.sources.manifest import SPLITS


@dataclass(frozen=True)
class ShardPlace:
    """A shard, and the rows of raw.parquet whose videos it is for."""

    name: str  # train-00000
    rows: tuple[int, ...]


def lay_out(videos: Sequence[str], splits: Sequence[str | None], videos_per_shard: int) -> list[ShardPlace]:
    """The shards of every split, about `videos_per_shard` consecutive videos of that split each.

    A shard begins before a video whose SHA-256 of the id is a multiple of `videos_per_shard`, and in any case
    after 2 * `videos_per_shard` videos. So the ids say where shards end, not how many videos come before: a
    video more or less changes its own shard and, where that was a full one, those up to the next such id.
    Every row of the table counts, also of a video that failed, so that one which is had later moves no other.
    """
    shards = []
    for split in SPLITS:
        groups: list[list[int]] = []
        for row, (video, its_split) in enumerate(zip(videos, splits, strict=True)):
            if its_split != split:
                continue
            if not groups or len(groups[-1]) == 2 * videos_per_shard or _begins(video, videos_per_shard):
                groups.append([])
            groups[-1].append(row)
        shards += [ShardPlace(f"{split}-{n:05d}", tuple(rows)) for n, rows in enumerate(groups)]
    return shards


def _begins(video: str, videos_per_shard: int) -> bool:
    return int(sha256(video.encode()).hexdigest(), 16) % videos_per_shard == 0
