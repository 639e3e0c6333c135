"""What is seen of the windows shown: the truth, several predictions, and what each level of codes holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vqcast.clips.pixels import frames_of, video_of
from vqcast.measures.image import psnr, squared_error
from vqcast.metrics.windows import ValidationWindows
from vqcast.sampling.store import Samples
from vqcast.sampling.windows import Batch, Sampling, sample_batch
from vqcast.work.execution import run_units

FULL_FLOW = 8.0  # pixels of movement that are drawn in full colour
ADDED = 4  # how much stronger than it is what the codes add is drawn


@dataclass(frozen=True)
class Pictures:
    """Frames of a window, each uint8 (T, H, W, 3)."""

    true: np.ndarray
    predicted: list[np.ndarray]  # each the given frames, then a prediction; the scored ones come first
    reconstructed: np.ndarray  # of its own codes
    from_top: np.ndarray  # of its own top codes alone, as in the paper's figure 2
    expected: dict[str, np.ndarray]  # where the VQ-VAE sees the given frames: what it expects, and why

    def psnr(self, prediction: int, given: int) -> float:
        """PSNR of one prediction over the predicted frames, in dB."""
        return float(psnr(squared_error(self.predicted[prediction][given:], self.true[given:]).mean()))


def draw_predictions(
    windows: ValidationWindows, numbers: Sequence[int], count: int, sampling: Sampling, scratch: Path
) -> list[list[np.ndarray]]:
    """`count` predictions of each of these windows, uint8 (P, H, W, 3): samples 0, 1, ... of the window.

    Those that the sample stage has drawn are taken as they are; the others are drawn as it would draw them,
    from random numbers that belong to the window and to the sample's number. Each batch is kept in `scratch`.
    """
    drawn = windows.samples.samples_per_window
    further = [(int(windows.rows[n]), sample) for n in sorted(numbers) for sample in range(drawn, count)]
    size = sampling.settings.batch_size
    batches = [
        Batch(tuple(further[first : first + size]), scratch / f"samples-{first:05d}.arrow", scratch)
        for first in range(0, len(further), size)
    ]
    for _ in run_units(partial(sample_batch, sampling), batches, "predict", networks=True):
        pass
    more = Samples(scratch) if batches else None
    return [
        [
            (windows.samples if sample < drawn else more).predicted(windows.refs[n].id, sample)
            for sample in range(count)
        ]
        for n in numbers
    ]


@torch.inference_mode()
def pictures(windows: ValidationWindows, number: int, predictions: list[np.ndarray]) -> Pictures:
    """The frames of validation window `number`, with these predictions of it."""
    chosen = range(number, number + 1)
    true = windows.true_frames(chosen)[0]
    given = true[: windows.window.given]
    from_codes, from_top = (
        np.concatenate([given, windows.reconstructed(chosen, given[None], use_bottom)[0]])
        for use_bottom in (True, False)
    )
    behind = [np.concatenate([given, predicted]) for predicted in predictions]
    return Pictures(true, behind, from_codes, from_top, _expected(windows, given, predictions[0]))


def _expected(windows: ValidationWindows, given: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Frames uint8 (P, H, W, 3): "frames", what is expected without codes; "moved", by which flow, a colour a
    direction; "new", white where pixels are; "added", how far the codes of `prediction` are from what is
    expected, times ADDED. Nothing where nothing is expected."""
    if not windows.vqvae.settings.sees_given:
        return {}
    explained = windows.vqvae.expectation.explained(video_of(given[None]))
    frames = frames_of(explained.video)[0]
    right, down = -explained.flow[0].cpu().numpy()  # where to, not where from
    hue, amount = np.arctan2(down, right) / (2 * np.pi) % 1, np.hypot(right, down) / FULL_FLOW
    hsv = np.stack([hue, np.minimum(amount, 1), np.ones_like(hue)], -1)
    new = explained.new[0, 0].cpu().numpy()[..., None].repeat(3, -1)
    added = np.abs(prediction.astype(np.int32) - frames) * ADDED
    return {
        "frames": frames,
        "moved": np.stack([_rgb(frame) for frame in (hsv * 255).round().astype(np.uint8)]),
        "new": (new * 255).round().astype(np.uint8),
        "added": np.minimum(added, 255).astype(np.uint8),
    }


def _rgb(hsv: np.ndarray) -> np.ndarray:
    return np.asarray(Image.frombytes("HSV", hsv.shape[1::-1], hsv.tobytes()).convert("RGB"))
