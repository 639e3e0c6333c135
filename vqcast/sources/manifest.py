"""The two tables of videos: data/raw.parquet, a row a video, and data/clips.parquet, a row a clip."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vqcast.errors import VqcastError
from vqcast.work.files import appearing

SPLITS = ("train", "val")
NOTES = b"notes"  # in the file's metadata: a JSON list of sentences
ROWS_AT_ONCE = 10_000  # held as Python objects while a table is written

RAW = pa.schema(
    [
        ("video", pa.string()),  # unique
        ("label", pa.string()),
        ("split", pa.string()),
        ("url", pa.string()),  # null: never had one
        ("licence", pa.string()),
        ("attribution", pa.string()),
        ("file", pa.string()),  # relative to the store; null unless ok
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("start", pa.float64()),  # seconds; null: from the beginning
        ("end", pa.float64()),  # seconds; null: to the end
        ("status", pa.string()),  # ok | failed | excluded
        ("outcome", pa.string()),  # one of vqcast/web/outcomes.py
        ("reason", pa.string()),  # null if ok
    ]
)

CLIPS = pa.schema(
    [
        ("clip", pa.string()),  # unique
        ("video", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("start", pa.float64()),  # seconds in the video
        ("end", pa.float64()),
        ("frames", pa.int32()),
        ("fps", pa.float64()),
        ("width", pa.int32()),  # of the video, as displayed
        ("height", pa.int32()),
        ("shard", pa.string()),  # null if rejected, like row, bytes and sha256
        ("row", pa.int32()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("licence", pa.string()),
        ("attribution", pa.string()),
        ("url", pa.string()),
        ("video_sha256", pa.string()),
        ("status", pa.string()),  # ok | rejected
        ("reason", pa.string()),  # null if ok
        ("note", pa.string()),  # where the video is not what it says: it breaks off, is shorter or longer
    ]
)


def write_manifest(
    rows: Iterable[dict], schema: pa.Schema, path: str | Path, notes: Sequence[str] = ()
) -> None:
    """Write `rows` as they are ordered, however many; a key that a row lacks is null.

    notes: what is to be said of the table as a whole, such as what each exclusion took out.
    """
    if notes:
        schema = schema.with_metadata({NOTES: json.dumps(list(notes))})
    rows = iter(rows)
    chunks = iter(lambda: list(itertools.islice(rows, ROWS_AT_ONCE)), [])
    with appearing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for chunk in chunks:
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))


def read_notes(path: str | Path) -> list[str]:
    """What `write_manifest` was given to say of the table as a whole."""
    return json.loads((pq.read_schema(path).metadata or {}).get(NOTES, b"[]"))


def read_manifest(path: str | Path, schema: pa.Schema) -> list[dict]:
    """The rows of a manifest; raises VqcastError if it is not one."""
    return read_table(path, schema, schema.names).to_pylist()


def read_table(path: str | Path, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """Some columns of a manifest; raises VqcastError if it is not one."""
    try:
        present = pq.read_schema(path).names
        missing = [name for name in schema.names if name not in present]
        if missing:
            raise VqcastError(f"{path} lacks the columns {', '.join(missing)}")
        return pq.read_table(path, columns=list(columns), partitioning=None)
    except FileNotFoundError:
        raise VqcastError(f"{path} does not exist; run the stage that makes it first") from None
    except pa.ArrowInvalid as error:
        raise VqcastError(f"{path} is not a parquet table: {str(error).splitlines()[0]}") from None


def summary(rows: Iterable[dict], reasons_shown: int = 3) -> str:
    """The most frequent reasons of failed or rejected `rows`, each with one video that it befell."""
    rows = list(rows)
    counts = Counter(row["reason"] for row in rows)
    example = {row["reason"]: row["video"] for row in reversed(rows)}
    parts = [
        f"{count} x {reason} ({example[reason]!r})" for reason, count in counts.most_common(reasons_shown)
    ]
    return "; ".join(parts + ["..."] * (len(counts) > reasons_shown))
