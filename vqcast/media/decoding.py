"""Clips' mp4 bytes as frames, by decord.

This runs in the reader's own process, without the limits of ffmpeg.py. It may: x264 made these bytes from
pixels, in the clip stage, so that no byte of a downloaded file is in them.
"""

import io

import decord
import numpy as np

from vqcast.media.excerpt import excerpt


def decode(mp4: bytes, frames: range) -> np.ndarray:
    """Some consecutive `frames` of a clip that ffmpeg.py made: uint8 (len(frames), H, W, 3)."""
    part, before = excerpt(mp4, frames)
    reader = _reader(part)
    if before:
        reader.skip_frames(before)
    return np.stack([_unpadded(reader.next().asnumpy()) for _ in frames])


def count_frames(mp4: bytes) -> int:
    """How many frames a clip has, once decord has decoded each; 0 where it cannot."""
    try:
        reader = _reader(mp4)
        for index in range(len(reader)):
            reader[index]
    except decord.DECORDError:
        return 0
    return len(reader)


def _reader(mp4: bytes) -> decord.VideoReader:
    return decord.VideoReader(io.BytesIO(mp4), num_threads=1)


def _unpadded(frame: np.ndarray) -> np.ndarray:
    """Only the pixels of a frame (H, W, 3 or more).

    Where the padded rows of the decoder happen to be a multiple of the width, decord takes the padding for
    further channels; at width 96, say, its frames are (H, 96, 4), and `get_batch` fails on them.
    """
    height, width, _ = frame.shape
    return frame.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)
