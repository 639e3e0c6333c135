""".npy files written and read a piece at a time, by neither holding them in memory nor mapping them into it:
pages of a mapped file, once touched, count as the process's own."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from vqcast.errors import VqcastError

PIECE_BYTES = 2**20


class ArrayFile:
    """An .npy file whose rows are read when they are asked for; raises VqcastError where it is none."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with open(path, "rb") as file:
                major, _ = npy.read_magic(file)
                read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
                self.shape, fortran, self.dtype = read(file)
                self._start = file.tell()
                size = file.seek(0, 2)
        except OSError as error:
            raise VqcastError(f"{path} cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise VqcastError(f"{path} is no .npy array: {str(error).splitlines()[0]}") from None
        if self.dtype.hasobject or fortran or not self.shape:
            raise VqcastError(f"{path} must hold an array of numbers in C order, with an axis at least")
        if size != self._start + len(self) * self._row_bytes:
            raise VqcastError(f"{path} is cut short or has a false header: it has {size} bytes")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: range) -> np.ndarray:
        """Consecutive rows."""
        with open(self.path, "rb") as file:
            file.seek(self._start + rows.start * self._row_bytes)
            values = np.fromfile(file, self.dtype, len(rows) * math.prod(self.shape[1:]))
        return values.reshape(len(rows), *self.shape[1:])

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows, some at a time, and which ones they are."""
        count = max(PIECE_BYTES // self._row_bytes, 1)
        for first in range(0, len(self), count):
            rows = range(first, min(first + count, len(self)))
            yield slice(rows.start, rows.stop), self.read(rows)

    @property
    def _row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


def write_array(path: Path, rows: int, pieces: Iterable[np.ndarray]) -> None:
    """Write the `rows` rows of all pieces, one after another, as one .npy file."""
    with open(path, "wb") as file:
        for number, piece in enumerate(pieces):
            if number == 0:
                header = {"descr": npy.dtype_to_descr(piece.dtype), "fortran_order": False}
                npy.write_array_header_1_0(file, {**header, "shape": (rows, *piece.shape[1:])})
            file.write(np.ascontiguousarray(piece).tobytes())
