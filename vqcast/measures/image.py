"""PSNR and SSIM of predicted frames.

Shapes: videos are uint8 (..., T, H, W, 3).
"""

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

PSNR_CAP = 60.0  # dB; what equal frames score, where the mean of infinities would say nothing


def squared_error(videos: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean squared error (..., T) of each frame, in squared grey levels of 0..255; exact."""
    difference = videos.astype(np.int32) - truth.astype(np.int32)
    return np.square(difference).mean(axis=(-3, -2, -1))


def psnr(mean_squared_error: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB, at most PSNR_CAP."""
    least = 255**2 / 10 ** (PSNR_CAP / 10)
    return 10 * np.log10(255**2 / np.maximum(mean_squared_error, least))


def ssim(videos: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Structural similarity (B, T) of each frame of videos (B, T, H, W, 3): 11x11 Gaussian of sigma 1.5."""
    scores = structural_similarity_index_measure(
        _images(videos), _images(truth), sigma=1.5, kernel_size=11, data_range=1.0, reduction="none"
    )
    return scores.double().numpy().reshape(videos.shape[:2])


def _images(videos: np.ndarray) -> torch.Tensor:
    """Frames (B * T, 3, H, W) in [0, 1]."""
    return torch.from_numpy(videos.reshape(-1, *videos.shape[-3:])).permute(0, 3, 1, 2).float() / 255
