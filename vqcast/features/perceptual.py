"""ST-LPIPS of frames, by the weights that the package `stlpips-pytorch` brings.

Shapes: N frames of H = W pixels.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vqcast.features.st_lpips import LEAST_SIDE, StLpips
from vqcast.features.wheels import published
from vqcast.work.environment import device

WEIGHTS = (
    "stlpips_pytorch",
    "weights/vST0.0/alex_shift_tolerant.pth",
    "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
)


class Perceptual:
    """Distances between frames; smaller ones than LEAST_SIDE pixels are enlarged to it first."""

    def __init__(self):
        self._network = published(StLpips(), *WEIGHTS)

    @torch.inference_mode()
    def features(self, frames: np.ndarray) -> list[Tensor]:
        """What `distances` compares, of frames uint8 (N, H, W, 3)."""
        pictures = torch.from_numpy(frames).to(device()).permute(0, 3, 1, 2).float() / 127.5 - 1
        if pictures.shape[-1] < LEAST_SIDE:
            size = (LEAST_SIDE, LEAST_SIDE)
            pictures = functional.interpolate(pictures, size, mode="bilinear", align_corners=False)
        return self._network.features(pictures.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def distances(self, first: list[Tensor], second: list[Tensor]) -> np.ndarray:
        """(N,), float32, of the features of as many frames each."""
        return self._network.distance(first, second).cpu().numpy()
