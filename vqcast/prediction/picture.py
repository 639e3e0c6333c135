"""Continuations side by side, as one moving picture, and the files that it goes to."""

import itertools
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
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
Colour = tuple[int, int, int]
GIVEN, PREDICTED = (150, 150, 150), (242, 140, 78)
KINDS = (".mp4", ".gif")  # a name with neither is that of a folder of frames
CRF = 14


def side_by_side(
    given: np.ndarray, predicted: Iterable[np.ndarray], true: Iterable[np.ndarray] | None
) -> Iterator[np.ndarray]:
    """The moving picture's frames, uint8 (H, W, 3): the truth, if there is one, then every continuation.

    given: (T, H, W, 3). predicted: the continuations' next frames, (samples, P, H, W, 3), and so on. true:
    the frames that really follow; where they end before the predicted ones, their place stays empty. Around
    what is given, the border is grey, around what is predicted orange; the caption says it too.
    """
    predicted, true = iter(predicted), None if true is None else iter(true)
    first = next(predicted)
    for frame in given:
        yield _row_by_row([(frame, "given", GIVEN)] * (len(first) + (true is not None)))
    for some in itertools.chain([first], predicted):
        for frames in some.swapaxes(0, 1):
            tiles = [(frame, f"prediction {number}", PREDICTED) for number, frame in enumerate(frames, 1)]
            if true is not None:
                ended = np.full_like(frames[0], PAPER), "the video has ended", PAPER
                frame = next(true, None)
                tiles.insert(0, ended if frame is None else (frame, "what really followed", GIVEN))
            yield _row_by_row(tiles)


def check_out(out: Path) -> None:
    """Raise VqcastError unless `out` names a file or folder that `save` can write."""
    if out.suffix.lower() not in (*KINDS, ""):
        raise VqcastError(f"{out} must end with .mp4 or .gif, or without a suffix for a folder of frames")
    if not out.suffix and out.exists() and not (out.is_dir() and _only_frames(out)):
        raise VqcastError(f"{out} is there already, and is no folder of frames; name another with --out")
    if out.suffix and out.is_dir():
        raise VqcastError(f"{out} is a folder")


def save(picture: Iterable[np.ndarray], count: int, fps: int, out: Path) -> None:
    """Write `count` frames (H, W, 3) of a moving picture, `fps` a second; it appears whole or not at all.

    None of them is kept, so that there may be any number.
    """
    kind = out.suffix.lower()
    if not kind:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        digits = max(3, len(str(count - 1)))
        try:
            for number, frame in enumerate(picture):
                Image.fromarray(frame).save(folder / f"{number:0{digits}d}.png")
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


def _row_by_row(tiles: list[tuple[np.ndarray, str, Colour]]) -> np.ndarray:
    """Frames (H, W, 3) with their captions and the colours of their borders, as one frame."""
    scale = math.ceil(TILE / len(tiles[0][0]))
    tiles = [_tile(frame.repeat(scale, 0).repeat(scale, 1), *mark) for frame, *mark in tiles]
    columns = min(len(tiles), COLUMNS)
    height, width, _ = tiles[0].shape
    rows = -(-len(tiles) // columns)
    picture = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (
            GAP + place * (size + GAP)
            for place, size in zip(divmod(number, columns), (height, width), strict=True)
        )
        picture[y : y + height, x : x + width] = tile
    return picture


def _tile(frame: np.ndarray, text: str, colour: Colour) -> np.ndarray:
    """A frame with a border in a colour and a caption below it."""
    height, width, _ = frame.shape
    shape = (height + 2 * BORDER + CAPTION, width + 2 * BORDER, 3)
    tile = np.full(shape, PAPER, np.uint8)
    tile[: height + 2 * BORDER] = colour
    tile[BORDER : BORDER + height, BORDER : BORDER + width] = frame
    picture = Image.fromarray(tile)
    ImageDraw.Draw(picture).text((BORDER, height + 2 * BORDER + 2), text, INK, _font())
    return np.asarray(picture)


@cache
def _font() -> ImageFont.ImageFont:
    return ImageFont.load_default(13)
