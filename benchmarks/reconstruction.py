"""What the VQ-VAE reaches in some minutes of training at 16x64x64 on a folder of real videos.

    python -m benchmarks.reconstruction --videos DIR [--minutes 10]

DIR is laid out as `presets/folder.yaml` says, which also gives the network and how it is trained: but for
the number of steps, which is what the minutes allow on this machine. Training videos and validation videos
are other files, by videos.csv or by content.

psnr                        dB over all 16 frames, mean over the validation windows
top_usage, bottom_usage     share of each codebook that the validation windows use
bits_per_window             size of a window's codes, log2 of the codebook each
"""

import argparse
import dataclasses
import json
import math
import tempfile
import time
from pathlib import Path

from benchmarks.clips import ROOT, make_clips
from vqcast.execution import reading_threads
from vqcast.networks.grids import Grids
from vqcast.settings import Settings, Training, load_settings
from vqcast.training.loop import train
from vqcast.training.vqvae import VqvaeTask
from vqcast.video.windows import Clips, WindowDataset

PRESET = "presets/folder.yaml"
TRIAL_STEPS = 60  # to learn how long a step takes
ALL = 10**9


def vqvae_task(settings: Settings, clips: Clips) -> VqvaeTask:
    train_windows, val_windows = (
        WindowDataset(clips, clips.windows(split, settings.window), settings.window.frames)
        for split in ("train", "val")
    )
    task = VqvaeTask(settings.vqvae, settings.train_vqvae.seed, train_windows, val_windows, reading_threads())
    return task


def steps_in(minutes: float, settings: Settings, clips: Clips, scratch: Path) -> int:
    """How many steps the minutes allow, reading ahead and validation included."""
    trial = dataclasses.replace(
        settings.train_vqvae, steps=TRIAL_STEPS, validate_every=ALL, checkpoint_every=ALL
    )
    start = time.perf_counter()
    train(vqvae_task(settings, clips), trial, scratch, "trial")
    return int(minutes * 60 / (time.perf_counter() - start) * TRIAL_STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconstruction", description=__doc__)
    parser.add_argument("--videos", required=True, help="folder of videos: <label>/<file>, videos.csv if any")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training (default: 10)")
    arguments = parser.parse_args()
    settings = load_settings(ROOT / PRESET)
    with tempfile.TemporaryDirectory() as folder:
        root = {"root": str(Path(arguments.videos).resolve())}
        clips = Clips(*make_clips(Path(folder), PRESET, {"source": "directory", "directory": root}))
        steps = steps_in(arguments.minutes, settings, clips, Path(folder) / "trial")
        training: Training = dataclasses.replace(settings.train_vqvae, steps=steps, validate_every=ALL)
        task = vqvae_task(settings, clips)
        task.validation = task.validation.dataset  # all windows
        start = time.perf_counter()
        train(task, training, Path(folder) / "run", "train_vqvae")
        minutes = (time.perf_counter() - start) / 60
        figures = task.eval().validate()
    grids = Grids.of(settings.window, settings.clip.size, settings.vqvae)
    codes = math.prod(grids.top) + math.prod(grids.bottom)
    result = {
        **figures,
        "bits_per_window": codes * math.log2(settings.vqvae.codes),
        "windows": len(task.validation),
        "steps": steps,
        "minutes": minutes,
    }
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
