"""What evaluate holds in memory does not depend on the number of windows."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.evaluated import CLIPS, EVALUATE, ROOT, save_untrained_models, write_params
from tests.videos import Workspace, from_folder, make_video
from vqcast.clips.windows import Clips
from vqcast.sampling.store import write_samples
from vqcast.settings.params import load_settings

FRAMES = 215  # of a video: 200 windows, one from each frame on


def predicted_windows(folder: Path, videos: int) -> None:
    """A folder in which all that evaluate reads lies; predictions are the true frames, the codes any."""
    split = ["video,split", "train/pattern.mp4,train"]
    make_video(folder / "videos/train/pattern.mp4", frames=16)
    for number in range(videos):
        make_video(folder / f"videos/val/{number}.mp4", frames=FRAMES + number)  # no two alike
        split.append(f"val/{number}.mp4,val")
    (folder / "videos/videos.csv").write_text("\n".join(split))
    workspace = Workspace(folder)
    workspace.download(from_folder(folder / "videos"))
    workspace.clip()
    cheap = {"resolution": 8, "batch_size": 100, "sizes": [], "spaces": ["i3d"], "precision": "float32"}
    write_params(folder, window={"stride": 1}, evaluate=cheap)
    os.chdir(folder)
    save_untrained_models(folder)
    clips, settings = Clips(*CLIPS[1::2]), load_settings()
    refs = clips.windows("val", settings.window)
    rows = [
        {
            "window": ref.id,
            "sample": 0,
            "top": np.zeros(64, np.uint16),
            "bottom": np.zeros(512, np.uint16),
            "video": clips.frames(ref, settings.window.frames)[settings.window.given :],
        }
        for ref in refs
    ]
    (folder / "samples").mkdir()
    write_samples(folder / "samples/samples-00000.arrow", rows)


def peak_memory(folder: Path) -> int:
    """Of evaluate, in KiB, all of it in one process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": "1"}
    command = [sys.executable, "-m", "stages.evaluate", *EVALUATE, "--out", "evaluate.json"]
    process = subprocess.Popen(command, cwd=folder, env=environment)
    peak = 0
    while process.poll() is None:  # what wait4 tells afterwards is at least what this process has
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text()):
            peak = int(found[1])
        time.sleep(0.02)
    assert process.returncode == 0
    return peak


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell a process's memory")
def test_two_thousand_windows_take_as_much_memory_as_two_hundred(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    peaks = []
    for videos in (1, 10):
        folder = tmp_path / str(videos)
        predicted_windows(folder, videos)
        peaks.append(peak_memory(folder))
        assert json.loads((folder / "evaluate.json").read_text())["windows"] >= 200 * videos
    print("peak memory, KiB:", peaks)
    assert peaks[1] <= 1.1 * peaks[0]
