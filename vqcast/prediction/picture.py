"""Continuations side by side, as one moving picture, and the files that it goes to."""

import math
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqcast.errors import VqcastError
from vqcast.media.encoding import encode_gif, encode_mp4
from vqcast.work.files import appearing, publish_directory

TILE = 192  # pixels: smaller frames are enlarged to this at least
BORDER = 4  # pixels; it and all below are even, as yuv420p wants it
GAP = 8
CAPTION = 20
COLUMNS = 5  # in a row
PAPER, INK = (22, 21, 19), (236, 232, 225)
GIVEN, PREDICTED = (150, 150, 150), (242, 140, 78)
KINDS = (".mp4", ".gif")  # a name with neither is that of a folder of frames
CRF = 14


def side_by_side(given: np.ndarray, predicted: np.ndarray, true: np.ndarray | None) -> np.ndarray:
    """The moving picture uint8 (T, H, W, 3): the truth, if there is one, then every continuation.

    given: (T, H, W, 3). predicted: (samples, P, H, W, 3). true: (P, H, W, 3). Around what is given, the
    border is grey, around what is predicted orange; the caption says it too.
    """
    videos = [] if true is None else [("what really followed", true, GIVEN)]
    videos += [(f"prediction {number}", video, PREDICTED) for number, video in enumerate(predicted, 1)]
    scale = math.ceil(TILE / given.shape[1])
    font = ImageFont.load_default(13)
    tiles = []
    for name, video, colour in videos:
        frames = np.concatenate([given, video]).repeat(scale, 1).repeat(scale, 2)
        marks = [("given", GIVEN)] * len(given) + [(name, colour)] * len(video)
        tiles.append([_tile(frame, *mark, font) for frame, mark in zip(frames, marks, strict=True)])
    columns = min(len(tiles), COLUMNS)
    height, width, _ = tiles[0][0].shape
    rows = -(-len(tiles) // columns)
    shape = (len(tiles[0]), rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3)
    picture = np.full(shape, PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (
            GAP + place * (size + GAP)
            for place, size in zip(divmod(number, columns), (height, width), strict=True)
        )
        picture[:, y : y + height, x : x + width] = tile
    return picture


def check_out(out: Path) -> None:
    """Raise VqcastError unless `out` names a file or folder that `save` can write."""
    if out.suffix.lower() not in (*KINDS, ""):
        raise VqcastError(f"{out} must end with .mp4 or .gif, or without a suffix for a folder of frames")
    if not out.suffix and out.exists() and not (out.is_dir() and _only_frames(out)):
        raise VqcastError(f"{out} is there already, and is no folder of frames; name another with --out")
    if out.suffix and out.is_dir():
        raise VqcastError(f"{out} is a folder")


def save(picture: np.ndarray, fps: int, out: Path) -> None:
    """Write a moving picture (T, H, W, 3) of `fps` frames/s; it appears whole or not at all."""
    kind = out.suffix.lower()
    if not kind:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            for number, frame in enumerate(picture):
                Image.fromarray(frame).save(folder / f"{number:03d}.png")
            folder.chmod(0o755)
            publish_directory(folder, out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    with appearing(out) as partial:
        if kind == ".mp4":
            encode_mp4(picture, fps, partial, CRF)
        else:
            duration = round(Fraction(100, fps))  # of a frame; a GIF counts hundredths of a second
            encode_gif(picture, Fraction(100, duration), partial)


def _only_frames(folder: Path) -> bool:
    return all(path.suffix == ".png" and path.stem.isdecimal() for path in folder.iterdir())


def _tile(
    frame: np.ndarray, text: str, colour: tuple[int, int, int], font: ImageFont.ImageFont
) -> np.ndarray:
    """A frame with a border in a colour and a caption below it."""
    height, width, _ = frame.shape
    shape = (height + 2 * BORDER + CAPTION, width + 2 * BORDER, 3)
    tile = np.full(shape, PAPER, np.uint8)
    tile[: height + 2 * BORDER] = colour
    tile[BORDER : BORDER + height, BORDER : BORDER + width] = frame
    picture = Image.fromarray(tile)
    ImageDraw.Draw(picture).text((BORDER, height + 2 * BORDER + 2), text, INK, font)
    return np.asarray(picture)
