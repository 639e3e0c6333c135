"""Frames side by side: one picture is both a filmstrip and, moved step by step, a moving picture."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from vqcast.work.files import appearing

LOSSLESS_UP_TO = 128  # pixels; larger frames would make a page of hundreds of megabytes
WEBP_LIMIT = 16383  # pixels a side

GAP = 2  # pixels between the frames of a filmstrip on its own
GIVEN, PREDICTED = (128, 128, 128), (222, 107, 47)


def strip_uri(frames: np.ndarray) -> str:
    """A data URI of frames uint8 (T, H, W, 3) in a row, with nothing between them."""
    row = np.concatenate(list(frames), axis=1)
    file = io.BytesIO()
    if row.shape[1] > WEBP_LIMIT:
        Image.fromarray(row).save(file, "PNG", optimize=True)
        kind = "png"
    else:
        lossless = frames.shape[1] <= LOSSLESS_UP_TO
        Image.fromarray(row).save(file, "WEBP", lossless=lossless, quality=90, method=4)
        kind = "webp"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def heat_uri(values: np.ndarray) -> str:
    """A data URI of maps (T, H, W) in a row: the lowest value is transparent, the highest opaque."""
    row = np.concatenate(list(values), axis=1)
    alpha = ((row - row.min()) / max(np.ptp(row), 1e-9) * 255).round().astype(np.uint8)
    picture = np.empty((*alpha.shape, 4), np.uint8)
    picture[..., :3], picture[..., 3] = PREDICTED, alpha
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def save_filmstrip(path: str | Path, rows: list[np.ndarray], given: int, scale: int = 1) -> None:
    """Write a PNG of filmstrips, one below the other; marks say which frames were given.

    rows: each uint8 (T, H, W, 3), alike in shape.
    """
    picture = np.concatenate([_marked(frames.repeat(scale, 1).repeat(scale, 2), given) for frames in rows])
    with appearing(path) as partial:
        Image.fromarray(picture).save(partial, "PNG", optimize=True)


def _marked(frames: np.ndarray, given: int) -> np.ndarray:
    """A filmstrip on white, with a bar under each frame in the colour of what it is."""
    time, height, width, _ = frames.shape
    strip = np.full((height + 4 * GAP, time * (width + GAP) - GAP, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        columns = slice(index * (width + GAP), index * (width + GAP) + width)
        strip[:height, columns] = frame
        strip[height : height + GAP, columns] = GIVEN if index < given else PREDICTED
    return strip
