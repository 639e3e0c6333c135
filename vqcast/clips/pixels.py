"""Pixels as files hold them, and as networks see them."""

import numpy as np
import torch
from torch import Tensor

from vqcast.work.environment import device


def to_unit_range(video: Tensor) -> Tensor:
    """uint8 pixels (B, 3, T, H, W) to float in [-1, 1], on the device networks run on."""
    return video.to(device(), memory_format=torch.channels_last_3d).float().div_(127.5).sub_(1)


def to_pixels(video: Tensor) -> Tensor:
    """Video in [-1, 1] to uint8 pixels, the inverse of `to_unit_range`."""
    return video.add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)


def video_of(frames: np.ndarray) -> Tensor:
    """Frames uint8 (B, T, H, W, 3) as networks see them: (B, 3, T, H, W) in [-1, 1], on their device."""
    return to_unit_range(torch.from_numpy(frames).permute(0, 4, 1, 2, 3))


def frames_of(video: Tensor) -> np.ndarray:
    """The inverse of `video_of`."""
    return to_pixels(video).permute(0, 2, 3, 4, 1).cpu().numpy()
