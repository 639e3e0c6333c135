"""Scenes of moving sprites over textures, and how they are drawn.

Units are the frame's short side, with the origin at the frame's centre: the centre square, which the clip
stage keeps, is [-1/2, 1/2] x [-1/2, 1/2] whatever the frame's size. Angles are in turns. Paths are arrays
(T,), a value a frame.
"""

from dataclasses import dataclass

import numpy as np

from vqcast.embedded.drawing import SHAPES, coverage, grating, turn

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Texture:
    """Two colours, mixed by a weighted sum of gratings (wavelength, angle, phase, weight)."""

    colours: tuple[Colour, Colour]
    gratings: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Camera:
    """From where the background is seen."""

    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    zoom: np.ndarray


@dataclass(frozen=True)
class Sprite:
    """A textured shape and its path in the frame."""

    shape: str
    texture: Texture
    radius: np.ndarray
    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    wraps: bool = False  # what leaves the centre square on one side enters on the other


@dataclass(frozen=True)
class Scene:
    """A background, and the sprites before it: the later ones hide the earlier ones."""

    background: Texture
    camera: Camera
    sprites: tuple[Sprite, ...]


def render(scene: Scene, width: int, height: int) -> np.ndarray:
    """Draw a scene: uint8 (T, H, W, 3)."""
    short = min(width, height)
    x = ((np.arange(width) + 0.5 - width / 2) / short).astype(np.float32)[None, None, :]
    y = ((np.arange(height) + 0.5 - height / 2) / short).astype(np.float32)[None, :, None]
    canvas = _background(scene, x, y)
    for sprite in scene.sprites:
        _draw(sprite, canvas, x, y, pixel=1 / short)
    return np.stack([(channel + np.float32(0.5)).astype(np.uint8) for channel in canvas], axis=-1)


def _background(scene: Scene, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    camera = scene.camera
    world_x, world_y = _rotated(x, y, camera.angle)
    scale = _a_frame(1 / camera.zoom)
    return _paint(
        scene.background, world_x * scale + _a_frame(camera.x), world_y * scale + _a_frame(camera.y)
    )


def _draw(sprite: Sprite, canvas: list[np.ndarray], x: np.ndarray, y: np.ndarray, pixel: float) -> None:
    """Blend a sprite over the canvas: red, green, blue, each float32 (T, H, W)."""
    from_centre_x, from_centre_y = x - _a_frame(sprite.x), y - _a_frame(sprite.y)
    if sprite.wraps:
        from_centre_x -= np.floor(from_centre_x + np.float32(0.5))
        from_centre_y -= np.floor(from_centre_y + np.float32(0.5))
    scale = _a_frame(1 / sprite.radius)
    body_x, body_y = _rotated(from_centre_x * scale, from_centre_y * scale, sprite.angle)
    alpha = coverage(SHAPES[sprite.shape](body_x, body_y), scale * np.float32(pixel))
    for channel, paint in zip(canvas, _paint(sprite.texture, body_x, body_y), strict=True):
        paint -= channel
        paint *= alpha
        channel += paint


def _paint(texture: Texture, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """A texture's red, green and blue at the given coordinates."""
    mix = np.float32(0.5)
    for wavelength, angle, phase, weight in texture.gratings:
        mix = mix + np.float32(weight / 2) * grating(x, y, wavelength, angle, phase)
    dark, bright = texture.colours
    return [mix * np.float32(high - low) + np.float32(low) for low, high in zip(dark, bright, strict=True)]


def _rotated(x: np.ndarray, y: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in a frame of reference that is turned by `angle`."""
    cosine, sine = map(_a_frame, turn(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def _a_frame(path: np.ndarray) -> np.ndarray:
    """A path (T,), to be broadcast against pixels: float32 (T, 1, 1)."""
    return np.asarray(path, np.float32)[:, None, None]
