"""I3D features of videos, with the protocol they were made by."""

import hashlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vqcast.features.weights import published_i3d
from vqcast.networks.i3d import I3D, random_i3d
from vqcast.settings.evaluate import Evaluate
from vqcast.work.environment import autocast, computes_bfloat16, device

SEED = 0
RANDOM_METRIC = "frechet_random_i3d"


class Features:
    """What makes features of videos: an I3D, the size at which it sees them, and its precision.

    metric: what the Frechet distance of these features is called. weights: where the network's come from.
    """

    def __init__(self, network: I3D, metric: str, weights: str, resolution: int, precision: str):
        self.metric, self.weights = metric, weights
        self.resolution, self.precision = resolution, precision
        self.weights_sha256 = weights_sha256(network)
        self._network = network.to(device(), memory_format=torch.channels_last_3d)

    def protocol(self) -> dict:
        """What must stand beside a number that came from these features."""
        return {
            "metric": self.metric,
            "features": "400 logits of I3D, averaged over time",
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "precision": self.precision if computes_bfloat16() else "float32",
            "resolution": self.resolution,
            "resize": "stretched to a square, bilinear, half-pixel centres, antialiased when shrinking",
        }

    @torch.inference_mode()
    def __call__(self, videos: np.ndarray) -> np.ndarray:
        """Features (B, 400), float32, of videos uint8 (B, T, H, W, 3)."""
        batch = resize(_tensor(videos) / 127.5 - 1, self.resolution)
        batch = batch.contiguous(memory_format=torch.channels_last_3d)
        with autocast(self.precision):
            return self._network(batch).float().cpu().numpy()


def open_features(evaluate: Evaluate) -> Features:
    """Features as the settings want them; only those by the published weights make a distance FVD.

    Raises VqcastError where the weights that they name are not there, or not the published ones.
    """
    if evaluate.weights is None:
        network, metric, weights = random_i3d(SEED), RANDOM_METRIC, f"random, seed {SEED}"
    else:
        network, metric = published_i3d(evaluate.weights), "fvd"
        weights = "DeepMind's rgb_scratch for Kinetics-400 (TF-Hub's i3d-kinetics-400/1), as published"
    return Features(network, metric, weights, evaluate.resolution, evaluate.precision)


def shrunk(videos: np.ndarray, size: int) -> np.ndarray:
    """Videos uint8 (B, T, H, W, 3) at `size` x `size` pixels: resized as for I3D, and rounded to bytes."""
    if videos.shape[2:4] == (size, size):
        return videos
    return resize(_tensor(videos), size).round().clamp(0, 255).byte().permute(0, 2, 3, 4, 1).cpu().numpy()


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


def _tensor(videos: np.ndarray) -> Tensor:
    """Videos (B, C, T, H, W), float32, in grey levels of 0..255, on the device of networks."""
    return torch.from_numpy(videos).to(device()).permute(0, 4, 1, 2, 3).float()
