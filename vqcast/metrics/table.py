"""The tables that the page shows: scored windows, a row each, and what a prior's codes take by position."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vqcast.clips.windows import WindowRef
from vqcast.errors import VqcastError
from vqcast.metrics.scores import Scores
from vqcast.work.files import appearing

SCHEMA = pa.schema(
    [
        ("window", pa.string()),
        ("moving", pa.bool_()),
        ("tuning", pa.bool_()),  # of the videos on which settings are chosen, that no figure is of
        ("reconstruction_psnr", pa.float32()),
        ("model_psnr", pa.list_(pa.float32())),  # of each sample
        ("repeat_last_frame_psnr", pa.float32()),
        ("model_st_lpips", pa.list_(pa.float32())),
        ("repeat_last_frame_st_lpips", pa.float32()),
    ]
)


def write_table(
    path: str | Path,
    refs: list[WindowRef],
    scores: dict[str, Scores],
    moving: np.ndarray,
    tuning: np.ndarray,
) -> None:
    """Write one row a window, in order."""
    columns = {
        "window": [ref.id for ref in refs],
        "moving": moving,
        "tuning": tuning,
        "reconstruction_psnr": scores["reconstruction"].psnr[:, 0],
        "model_psnr": list(scores["model"].psnr),
        "repeat_last_frame_psnr": scores["repeat_last_frame"].psnr[:, 0],
        "model_st_lpips": list(scores["model"].st_lpips.mean(-1)),
        "repeat_last_frame_st_lpips": scores["repeat_last_frame"].st_lpips[:, 0].mean(-1),
    }
    with appearing(path) as partial:
        pq.write_table(pa.table(columns, schema=SCHEMA), partial)


POSITIONS = pa.schema(
    [
        ("level", pa.string()),  # top | bottom
        ("slice", pa.int32()),  # of the window's codes
        ("y", pa.int32()),
        ("x", pa.int32()),
        ("nll_bits", pa.float32()),  # mean over the windows
        ("rank", pa.float32()),  # likewise, of the true code: the probability of likelier ones
    ]
)


def write_positions(
    path: str | Path, nll_bits: dict[str, np.ndarray], rank: dict[str, np.ndarray], prefix: dict[str, int]
) -> None:
    """Write one row a predicted position, in the order of generation.

    nll_bits, rank: (T, H, W) by level, over the predicted slices. prefix: by level, how many slices precede
    them.
    """
    tables = []
    for level, bits in nll_bits.items():
        slices, y, x = (axis.ravel() for axis in np.indices(bits.shape))
        # Rounded, for the last bits of a float depend on the number of threads.
        values = (of_level.ravel().round(4) for of_level in (bits, rank[level]))
        columns = [[level] * bits.size, slices + prefix[level], y, x, *values]
        tables.append(pa.table(dict(zip(POSITIONS.names, columns, strict=True)), schema=POSITIONS))
    with appearing(path) as partial:
        pq.write_table(pa.concat_tables(tables), partial)


def read_positions(path: str | Path) -> dict[str, np.ndarray]:
    """The bits (T, H, W) by level that `write_positions` was given; raises VqcastError."""
    rows = _read(path, POSITIONS)
    found = {}
    for level in rows["level"].unique().to_pylist():
        its = rows.filter(pc.field("level") == level)
        slices, y, x = (its[name].to_numpy() for name in ("slice", "y", "x"))
        bits = np.empty((slices.max() - slices.min() + 1, y.max() + 1, x.max() + 1))
        bits[slices - slices.min(), y, x] = its["nll_bits"].to_numpy()
        found[level] = bits
    return found


def read_windows(path: str | Path) -> list[dict]:
    """The rows that `write_table` wrote; raises VqcastError."""
    return _read(path, SCHEMA).to_pylist()


def _read(path: str | Path, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(path, schema=schema, partitioning=None)
    except (OSError, pa.ArrowInvalid):
        raise VqcastError(f"{path} is missing or damaged; run the evaluate stage again") from None
