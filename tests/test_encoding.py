"""Frames that become files: they come back, they are taken one by one, and what breaks off leaves nothing."""

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageSequence

from vqcast.errors import VqcastError
from vqcast.media import ffmpeg
from vqcast.media.decoding import decode
from vqcast.media.encoding import encode_gif, encode_mp4


def ramps(count: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Grey frames, darker at the left, each a little lighter than the one before."""
    ramp = np.linspace(40, 200, width).astype(np.uint8)
    for number in range(count):
        yield np.broadcast_to(ramp[None, :, None], (height, width, 3)) + np.uint8(number % 32)


def test_encoded_frames_come_back(tmp_path):
    encode_mp4(ramps(6), 25, tmp_path / "a.mp4", crf=4)
    stream = ffmpeg.probe(tmp_path / "a.mp4", ffmpeg.Limits(30.0, 2**22))
    assert (stream.rate, stream.width, stream.height) == (25, 64, 48)
    decoded = decode((tmp_path / "a.mp4").read_bytes(), range(6))
    assert np.abs(decoded.astype(int) - np.stack(list(ramps(6)))).mean() < 2


def test_frames_of_a_gif_come_back_for_as_long_as_they_should(tmp_path):
    encode_gif(ramps(6), Fraction(100, 12), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["loop"] == 0
        frames = [
            (frame.info["duration"], np.asarray(frame.convert("RGB")))
            for frame in ImageSequence.Iterator(gif)
        ]
    assert [duration for duration, _ in frames] == [120] * 6
    for (_, shown), frame in zip(frames, ramps(6), strict=True):
        assert np.abs(shown.astype(int) - frame).max() <= 4


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_no_more_than_a_few_frames_are_in_memory(tmp_path, name):
    def write(frames: Iterator[np.ndarray]) -> None:
        if name.endswith(".gif"):
            encode_gif(frames, Fraction(25), tmp_path / name)
        else:
            encode_mp4(frames, 25, tmp_path / name, crf=30)

    tracemalloc.start()
    try:
        write(ramps(300, 120, 160))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 120 * 160 * 3


def test_frames_that_break_off_end_the_encoder_and_what_stopped_them_is_raised(tmp_path):
    def broken() -> Iterator[np.ndarray]:
        yield from ramps(3)
        raise VqcastError("no more")

    with pytest.raises(VqcastError, match="no more"):
        encode_mp4(broken(), 25, tmp_path / "a.mp4", crf=4)


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(VqcastError, match=r"ffmpeg cannot encode .*nowhere/a\.mp4: .*No such file"):
        encode_mp4(ramps(500), 25, tmp_path / "nowhere/a.mp4", crf=4)
