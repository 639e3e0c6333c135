"""The kinds of motion in the embedded collection: each a label, and a scene made by lot.

What happens next follows from any four frames: speeds and zooms are constant, walls are the edges of the
centre square, and what leaves it on one side enters on the other. Lengths are in units of the frame's short
side, speeds a frame; `PIXEL` is one pixel of a 64 x 64 clip, for which all were chosen. Places lie on a
lattice and backgrounds repeat after some cells, so that what is alike gets codes that are alike.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from vqcast.embedded.drawing import SHAPES
from vqcast.embedded.synthesis import Camera, Colour, Scene, Sprite, Texture

Choice = TypeVar("Choice")

PIXEL = 1 / 64
BACKGROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((24, 44, 100), (68, 124, 164)),
    ((76, 32, 76), (176, 96, 88)),
    ((24, 76, 64), (128, 164, 92)),
    ((60, 60, 76), (148, 156, 172)),
)
SPRITES: tuple[tuple[Colour, Colour], ...] = (  # stripes of these
    ((250, 220, 60), (237, 189, 49)),
    ((240, 80, 70), (214, 62, 62)),
    ((250, 250, 245), (212, 217, 235)),
    ((80, 225, 235), (63, 196, 215)),
    ((240, 140, 225), (215, 114, 204)),
)
LATTICE = 4  # pixels between places: a cell of the bottom grid
PERIOD = 32 * PIXEL  # of backgrounds
STRIPES = 8 * PIXEL  # wavelength: detail that the coarse codes alone cannot hold
DIRECTIONS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
SPEED = 2 * PIXEL  # at the default strides a cell a slice, on both levels: what moves on is codes moving on


class Lot:
    """The random choices of one scene of `frames` frames."""

    def __init__(self, rng: np.random.Generator, frames: int):
        self.rng = rng
        self.steps = np.arange(frames)
        self.colours = [SPRITES[int(index)] for index in rng.permutation(len(SPRITES))]

    def one_of(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(self.rng.integers(len(choices)))]

    def within(self, reach: int) -> float:
        """A place up to `reach` pixels from the centre, on the lattice of places."""
        most = reach // LATTICE
        return LATTICE * PIXEL * int(self.rng.integers(-most, most + 1))

    def velocity(self, *speeds: float) -> tuple[float, float]:
        """One of the speeds, in one of eight directions."""
        speed = self.one_of(speeds)
        x, y = self.one_of(DIRECTIONS)
        return x * speed, y * speed

    def column(self, index: int, count: int) -> tuple[float, float]:
        """A place for sprite `index` of `count`, each in a column of its own."""
        return (2 * index + 1 - count) * 12 * PIXEL + self.within(24 // count), self.within(24)

    def still(self, value: float) -> np.ndarray:
        return np.full(len(self.steps), value)

    def background(self) -> Texture:
        """Stripes or a weave, upright or diagonal, alike after every `PERIOD` along and up."""
        waves = self.one_of(
            (
                ((1, 0, 1.0),),
                ((1, 0, 0.5), (1, 2, 0.5)),
                ((1, 0, 0.7), (2, 2, 0.3)),
            )
        )
        tilt = self.one_of(range(4))  # eighths of a turn
        wavelength = PERIOD * (0.5**0.5 if tilt % 2 else 1)
        gratings = tuple(
            (wavelength / frequency, (tilt + eighths) / 8, self.one_of(range(8)) / 8, weight)
            for frequency, eighths, weight in waves
        )
        return Texture(self.one_of(BACKGROUNDS), gratings)

    def travelling(self, *speeds: float) -> Camera:
        """A camera that moves straight on."""
        speed_x, speed_y = self.velocity(*speeds)
        return Camera(speed_x * self.steps, speed_y * self.steps, angle=self.still(0), zoom=self.still(1))

    def standing(self) -> Camera:
        """A camera at rest."""
        return self.rolling(self.still(0), self.still(1))

    def rolling(self, angle: np.ndarray, zoom: np.ndarray) -> Camera:
        """A camera that looks at one place."""
        return Camera(self.still(0), self.still(0), angle, zoom)

    def sprite(self, radius, x, y, angle=None, shapes=tuple(SHAPES), wraps=False) -> Sprite:
        """A striped sprite in a colour of its own; without `angle` it keeps one that is chosen by lot."""
        radius = self.still(radius) if np.ndim(radius) == 0 else radius
        angle = self.still(self.one_of(range(2)) / 4) if angle is None else angle
        stripes = (STRIPES / float(np.median(radius)), 0.0, 0.0, 1.0)
        return Sprite(
            self.one_of(shapes), Texture(self.colours.pop(), (stripes,)), radius, x, y, angle, wraps
        )


def panning(lot: Lot) -> Scene:
    """The camera travels; a sprite stands in a world that repeats every square."""
    camera = lot.travelling(SPEED)
    x, y = lot.column(0, 1)
    sprite = lot.sprite(13 * PIXEL, x - camera.x, y - camera.y, wraps=True)
    return Scene(lot.background(), camera, (sprite,))


def zooming(lot: Lot) -> Scene:
    """The camera closes in or backs away, rolling a little; a sprite lies near the centre."""
    zoom = np.cumprod(lot.still(lot.one_of((1.025, 1 / 1.025))))
    zoom = zoom / np.sqrt(zoom[-1])  # as far beyond 1 at the end as short of it at the start
    roll = lot.one_of((-1, 1)) * lot.steps * 1 / 360
    x, y = lot.within(4), lot.within(4)
    sprite = lot.sprite(11 * PIXEL * zoom, x * zoom, y * zoom, roll)
    return Scene(lot.background(), lot.rolling(-roll, zoom), (sprite,))


def bouncing(lot: Lot) -> Scene:
    """A sprite flies about between the edges of the square."""
    radius = 14 * PIXEL
    x, y = lot.column(0, 1)
    speed_x, speed_y = lot.velocity(SPEED)
    path_x = _reflected(x + speed_x * lot.steps, 0.5 - radius)
    path_y = _reflected(y + speed_y * lot.steps, 0.5 - radius)
    return Scene(lot.background(), lot.standing(), (lot.sprite(radius, path_x, path_y),))


def crossing(lot: Lot) -> Scene:
    """Two sprites cross the scene, one in front of the other; who leaves on one side enters on the other."""
    sprites = []
    for index, radius in enumerate((13 * PIXEL, 10 * PIXEL)):
        x, y = lot.column(index, 2)
        speed_x, speed_y = lot.velocity(SPEED)
        sprites.append(lot.sprite(radius, x + speed_x * lot.steps, y + speed_y * lot.steps, wraps=True))
    return Scene(lot.background(), lot.standing(), tuple(sprites))


def passing_behind(lot: Lot) -> Scene:
    """A sprite crosses the scene, again and again, behind a larger one that stands still."""
    x, y = lot.column(0, 1)
    speed_x, speed_y = lot.velocity(SPEED)
    passing = lot.sprite(12 * PIXEL, x + speed_x * lot.steps, y + speed_y * lot.steps, wraps=True)
    standing = lot.sprite(14 * PIXEL, lot.still(lot.within(6)), lot.still(lot.within(6)))
    return Scene(lot.background(), lot.standing(), (passing, standing))


def marching(lot: Lot) -> Scene:
    """Three small sprites keep their places in a row that moves on."""
    speed_x, speed_y = lot.velocity(SPEED)
    x, y = lot.within(32), lot.within(32)
    sprites = []
    for index in range(3):
        sprites.append(
            lot.sprite(
                9 * PIXEL, x + 20 * index * PIXEL + speed_x * lot.steps, y + speed_y * lot.steps, wraps=True
            )
        )
    return Scene(lot.background(), lot.standing(), tuple(sprites))


MOTIONS: dict[str, Callable[[Lot], Scene]] = {
    "panning": panning,
    "zooming": zooming,
    "bouncing": bouncing,
    "crossing": crossing,
    "passing behind": passing_behind,
    "marching (children's parade)": marching,
}


def _reflected(path: np.ndarray, wall: float) -> np.ndarray:
    """A straight path folded between -wall and wall."""
    return np.abs((path + wall) % (4 * wall) - 2 * wall) - wall
