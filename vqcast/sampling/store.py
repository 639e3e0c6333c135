"""Samples on disk: Arrow files with a row a sample, its codes and its predicted frames."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from vqcast.errors import VqcastError
from vqcast.work.files import appearing

SCHEMA = pa.schema(
    [
        ("window", pa.string()),
        ("sample", pa.int32()),
        ("top", pa.list_(pa.uint16())),
        ("bottom", pa.list_(pa.uint16())),
        ("video", pa.binary()),  # uint8 (predicted frames, H, W, 3) in C order
    ]
)

NAMES_ONLY = pa.ipc.IpcReadOptions(included_fields=[0, 1])  # the columns `window` and `sample`


def write_samples(path: Path, rows: list[dict]) -> None:
    """Write one file of samples; a row's `video` is an array, uint8 (predicted frames, H, W, 3)."""
    shape = rows[0]["video"].shape
    schema = SCHEMA.with_metadata({"video_shape": " ".join(map(str, shape))})
    plain = ({**row, "video": row["video"].tobytes()} for row in rows)
    _write(path, schema, (pa.RecordBatch.from_pylist([row], schema) for row in plain))


def join_samples(path: Path, parts: list[Path]) -> None:
    """Write the samples of several files into one."""
    readers = [pa.ipc.open_file(pa.memory_map(str(part))) for part in parts]
    batches = (reader.get_batch(index) for reader in readers for index in range(reader.num_record_batches))
    _write(path, readers[0].schema, batches)


def _write(path: Path, schema: pa.Schema, samples: Iterable[pa.RecordBatch]) -> None:
    """A record batch a sample, so that reading one sample decompresses one sample."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        appearing(path) as partial,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, schema, options=options) as writer,
    ):
        for sample in samples:
            writer.write_batch(sample)


class Samples:
    """The samples in a folder, read one at a time."""

    def __init__(self, folder: str | Path):
        self._place: dict[tuple[str, int], tuple[pa.ipc.RecordBatchFileReader, int]] = {}
        files = sorted(Path(folder).glob("samples-*.arrow"))
        if not files:
            raise VqcastError(f"{folder} holds no samples; run the sample stage first")
        for path in files:
            try:
                # Not mapped into memory: pages once touched would count as this process's as long as it runs.
                reader = pa.ipc.open_file(pa.OSFile(str(path)))
                self.video_shape = tuple(map(int, reader.schema.metadata[b"video_shape"].split()))
                names = pa.ipc.open_file(pa.OSFile(str(path)), options=NAMES_ONLY)
                for index in range(names.num_record_batches):
                    row = names.get_batch(index).to_pylist()[0]
                    self._place[row["window"], row["sample"]] = reader, index
            except (pa.ArrowInvalid, OSError, KeyError, TypeError) as error:
                raise VqcastError(f"{path} is damaged ({error}); run the sample stage again") from None
        self.windows = list(dict.fromkeys(window for window, _ in self._place))
        self.samples_per_window = len(self._place) // len(self.windows)

    def predicted(self, window: str, sample: int) -> np.ndarray:
        """Predicted frames, uint8 (T, H, W, 3)."""
        video = self._row(window, sample)["video"][0].as_buffer()
        return np.frombuffer(video, np.uint8).reshape(self.video_shape)

    def codes(self, window: str, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """Top and bottom codes of the whole window in raster order, prefix codes first."""
        row = self._row(window, sample)
        return row["top"][0].values.to_numpy(), row["bottom"][0].values.to_numpy()

    def _row(self, window: str, sample: int) -> pa.RecordBatch:
        reader, index = self._place[window, sample]
        return reader.get_batch(index)
