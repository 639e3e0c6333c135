"""Which clips every table of clips lists, of all commits, so that one video is found at once.

A file in the scratch folder, which neither git nor DVC keeps. It is a cache: all it holds is keyed by the
hash of what it was made from; it is only ever extended, and made anew when it is damaged, edited or of
another version. A clip that several tables list alike is a row; a table is a list of ranges of rows.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vqcast.errors import VqcastError
from vqcast.lineage.evidence import Evidence
from vqcast.lineage.locks import CLIPS, RAW, Entry, Lock
from vqcast.lineage.seal import Seal
from vqcast.sources.exclusions import SEGMENT

PLACE = Path(".vqcast/lineage.sqlite")
VERSION = 2
TEXTS = ("clip", "video", "split", "shard", "label", "licence", "url")
SPAN = ("start", "end")
REPEATED = ("split", "shard", "label", "licence")  # few values, each hashed once
CONTENTS = ("sha256", "video_sha256")  # hex in the table, 32 bytes here
COLUMNS = (*TEXTS, *SPAN, *CONTENTS)
UNREADABLE = (VqcastError, pa.ArrowException, OSError, ValueError, KeyError, TypeError)
ORDER = ("video", "clip", "split", "shard", "sha256")
ROWS_AT_ONCE = 50_000  # of a table, in memory
DIGITS = np.full(256, 255, np.uint8)  # value of each hex digit, by its code
DIGITS[list(b"0123456789abcdef")] = range(16)
SCHEMA = """
CREATE TABLE clip (
    id INTEGER PRIMARY KEY, key INTEGER, clip TEXT, video TEXT, split TEXT, shard TEXT, label TEXT,
    licence TEXT, url TEXT, start REAL, end REAL, sha256 BLOB, video_sha256 BLOB, segment TEXT
);
CREATE TABLE manifest (md5 TEXT PRIMARY KEY, clips INTEGER, ranges BLOB);
CREATE TABLE raw (md5 TEXT PRIMARY KEY);
CREATE TABLE had (video TEXT, sha256 BLOB, segment TEXT, PRIMARY KEY (video, sha256)) WITHOUT ROWID;
CREATE INDEX had_by_segment ON had (segment) WHERE segment IS NOT NULL;
CREATE INDEX had_by_content ON had (sha256);
CREATE TABLE lock (blob TEXT PRIMARY KEY, entries TEXT);
"""
INDEXES = """
CREATE INDEX IF NOT EXISTS by_video ON clip (video);
CREATE INDEX IF NOT EXISTS by_segment ON clip (segment) WHERE segment IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_clip ON clip (clip);
CREATE INDEX IF NOT EXISTS by_content ON clip (sha256);
CREATE INDEX IF NOT EXISTS by_video_content ON clip (video_sha256);
"""


class Index:
    """The index of the project at `root`, for one question at a time; to be used in a `with` statement."""

    def __init__(self, root: Path):
        self.path = root / PLACE
        self._seal = Seal(self.path)
        self._made = False
        journal = self.path.with_name(f"{self.path.name}-journal")
        if self.path.exists() and (journal.exists() or not self._seal.fits()):
            print("index: it is not as it was made; it is made anew", file=sys.stderr)
            self._remove()
        try:
            self._open()
        except sqlite3.DatabaseError:
            self._remove()
            self._open()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        changed = self._db.total_changes > 0
        self._db.close()
        if changed or self._made:
            self._seal.renew()
        self._seal.let_go()

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path, timeout=600)
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            self._db.close()
            self._remove()
            self._db = sqlite3.connect(self.path, timeout=600)
            self._made = True
            self._db.executescript(f"{SCHEMA}PRAGMA user_version = {VERSION};")
        self._db.row_factory = sqlite3.Row

    def locks(self, evidence: Evidence) -> dict[str, Lock]:
        """What every commit's dvc.lock says, without code and parameters, by blob; lost ones left out."""
        blobs = {commit.blob for commit in evidence.commits}
        known = {b: t for b, t in self._db.execute("SELECT blob, entries FROM lock") if b in blobs}
        new = [commit for commit in evidence.commits if commit.blob not in known]
        for blob, lock in evidence.history.locks(new).items():
            entries = [[entry.stage, entry.inputs, dict(entry.outs)] for entry in lock.entries.values()]
            known[blob] = json.dumps(entries)
            with self._db:
                self._db.execute("INSERT OR IGNORE INTO lock VALUES (?, ?)", (blob, known[blob]))
        return {blob: _lock(json.loads(text)) for blob, text in known.items()}

    def add(self, evidence: Evidence, manifests: Iterable[str]) -> list[str]:
        """Take in the tables of clips with these hashes; returns why any cannot be, a sentence each."""
        lost: list[str] = []
        known = None
        for md5, path in self._new(evidence, CLIPS, "manifest", manifests, lost):
            began = time.monotonic()
            known = known or _Known(self._db)
            try:
                with self._db:
                    added = self._add(md5, path, known)
            except UNREADABLE as error:
                lost.append(f"{CLIPS} (md5 {md5}) cannot be read: {' '.join(str(error).split())}")
                continue
            seconds = time.monotonic() - began
            print(
                f"index: {CLIPS} {md5[:12]}: {added} clips not seen before, {seconds:.1f} s", file=sys.stderr
            )
        if known:
            with self._db:
                self._db.executescript(INDEXES)
        return lost

    def add_raw(self, evidence: Evidence, tables: Iterable[str]) -> list[str]:
        """Take in which content every video had in these tables of videos; returns why any cannot be."""
        lost: list[str] = []
        for md5, path in self._new(evidence, RAW, "raw", tables, lost):
            try:
                with self._db:
                    self._add_contents(path)
                    self._db.execute("INSERT INTO raw VALUES (?)", (md5,))
            except UNREADABLE as error:
                lost.append(f"{RAW} (md5 {md5}) cannot be read: {' '.join(str(error).split())}")
        return lost

    def _add_contents(self, path: Path) -> None:
        for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=["video", "sha256"]):
            rows = zip(*batch.to_pydict().values(), strict=True)
            had = ((video, bytes.fromhex(sha256), _segment(video)) for video, sha256 in rows if sha256)
            self._db.executemany("INSERT OR IGNORE INTO had VALUES (?, ?, ?)", had)

    def _new(
        self, evidence: Evidence, path: str, table: str, tables: Iterable[str], lost: list[str]
    ) -> Iterator[tuple[str, Path]]:
        """Hash and place of the contents of `path` that `table` has not yet; `lost` gets those not here."""
        there = {md5 for (md5,) in self._db.execute(f"SELECT md5 FROM {table}")}
        for md5 in dict.fromkeys(tables):
            if md5 not in there:
                try:
                    yield md5, evidence.objects.file(path, md5)
                except VqcastError as error:
                    lost.append(str(error))

    def _add(self, md5: str, path: Path, known: "_Known") -> int:
        """Take in a table; returns how many of its clips were not known. It is read a batch at a time."""
        all_ids, new_rows = [np.empty(0, np.int64)], []
        next_id = known.next_id
        file = pq.ParquetFile(path, read_dictionary=REPEATED)
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[*COLUMNS, "status"]):
            table = pa.Table.from_batches([batch])
            table = table.filter(pc.equal(table["status"], "ok")).select(COLUMNS).combine_chunks()
            try:
                contents = {name: _digests(table[name]) for name in CONTENTS}
            except ValueError:
                raise VqcastError("it states a SHA-256 that is none") from None
            keys = _keys(table, contents)
            ids, new = known.find(keys, contents["sha256"])
            rows = np.flatnonzero(new)
            ids[rows] = np.arange(next_id, next_id + len(rows))
            next_id += len(rows)
            self._insert(
                table.take(pa.array(rows)), ids[rows], keys[rows], {k: v[rows] for k, v in contents.items()}
            )
            all_ids.append(ids)
            new_rows.append(_Rows(keys[rows], _first_bytes(contents["sha256"][rows]), ids[rows]))
        known.add(new_rows)
        ids = np.concatenate(all_ids)
        listed = np.zeros(known.next_id, bool)
        listed[ids] = True
        ranges = _ranges(np.flatnonzero(listed))
        self._db.execute("INSERT INTO manifest VALUES (?, ?, ?)", (md5, len(ids), ranges.tobytes()))
        return sum(len(rows.ids) for rows in new_rows)

    def _insert(self, table: pa.Table, ids: np.ndarray, keys: np.ndarray, contents: dict) -> None:
        texts = [table[name].to_pylist() for name in (*TEXTS, *SPAN)]
        digests = [map(np.ndarray.tobytes, contents[name]) for name in CONTENTS]
        columns = [ids.tolist(), keys.view(np.int64).tolist(), *texts, *digests, map(_segment, texts[1])]
        self._db.executemany(
            f"INSERT INTO clip VALUES ({', '.join('?' * len(columns))})", zip(*columns, strict=True)
        )

    def by_name(self, name: str) -> list[dict]:
        """The clips of the video, of the YouTube video, or that are the clip of this id."""
        return self._select("video = ? OR segment = ? OR clip = ?", (name, name, name))

    def by_contents(self, contents: Iterable[bytes]) -> list[dict]:
        """The clips with one of these contents, or that were cut from a file with one, whatever they are
        called."""
        found = {}
        for digest in contents:
            for clip in self._select("video_sha256 = ? OR sha256 = ?", (digest, digest)):
                found[clip["id"]] = clip
        return sorted(found.values(), key=lambda clip: [clip[name] or "" for name in ORDER])

    def contents_of(self, name: str) -> dict[str, set[bytes]]:
        """The SHA-256 of every content that the video, or each segment of the YouTube video, ever had."""
        contents: dict[str, set[bytes]] = {}
        query = "SELECT video, sha256 FROM had WHERE video = ? OR segment = ?"
        for video, sha256 in self._db.execute(query, (name, name)):
            contents.setdefault(video, set()).add(sha256)
        return contents

    def videos_with(self, contents: Iterable[bytes]) -> set[str]:
        """The videos that had one of these contents when they were downloaded."""
        query = "SELECT video FROM had WHERE sha256 = ?"
        return {video for digest in contents for (video,) in self._db.execute(query, (digest,))}

    def _select(self, condition: str, values: Sequence[object]) -> list[dict]:
        query = f"SELECT * FROM clip WHERE {condition} ORDER BY {', '.join(ORDER)}"
        rows = [dict(row) for row in self._db.execute(query, values)]
        for row in rows:
            row |= {name: row[name].hex() for name in CONTENTS}
        return rows

    def holders(self, clip_ids: Sequence[int]) -> dict[str, set[int]]:
        """Which of these clips each table lists, by the table's hash."""
        wanted = np.array(sorted(clip_ids), np.int64)
        found = {}
        for md5, blob in self._db.execute("SELECT md5, ranges FROM manifest"):
            starts, ends = np.frombuffer(blob, np.int64).reshape(2, -1)
            place = np.searchsorted(starts, wanted, side="right") - 1
            inside = (place >= 0) & (wanted < ends[np.maximum(place, 0)]) if len(starts) else place >= 0
            if inside.any():
                found[md5] = set(wanted[inside].tolist())
        return found

    def manifests(self) -> set[str]:
        return {md5 for (md5,) in self._db.execute("SELECT md5 FROM manifest")}


class _Rows(NamedTuple):
    """What rows of the index are found by, each (N,)."""

    keys: np.ndarray  # uint64, hashes of all columns
    contents: np.ndarray  # uint64, the first bytes of the clips' own SHA-256
    ids: np.ndarray  # int64

    @classmethod
    def of(cls, columns: Sequence[tuple[int, bytes, int]]) -> "_Rows":
        count = len(columns)
        keys = np.fromiter((row[0] for row in columns), np.int64, count)
        contents = np.frombuffer(b"".join(row[1] for row in columns), np.uint64)
        return cls(keys.view(np.uint64), contents, np.fromiter((row[2] for row in columns), np.int64, count))

    @classmethod
    def none(cls) -> "_Rows":
        return cls.of([])


class _Known:
    """The rows that the index has, found by key."""

    def __init__(self, db: sqlite3.Connection):
        self._rows = _Rows.none()
        self.next_id = 1
        rows = db.execute("SELECT key, substr(sha256, 1, 8), id FROM clip")
        self.add([_Rows.of(some) for some in iter(lambda: rows.fetchmany(ROWS_AT_ONCE), [])])

    def find(self, keys: np.ndarray, contents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the rows with these keys and contents, and which have none."""
        known = self._rows
        if not len(known.ids):
            return np.zeros(len(keys), np.int64), np.ones(len(keys), bool)
        place = np.minimum(np.searchsorted(known.keys, keys), len(known.keys) - 1)
        # 64 bits of the hash of all columns, and 64 of the clip's own SHA-256
        same = (known.keys[place] == keys) & (known.contents[place] == _first_bytes(contents))
        return np.where(same, known.ids[place], 0), ~same

    def add(self, rows: Sequence[_Rows]) -> None:
        joined = _Rows(*map(np.concatenate, zip(self._rows, *rows, strict=True)))
        order = np.argsort(joined.keys, kind="stable")
        self._rows = _Rows(*(column[order] for column in joined))
        self.next_id = int(joined.ids.max(initial=0)) + 1


def _keys(table: pa.Table, contents: dict[str, np.ndarray]) -> np.ndarray:
    """A hash of every row, uint64."""
    import pandas as pd  # not at the top: who only asks need not wait for it

    parts = [pd.util.hash_array(table[name].to_pandas().values, categorize=False) for name in (*TEXTS, *SPAN)]
    parts += [_first_bytes(contents[name]) for name in CONTENTS]
    keys = np.zeros(len(table), np.uint64)
    for part in parts:
        keys = (keys ^ part) * np.uint64(0x9E3779B97F4A7C15)  # odd, so that nothing is lost
        keys ^= keys >> np.uint64(32)
    return keys


def _digests(column: pa.ChunkedArray) -> np.ndarray:
    """Texts of 64 hex digits as bytes, uint8 (N, 32); ValueError where one is something else."""
    if not len(column):
        return np.empty((0, 32), np.uint8)
    (texts,) = column.chunks
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if texts.null_count or (np.diff(ends) != 64).any():
        raise ValueError("not 64 digits")
    digits = DIGITS[np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]].reshape(-1, 64)
    if (digits > 15).any():
        raise ValueError("no hex digits")
    return digits[:, 0::2] << 4 | digits[:, 1::2]


def _first_bytes(digests: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(digests[:, :8]).view(np.uint64).ravel()


def _ranges(ids: np.ndarray) -> np.ndarray:
    """Sorted ids as ranges: int64 (2, R), their starts and their ends."""
    breaks = np.flatnonzero(np.diff(ids) != 1)
    starts = ids[np.concatenate([[0], breaks + 1])] if len(ids) else ids
    ends = ids[np.concatenate([breaks, [len(ids) - 1]])] + 1 if len(ids) else ids
    return np.stack([starts, ends]).astype(np.int64)


def _segment(video: str) -> str | None:
    """The YouTube video that it is a segment of."""
    found = SEGMENT.fullmatch(video)
    return found[1] if found else None


def _lock(entries: list) -> Lock:
    return Lock({stage: Entry(stage, "", inputs, outs, {}) for stage, inputs, outs in entries})
