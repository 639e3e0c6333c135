"""Latent shards: the codes of every window, written once by `encode`, all that the priors ever read.

A shard is a Parquet file with a row a window. Codes are plain lists of uint16 in raster order; Parquet's
dictionary encoding packs them to the bits they need. Rows come in groups of about CODES_A_GROUP codes: what
is read for any one window, and written at once. A shard's metadata say which VQ-VAE made it from which clips.
Beside the shards, `codebooks.safetensors` says which vector each code stands for, and `manifest.json` holds
all hashes, the grids, and what the metadata of every shard must say.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from vqcast.errors import VqcastError
from vqcast.networks.grids import Grids
from vqcast.work.files import sha256_file

CODEBOOKS = "codebooks.safetensors"
LEVELS = ("prefix_top", "prefix_bottom", "top", "bottom")
WHOLE_LEVELS = ("top", "bottom")  # all there is where a window's codes begin with the prefix codes
CODE_LIST = pa.list_(pa.field("element", pa.uint16(), nullable=False))
CODES_A_GROUP = 2**20  # a few milliseconds to read; smaller ones would each need dictionaries of their own
CACHED_BYTES = 256 * 2**20  # of the row groups used last, a process
OPEN_SHARDS = 16  # whose lists of row groups are kept, a process


class LatentError(VqcastError):
    """A latent shard or its manifest is missing, damaged, or from something else than expected."""


def schema_of(levels: Sequence[str]) -> pa.Schema:
    """Columns of a shard that holds these levels."""
    columns = [pa.field(level, CODE_LIST, nullable=False) for level in levels]
    return pa.schema([pa.field("window", pa.string(), nullable=False), *columns])


def write_shard(
    path: Path,
    windows: Iterable[str],
    codes: Iterable[Sequence[np.ndarray]],
    vqvae: str,
    clips: str,
    levels: Sequence[str] = LEVELS,
) -> None:
    """Write one shard, a row group at a time: window ids, and of each an array (T, H, W) for every level.

    vqvae, clips: hashes of the VQ-VAE that made the codes, and of the clips that they are of.
    """
    rows = zip(windows, codes, strict=True)
    with pq.ParquetWriter(
        path,
        schema_of(levels),
        compression="zstd",
        use_dictionary=[f"{level}.list.element" for level in levels],
        column_encoding={"window": "DELTA_BYTE_ARRAY"},  # ids share long prefixes
        write_statistics=False,
        store_schema=False,
        write_page_checksum=True,
    ) as writer:
        for first in rows:
            others = max(CODES_A_GROUP // sum(level.size for level in first[1]), 1) - 1
            writer.write_table(_table([first, *itertools.islice(rows, others)], levels))
        writer.add_key_value_metadata({"vqvae": vqvae, "clips": clips})


def _table(rows: Sequence[tuple[str, Sequence[np.ndarray]]], levels: Sequence[str]) -> pa.Table:
    columns = [pa.array([window for window, _ in rows])]
    for level in range(len(levels)):
        flat = np.stack([codes[level].reshape(-1) for _, codes in rows]).astype(np.uint16, copy=False)
        offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
        columns.append(pa.ListArray.from_arrays(offsets, pa.array(flat.reshape(-1)), type=CODE_LIST))
    return pa.table(columns, schema=schema_of(levels))


def footer_sha256(path: Path) -> str:
    """Hash of the end of a shard, which says where all else is; all else has checksums of its own."""
    return hashlib.sha256(_footer(path)).hexdigest()


def _footer(path: Path) -> bytes:
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(size - length, 0))
        return file.read()


def write_codebooks(folder: Path, top: Tensor, bottom: Tensor) -> Path:
    """Write the code vectors (K, D) of both levels beside the shards."""
    path = folder / CODEBOOKS
    save_file({"top": top.cpu().contiguous(), "bottom": bottom.cpu().contiguous()}, path)
    return path


@dataclasses.dataclass(frozen=True)
class LatentManifest:
    """What the shards of a folder are, and where they come from."""

    codes: int  # size of each codebook
    given: int  # frames that the prefix codes stand for
    grids: Grids
    vqvae: str  # SHA-256 of the weights that encoded them
    clips: dict[str, str]  # hash of the clips that were encoded, by the name of their latent shard
    files: dict[str, str]  # SHA-256 of the shards and the codebooks, by file name
    footers: dict[str, str]  # `footer_sha256` of the shards, by file name
    sees_given: bool = False  # a window's codes begin with its prefix codes, which are not stored twice

    @property
    def levels(self) -> tuple[str, ...]:
        """Which of LEVELS the shards hold."""
        return WHOLE_LEVELS if self.sees_given else LEVELS

    @classmethod
    def read(cls, folder: Path) -> "LatentManifest":
        path = Path(folder) / "manifest.json"
        try:
            fields = json.loads(path.read_text())
            grids = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.pop("grids").items()}
            return cls(grids=Grids(**grids), **fields)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise LatentError(f"{path} is missing or damaged; run the encode stage again") from None

    def write(self, folder: Path) -> None:
        fields = dataclasses.asdict(self)
        if not self.sees_given:
            del fields["sees_given"]  # as it was before there was such a thing
        (folder / "manifest.json").write_text(json.dumps(fields, indent=1, sort_keys=True))


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """What is read of a shard at once: some windows that follow each other."""

    windows: pa.ChunkedArray  # their ids
    codes: dict[str, np.ndarray]  # uint16 (N, T, H, W) by level

    @property
    def bytes(self) -> int:
        return sum(codes.nbytes for codes in self.codes.values())


class Latents(Dataset):
    """The codes of one split; an item is a dict of its LEVELS, int64, each (T, H, W).

    They are read from the shards a row group at a time, and those used last are kept: however many windows
    there are, their codes take CACHED_BYTES. Threads may share it.
    """

    def __init__(self, folder: str | Path, split: str):
        """Open the shards of `split`; raises LatentError naming one that is missing, damaged or of another
        set. Damage among the codes shows when they are read, and then raises the same.
        """
        folder = Path(folder)
        self.manifest = LatentManifest.read(folder)
        self.files = [folder / name for name in sorted(self.manifest.files) if name.startswith(f"{split}-")]
        if not self.files:
            raise LatentError(f"{folder} holds no latent shard of split {split!r}")
        self.codebooks = _checked_codebooks(folder, self.manifest.files[CODEBOOKS])
        self._metadata = functools.lru_cache(maxsize=OPEN_SHARDS)(self._read_metadata)
        shapes = [self._checked_shape(path) for path in self.files]
        self._ends = np.cumsum([windows for windows, _ in shapes])  # of each shard's windows
        self._group_rows = [rows for _, rows in shapes]
        self._groups: OrderedDict[tuple[int, int], RowGroup] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    codebooks: dict[str, Tensor]  # "top" and "bottom": the vector of every code, (K, D)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        group, row = self._find(number)
        return {level: torch.from_numpy(group.codes[level][row].astype(np.int64)) for level in LEVELS}

    def codes(self, level: str, numbers: Iterable[int]) -> np.ndarray:
        """The codes of some windows on one level: uint16 (N, T, H, W)."""
        places = map(self._find, numbers)
        return np.stack([group.codes[level][row] for group, row in places])

    def window_id(self, number: int) -> str:
        group, row = self._find(number)
        return group.windows[row].as_py()

    def window_ids(self) -> Iterator[str]:
        """The id of every window, in order."""
        for path in self.files:
            yield from self._reading(path, lambda file: file.read(["window"]))["window"].to_pylist()

    def row_groups(self, chosen: np.ndarray | None = None) -> Iterator[tuple[range, RowGroup]]:
        """Row groups, each with the numbers of its windows: all, or those with a `chosen` one, (N,) bool."""
        first = 0
        for shard, end in enumerate(self._ends.tolist()):
            for group in range(-(-(end - first) // self._group_rows[shard])):
                last = min(first + self._group_rows[shard], end)
                if chosen is None or chosen[first:last].any():
                    yield range(first, last), self._read(shard, group)
                first = last

    def _find(self, number: int) -> tuple[RowGroup, int]:
        """The row group that holds a window, and the window's row in it."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard = int(np.searchsorted(self._ends, number, side="right"))
        first = int(self._ends[shard - 1]) if shard else 0
        group, row = divmod(number - first, self._group_rows[shard])
        key = (shard, group)
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
                return self._groups[key], row
        found = self._read(shard, group)
        with self._lock:
            if key not in self._groups:
                self._groups[key] = found
                self._cached_bytes += found.bytes
            while self._cached_bytes > CACHED_BYTES and len(self._groups) > 1:
                self._cached_bytes -= self._groups.popitem(last=False)[1].bytes
        return found, row

    def _read(self, shard: int, group: int) -> RowGroup:
        path = self.files[shard]
        table = self._reading(path, lambda file: file.read_row_group(group, use_threads=False))
        codes = {}
        for level in self.manifest.levels:
            flat = table[level].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            try:
                codes[level] = flat.reshape(len(table), *self.manifest.grids.shape(level))
            except ValueError:
                raise _damaged(path) from None
        if self.manifest.sees_given:
            for level in WHOLE_LEVELS:
                codes[f"prefix_{level}"] = codes[level][:, : getattr(self.manifest.grids, f"prefix_{level}")]
        return RowGroup(table["window"], codes)

    def _reading(self, path: Path, read: Callable[[pq.ParquetFile], pa.Table]) -> pa.Table:
        """What `read` reads, once its checksums are found right."""
        try:
            with pq.ParquetFile(path, metadata=self._metadata(path), page_checksum_verification=True) as file:
                return read(file)
        except (OSError, pa.ArrowException):
            raise _damaged(path) from None

    def _read_metadata(self, path: Path) -> pq.FileMetaData:
        if not path.is_file():
            raise LatentError(f"{path} is missing; run the encode stage again")
        try:
            return pq.read_metadata(pa.BufferReader(_footer(path)))
        except (OSError, pa.ArrowException):
            raise _damaged(path) from None

    def _checked_shape(self, path: Path) -> tuple[int, int]:
        """How many windows a shard holds, and a row group of it; it is one of this set."""
        metadata = self._metadata(path)
        for name, expected, what in (
            (b"vqvae", self.manifest.vqvae, "codes of another VQ-VAE"),
            (b"clips", self.manifest.clips[path.name], "the codes of other clips"),
        ):
            if (metadata.metadata or {}).get(name) != expected.encode():
                raise LatentError(
                    f"{path} holds {what} than manifest.json states; run the encode stage again"
                )
        if footer_sha256(path) != self.manifest.footers[path.name]:
            raise _damaged(path)
        return metadata.num_rows, metadata.row_group(0).num_rows if metadata.num_rows else 1


def _checked_codebooks(folder: Path, sha256: str) -> dict[str, Tensor]:
    path = folder / CODEBOOKS
    if not path.is_file():
        raise LatentError(f"{path} is missing; run the encode stage again")
    if sha256_file(path) != sha256:
        raise _damaged(path)
    return load_file(path)


def _damaged(path: Path) -> LatentError:
    return LatentError(f"{path} is damaged: its content is not what manifest.json states")
