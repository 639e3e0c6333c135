"""Shards of clips: Arrow IPC files of `clip` (string) and `video` (binary, an mp4), a record batch a clip.

A batch a clip lets a reader read only the clip that it wants, and a writer hold only the clip that it writes.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from vqcast.errors import VqcastError

SHARD = pa.schema([("clip", pa.string()), ("video", pa.binary())])


def write_shard(clips: Iterable[tuple[str, bytes]], path: str | Path) -> None:
    """Write (clip id, mp4 bytes) pairs to a shard."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SHARD) as writer:
        for clip, video in clips:
            writer.write_batch(pa.record_batch([[clip], [video]], schema=SHARD))


class Shard:
    """A shard opened for reading at random."""

    def __init__(self, path: str | Path):
        try:
            # Not mapped into memory: pages once touched would count as this process's as long as it runs.
            self._reader = pa.ipc.open_file(pa.OSFile(str(path)))
        except FileNotFoundError:
            raise VqcastError(f"the shard {path} does not exist") from None
        except pa.ArrowInvalid as error:
            raise VqcastError(f"{path} is damaged: {str(error).splitlines()[0]}") from None

    def __len__(self) -> int:
        return self._reader.num_record_batches

    def __getitem__(self, row: int) -> tuple[str, bytes]:
        """The clip id and the mp4 of a row."""
        batch = self._reader.get_batch(row)
        return batch.column(0)[0].as_py(), batch.column(1)[0].as_py()
