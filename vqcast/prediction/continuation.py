"""Continuations of a video's given frames."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vqcast.clips.pixels import frames_of, video_of
from vqcast.errors import VqcastError
from vqcast.media import ffmpeg
from vqcast.media.reading import read_frames
from vqcast.networks.vqvae import Codes
from vqcast.prediction.trained import Trained
from vqcast.sampling.predict import decode_predicted, numbers_a_window, random_numbers, sample_codes


@dataclass(frozen=True)
class Beginning:
    """Frames of a video from where it is to be continued: uint8 (T, H, W, 3)."""

    given: np.ndarray
    true: np.ndarray | None  # what follows; None where the video does not go on for a whole window
    rate: float  # frames/s


def read_beginning(video: str | Path, start: float, trained: Trained) -> Beginning:
    """The given frames of `video` from `start` on, in seconds, and what really follows.

    They are made as the clip stage makes the clips that the models were trained on, but without loss: an
    encoder looks ahead, and the given frames must not know what follows. Raises VqcastError.
    """
    if not Path(video).is_file():
        raise VqcastError(f"{video} is no file")
    clip = trained.clip
    try:
        read = read_frames(
            video,
            trained.frames,
            ffmpeg.Limits(clip.time_limit, clip.max_pixels),
            size=trained.size,
            fps=clip.fps,
            start=start,
        )
    except ffmpeg.Undecodable as error:
        raise VqcastError(f"{video} cannot be decoded: {error}") from None
    frames, given = read.frames, trained.given
    if len(frames) < given:
        after = f" after {start:g} s" if start else ""
        why = f" ({read.complaint})" if read.complaint else ""
        raise VqcastError(f"{video} has {len(frames)} frames{after}, and {given} must be given{why}")
    whole = len(frames) == trained.frames
    return Beginning(frames[:given], frames[given:] if whole else None, float(read.rate))


def codes_to_draw(trained: Trained) -> int:
    """How many codes of each continuation are drawn."""
    return numbers_a_window(trained.top_prior)


@torch.inference_mode()
def continue_frames(
    trained: Trained, given: np.ndarray, samples: int, seed: int, done: Callable[[int], object]
) -> np.ndarray:
    """`samples` continuations of `given`, uint8 (T, H, W, 3): their predicted frames, (samples, P, H, W, 3).

    They follow from the frames, the models and the seed alone. `done` is told of codes as they are drawn.
    """
    video = video_of(given[None])
    prefix = Codes(*(codes.expand(samples, -1, -1, -1) for codes in trained.vqvae.encode_given(video)))
    window = hashlib.sha256(given.tobytes()).hexdigest()
    names = [(window, sample) for sample in range(samples)]
    numbers = random_numbers(names, codes_to_draw(trained), seed)
    codes = sample_codes(trained.top_prior, trained.bottom_prior, prefix, numbers, trained.sample, done)
    return frames_of(decode_predicted(trained.vqvae, codes, video.expand(samples, -1, -1, -1, -1)))
