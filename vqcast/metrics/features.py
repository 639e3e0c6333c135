"""I3D features of videos, with the protocol they were made by."""

import hashlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vqcast.execution import device
from vqcast.networks.i3d import I3D, random_i3d

SEED = 0


class RandomI3D:
    """Features from an I3D with fixed random weights: distances between them are never called FVD."""

    metric = "frechet_random_i3d"

    def __init__(self, resolution: int, precision: str):
        self.resolution, self.precision = resolution, precision
        network = random_i3d(SEED)
        self.weights_sha256 = weights_sha256(network)
        self._network = network.to(device(), memory_format=torch.channels_last_3d)

    def protocol(self) -> dict:
        """What must stand beside a number that came from these features."""
        return {
            "features": "400 logits of I3D, averaged over time",
            "weights": f"random, seed {SEED}",
            "weights_sha256": self.weights_sha256,
            "precision": self.precision,
            "resolution": self.resolution,
            "resize": "stretched to a square, bilinear, half-pixel centres, antialiased when shrinking",
        }

    @torch.inference_mode()
    def __call__(self, videos: np.ndarray) -> np.ndarray:
        """Features (B, 400), float32, of videos uint8 (B, T, H, W, 3)."""
        batch = torch.from_numpy(videos).to(device()).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        batch = resize(batch, self.resolution).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(device().type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self._network(batch).float().cpu().numpy()


def resize(videos: Tensor, resolution: int) -> Tensor:
    """Videos (B, C, T, H, W) stretched to `resolution` x `resolution` pixels."""
    if videos.shape[-2:] == (resolution, resolution):
        return videos
    frames = videos.transpose(1, 2).flatten(0, 1)
    frames = functional.interpolate(
        frames, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True
    )
    return frames.unflatten(0, (len(videos), -1)).transpose(1, 2)


def weights_sha256(network: I3D) -> str:
    """SHA-256 over the names and float32 values of all tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + b"\0" + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
