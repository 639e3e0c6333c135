"""Reading windows at random from shards against decord on the videos they were cut from; benchmarks.data.

random_access_speedup   windows/s read at random from shards of clips, of the size in params.yaml, over those
                        that decord reads from the videos they were cut from: 10 s of 640x360 at 25 frames/s
                        with one keyframe
window_ms, decord_ms    a window's time, either way

Each window is one that was not read before, and its clip or video is opened anew, as in a collection that is
larger than memory. Times are medians of batches taken in turn, a training batch of windows one after another.
"""

import random
import subprocess
from itertools import islice
from pathlib import Path

import decord

from benchmarks.measure import interleaved_medians
from benchmarks.stages import make_clips
from vqcast.clips.windows import Clips
from vqcast.media import ffmpeg
from vqcast.settings.data import Window

VIDEOS = 12
FRAMES = 250  # of a video
WINDOW = Window(frames=16, given=4, stride=1)
BATCH, BATCHES = 8, 25


def make_videos(folder: Path) -> None:
    """Moving patterns, each different, with all frames after one keyframe."""
    folder.mkdir(parents=True)
    for number in range(VIDEOS):
        pattern = f"testsrc2=size=640x360:rate=25,hue=h={30 * number},scroll=h={number / 1000}"
        options = ["-g", str(FRAMES), "-keyint_min", str(FRAMES), "-sc_threshold", "0", "-pix_fmt", "yuv420p"]
        command = [ffmpeg.executable(), "-loglevel", "error", "-f", "lavfi", "-i", pattern, *options]
        subprocess.run([*command, "-frames:v", str(FRAMES), folder / f"{number}.mp4"], check=True)


def random_access(folder: Path) -> dict[str, float]:
    """Windows of shards against decord on the original videos."""
    make_videos(folder / "videos" / "pattern")
    source = {"source": "directory", "directory": {"root": "videos", "val_share": 0.0}}
    clips = Clips(*make_clips(folder, "params.yaml", source))
    windows = random.Random(0).sample(clips.windows("train", WINDOW), 2 * BATCH * (BATCHES + 1))
    ours, theirs = iter(windows[::2]), iter(windows[1::2])

    def from_shards() -> None:
        for window in islice(ours, BATCH):
            clips.frames(window, WINDOW.frames)

    def from_originals() -> None:
        for window in islice(theirs, BATCH):
            reader = decord.VideoReader(str(folder / "videos" / window.video))
            reader.get_batch(range(window.start, window.start + WINDOW.frames)).asnumpy()

    seconds = interleaved_medians({"ours": from_shards, "decord": from_originals}, BATCHES)
    return {
        "random_access_speedup": round(seconds["decord"] / seconds["ours"], 1),
        "window_ms": round(1000 * seconds["ours"] / BATCH, 2),
        "decord_ms": round(1000 * seconds["decord"] / BATCH, 2),
    }
