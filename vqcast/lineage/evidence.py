"""All that an audit reads: git, the runs, the contents by hash, and the videos of a table of clips."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vqcast.errors import VqcastError
from vqcast.lineage.history import WORKSPACE, Commit, History
from vqcast.lineage.locks import CLIPS, Chain, Chains, Entry, Lock
from vqcast.lineage.objects import Objects
from vqcast.lineage.runs import FOLDER, Runs

VIDEO = ("video", "video_sha256", "split", "label", "licence", "url")  # what a video's clips have in common


class Evidence:
    """The project at `root`, as it is and as it was."""

    def __init__(self, root: Path):
        self.root = root
        self.history = History(root)
        self.objects = Objects(root)

    @functools.cached_property
    def commits(self) -> list[Commit]:
        return self.history.commits()

    @functools.cached_property
    def _locks(self) -> list[Lock]:
        return list(self.history.locks(self.commits).values())

    def lost_history(self) -> list[str]:
        """Why commits may have made or read what is not known here; a sentence each."""
        self.commits  # noqa: B018 looking for them tells what is lost
        runs = self.runs(WORKSPACE)
        began = {run.commit: run.stage for run in runs.all if run.commit}
        gone = self.history.missing(began)
        return [
            *self.history.lost,
            *runs.lost,
            *(
                f"{began[sha]} ran at commit {sha[:12]}, which this repository does not have: "
                "history was cut off or rewritten"
                for sha in gone
            ),
        ]

    def unexplained(self, entries: Iterable[Entry], runs: Runs) -> list[str]:
        """Why no run accounts for these entries of a dvc.lock; a sentence each.

        A run that is not there says something only where runs were ever recorded.
        """
        recorded = functools.cache(lambda: bool(runs.all) or self.history.ever_had(FOLDER))
        why = ((runs.contradiction(entry), runs.unexplained(entry)) for entry in entries)
        return [other or none for other, none in why if other or (none and recorded())]

    def chain(self, lock: Lock, path: str, md5: str) -> Chain:
        """All that led to the content `md5` of `path`: as `lock` says, else as any commit's dvc.lock does."""
        chain = Chains([lock]).of(path, md5)
        return Chains([lock, *self._locks]).of(path, md5) if chain.missing else chain

    def runs(self, revision: str) -> Runs:
        """The runs that a revision or the folder itself tells of."""
        return Runs(self.history, dict.fromkeys([revision, WORKSPACE]))

    def model(self, path: str, revision: str) -> "Model":
        """A model of a revision, by its folder; VqcastError where there is none."""
        path = path.rstrip("/")
        lock = self.history.lock(revision)
        if path not in lock.models:
            there = ", ".join(sorted(lock.models)) or "none"
            raise VqcastError(f"there is no model {path!r} in {revision}; there is {there}")
        md5 = lock.models[path]
        return Model(path, md5, revision, lock, self.chain(lock, path, md5))

    def videos(self, md5: str) -> list[dict]:
        """The videos of the table of clips that has this hash: a dict of VIDEO, start, end, clips."""
        return read_videos(self.objects.file(CLIPS, md5))


@dataclass(frozen=True)
class Model:
    """A trained model and how it came to be."""

    path: str
    md5: str
    revision: str
    lock: Lock
    chain: Chain

    @property
    def manifests(self) -> list[str]:
        """Hashes of the tables of clips that it learned from, directly or through another model."""
        return self.chain.hashes(CLIPS)


def read_videos(path: Path) -> list[dict]:
    """The videos that a table of clips has usable clips of, in order of id."""
    import pyarrow.compute as pc

    from vqcast.sources.manifest import CLIPS as SCHEMA
    from vqcast.sources.manifest import read_table

    table = read_table(path, SCHEMA, [*VIDEO, "clip", "start", "end", "status"])
    table = table.filter(pc.field("status") == "ok")
    grouped = table.group_by(VIDEO, use_threads=False)
    found = grouped.aggregate([("start", "min"), ("end", "max"), ("clip", "count")])
    names = {"start_min": "start", "end_max": "end", "clip_count": "clips"}
    found = found.rename_columns([names.get(name, name) for name in found.column_names])
    return found.sort_by([("video", "ascending"), ("split", "ascending")]).to_pylist()


def source_of(video: dict, kind: str) -> str:
    """Where a video comes from: the host of its URL, else the kind of source that it was had from."""
    return urlsplit(video["url"] or "").hostname or kind


def union(tables: Sequence[list[dict]]) -> list[dict]:
    """The videos of several tables, each once."""
    told: dict[tuple, dict] = {}
    for table in tables:
        for video in table:
            told.setdefault(tuple(video[name] for name in VIDEO), video)
    return list(told.values())
