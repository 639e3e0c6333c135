"""Latent shards: the codes of every window, written once by `encode`, all that the priors ever read.

A shard is a Parquet file with a row a window. Codes are plain lists of uint16 in raster order; Parquet's
dictionary encoding packs them to the bits they need. Its metadata say which VQ-VAE made them from which
clips. Beside the shards, `codebooks.safetensors` says which vector each code stands for, and `manifest.json`
holds all hashes, the grids, and what the metadata of every shard must say.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from vqcast.errors import VqcastError
from vqcast.files import sha256_file
from vqcast.networks.grids import Grids

CODEBOOKS = "codebooks.safetensors"
LEVELS = ("prefix_top", "prefix_bottom", "top", "bottom")


class LatentError(VqcastError):
    """A latent shard or its manifest is missing, damaged, or from something else than expected."""


def write_shard(path: Path, windows: list[str], codes: dict[str, np.ndarray], vqvae: str, clips: str) -> None:
    """Write one shard: window ids, and for every one of LEVELS an array (N, T, H, W) of codes.

    vqvae, clips: hashes of the VQ-VAE that made the codes, and of the clips that they are of.
    """
    columns = {"window": pa.array(windows)}
    for level in LEVELS:
        flat = np.ascontiguousarray(codes[level], dtype=np.uint16).reshape(len(windows), -1)
        offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
        columns[level] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)))
    table = pa.table(columns)
    with pq.ParquetWriter(
        path,
        table.schema,
        compression="zstd",
        use_dictionary=[f"{level}.list.element" for level in LEVELS],
        column_encoding={"window": "DELTA_BYTE_ARRAY"},  # ids share long prefixes
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"vqvae": vqvae, "clips": clips})


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
        (folder / "manifest.json").write_text(json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True))


class Latents(Dataset):
    """The codes of one split, in memory; an item is a dict of its LEVELS, int64, each (T, H, W)."""

    def __init__(self, folder: str | Path, split: str):
        """Read and check the shards of `split`; raises LatentError naming a shard that is damaged."""
        folder = Path(folder)
        self.manifest = LatentManifest.read(folder)
        self.files = [folder / name for name in sorted(self.manifest.files) if name.startswith(f"{split}-")]
        if not self.files:
            raise LatentError(f"{folder} holds no latent shard of split {split!r}")
        self.codebooks = load_file(self._checked(folder / CODEBOOKS))
        for path in self.files:
            self._check_origin(path)
        tables = [pq.read_table(self._checked(path), memory_map=True) for path in self.files]
        self.windows: list[str] = [window for table in tables for window in table["window"].to_pylist()]
        for level in LEVELS:
            setattr(self, level, self._level(tables, level))

    codebooks: dict[str, Tensor]  # "top" and "bottom": the vector of every code, (K, D)
    prefix_top: np.ndarray  # (N, 1, h, w) uint16, as the given frames alone are encoded
    prefix_bottom: np.ndarray
    top: np.ndarray  # (N, T, h, w), as the whole window is encoded
    bottom: np.ndarray

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {level: torch.from_numpy(getattr(self, level)[index].astype(np.int64)) for level in LEVELS}

    def _checked(self, path: Path) -> Path:
        if not path.is_file():
            raise LatentError(f"{path} is missing; run the encode stage again")
        if sha256_file(path) != self.manifest.files[path.name]:
            raise LatentError(f"{path} is damaged: its hash is not the one that manifest.json states")
        return path

    def _check_origin(self, path: Path) -> None:
        """Refuse a shard that is a whole one, but of another set."""
        try:
            says = pq.read_metadata(path).metadata
        except (OSError, pa.ArrowInvalid):
            return  # missing or damaged, as will be said
        for name, expected, what in (
            (b"vqvae", self.manifest.vqvae, "codes of another VQ-VAE"),
            (b"clips", self.manifest.clips[path.name], "the codes of other clips"),
        ):
            if (says or {}).get(name) != expected.encode():
                raise LatentError(
                    f"{path} holds {what} than manifest.json states; run the encode stage again"
                )

    def _level(self, tables: list[pa.Table], level: str) -> np.ndarray:
        grids = self.manifest.grids
        shape = grids.top if level.endswith("top") else grids.bottom
        if level.startswith("prefix"):
            shape = (getattr(grids, level), *shape[1:])
        flat = np.concatenate(
            [table[level].combine_chunks().flatten().to_numpy(zero_copy_only=False) for table in tables]
        )
        return flat.reshape(len(self.windows), *shape)
