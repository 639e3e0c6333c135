"""Sizes of a window's code grids, which follow from the window, the clip size and the VQ-VAE's strides."""

from dataclasses import dataclass

from vqcast.settings.data import Window
from vqcast.settings.networks import Vqvae


@dataclass(frozen=True)
class Grids:
    """Sizes (T, H, W) of both code grids of a window, and how many of their slices the given frames fill."""

    top: tuple[int, int, int]
    bottom: tuple[int, int, int]
    prefix_top: int
    prefix_bottom: int

    @classmethod
    def of(cls, window: Window, size: int, vqvae: Vqvae) -> "Grids":
        """Grids of `window.frames` frames of `size` x `size` pixels."""
        bottom = [n // s for n, s in zip((window.frames, size, size), vqvae.first_stride, strict=True)]
        top = [n // s for n, s in zip(bottom, vqvae.second_stride, strict=True)]
        prefix_bottom = window.given // vqvae.first_stride[0]
        return cls(tuple(top), tuple(bottom), prefix_bottom // vqvae.second_stride[0], prefix_bottom)

    def shape(self, level: str) -> tuple[int, int, int]:
        """Size (T, H, W) of `top`, `bottom`, `prefix_top` or `prefix_bottom`."""
        whole = self.top if level.endswith("top") else self.bottom
        return (getattr(self, level), *whole[1:]) if level.startswith("prefix") else whole

    @property
    def predicted_top(self) -> tuple[int, int, int]:
        return (self.top[0] - self.prefix_top, *self.top[1:])

    @property
    def predicted_bottom(self) -> tuple[int, int, int]:
        return (self.bottom[0] - self.prefix_bottom, *self.bottom[1:])

    @property
    def ratio(self) -> tuple[int, int, int]:
        """How many bottom positions there are to a top one along each axis."""
        return tuple(low // high for low, high in zip(self.bottom, self.top, strict=True))
