"""Pixels as files hold them, and as networks see them."""

import torch
from torch import Tensor

from vqcast.work.environment import device


def to_unit_range(video: Tensor) -> Tensor:
    """uint8 pixels (B, 3, T, H, W) to float in [-1, 1], on the device networks run on."""
    return video.to(device(), memory_format=torch.channels_last_3d).float().div_(127.5).sub_(1)


def to_pixels(video: Tensor) -> Tensor:
    """Video in [-1, 1] to uint8 pixels, the inverse of `to_unit_range`."""
    return video.add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
