"""Continuations of a video's given frames."""

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vqcast.clips.pixels import frames_of, video_of
from vqcast.errors import VqcastError
from vqcast.media import ffmpeg
from vqcast.media.reading import footage_of
from vqcast.networks.vqvae import Codes
from vqcast.prediction.trained import Trained
from vqcast.sampling.predict import decode_predicted, numbers_a_window, random_numbers, sample_codes


@dataclass(frozen=True)
class Beginning:
    """A video from where it is to be continued."""

    given: np.ndarray  # frames uint8 (T, H, W, 3)
    true: Iterator[np.ndarray]  # the frames that follow, each (H, W, 3), decoded when they are asked for
    follow: int  # how many these are; fewer than were asked for where the video ends before
    rate: float  # frames/s
    complaint: str  # what ended the decoding before the video's end; "" where nothing did


@contextlib.contextmanager
def read_beginning(
    video: str | Path, start: float, trained: Trained, frames: int | None = None
) -> Iterator[Beginning]:
    """The given frames of `video` from `start` on, in seconds, and up to `frames` that really follow.

    frames: by default those of a window. All are made as the clip stage makes the clips that the models were
    trained on, but without loss: an encoder looks ahead, and the given frames must not know what follows.
    Raises VqcastError.
    """
    if not Path(video).is_file():
        raise VqcastError(f"{video} is no file")
    clip, given = trained.clip, trained.given
    try:
        with footage_of(
            video,
            given + (trained.predicted if frames is None else frames),
            ffmpeg.Limits(clip.time_limit, clip.max_pixels),
            a_file=trained.frames,
            size=trained.size,
            fps=clip.fps,
            start=start,
        ) as footage:
            if footage.count < given:
                after = f" after {start:g} s" if start else ""
                why = f" ({footage.complaint})" if footage.complaint else ""
                has = f"{video} has {footage.count} frames{after}"
                raise VqcastError(f"{has}, and {given} must be given{why}")
            read = iter(footage)
            first, follow = np.stack(list(itertools.islice(read, given))), footage.count - given
            yield Beginning(first, read, follow, float(footage.rate), footage.complaint)
    except ffmpeg.Undecodable as error:
        raise VqcastError(f"{video} cannot be decoded: {error}") from None


def windows_of(trained: Trained, frames: int) -> int:
    """How many windows, one after another, predict so many frames."""
    return math.ceil(frames / trained.predicted)


def codes_to_draw(trained: Trained, frames: int) -> int:
    """How many codes of each continuation by so many frames are drawn."""
    return windows_of(trained, frames) * numbers_a_window(trained.top_prior)


def roll_on(
    trained: Trained, given: np.ndarray, samples: int, frames: int, seed: int, done: Callable[[int], object]
) -> Iterator[np.ndarray]:
    """`samples` continuations of `given`, uint8 (T, H, W, 3), by `frames` frames, a window after another.

    Each window's predicted frames, uint8 (samples, P, H, W, 3), of the last one as many as are wanted; a
    continuation's last frames are the given ones of its next window, pixel for pixel. Window number k, from
    0, is drawn with `seed + k`, or else a scene that comes to rest would be drawn alike for ever. So
    continuation s in it is `continue_frames(trained, its given frames, s + 1, seed + k, done)[s]`.
    """
    latest = np.repeat(given[None], samples, 0)
    for number in range(windows_of(trained, frames)):
        predicted = _continued(trained, latest, seed + number, done)
        yield predicted[:, : frames - number * trained.predicted]
        latest = np.concatenate([latest, predicted], 1)[:, -trained.given :]


def continue_frames(
    trained: Trained, given: np.ndarray, samples: int, seed: int, done: Callable[[int], object]
) -> np.ndarray:
    """`samples` continuations of `given`, uint8 (T, H, W, 3): their predicted frames, (samples, P, H, W, 3).

    They follow from the frames, the models and the seed alone. `done` is told of codes as they are drawn.
    """
    return _continued(trained, np.repeat(given[None], samples, 0), seed, done)


@torch.inference_mode()
def _continued(trained: Trained, given: np.ndarray, seed: int, done: Callable[[int], object]) -> np.ndarray:
    """The predicted frames of a window each, behind their own `given` frames (samples, T, H, W, 3)."""
    video = video_of(given)
    prefix = [trained.vqvae.encode_given(one) for one in video.split(1)]  # alone: the same bits in any batch
    prefix = Codes(*(torch.cat(codes) for codes in zip(*prefix, strict=True)))
    names = [(hashlib.sha256(one.tobytes()).hexdigest(), sample) for sample, one in enumerate(given)]
    numbers = random_numbers(names, numbers_a_window(trained.top_prior), seed)
    codes = sample_codes(trained.top_prior, trained.bottom_prior, prefix, numbers, trained.sample, done)
    return frames_of(decode_predicted(trained.vqvae, codes, video))
