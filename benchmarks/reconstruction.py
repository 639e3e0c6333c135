"""What the VQ-VAE reaches in some minutes of training at 16x64x64 on a folder of real videos.

    python -m benchmarks.reconstruction --videos DIR [--minutes 10]

DIR is laid out as `presets/folder.yaml` says, which also gives the network and how it is trained: but for
the number of steps, which is what the minutes allow on this machine. Training videos and validation videos
are other files, by videos.csv or by content. Both ways to code a window are tried, each for as many minutes:
`paper`, and `sees_given`, where codes say how predicted frames differ from what the given ones let expect.

psnr                        dB over all 16 frames, mean over the validation windows
top_usage, bottom_usage     share of each codebook that the validation windows use
bits_per_window             size of a window's codes, log2 of the codebook each
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.stages import make_clips, run_stage, write_params
from vqcast.clips.windows import Clips, WindowDataset
from vqcast.codes.models import load_vqvae
from vqcast.networks.grids import Grids
from vqcast.settings.params import load_settings
from vqcast.training.vqvae import VqvaeTask

PRESET = "presets/folder.yaml"
TRIALS = (30, 90)  # steps, to learn how long a step takes
ALL = 10**9


def minutes_of(folder: Path, download: dict, sees_given: bool, steps: int) -> float:
    """Train in `folder` for some steps, and tell the minutes that it took, starting up included."""
    training, vqvae = {"steps": steps, "validate_every": ALL}, {"sees_given": sees_given}
    write_params(folder, PRESET, download=download, vqvae=vqvae, train_vqvae=training)
    start = time.perf_counter()
    run_stage(folder, "train_vqvae")
    return (time.perf_counter() - start) / 60


def judged(folder: Path) -> tuple[dict[str, float], int]:
    """Figures over all validation windows, and how many these are."""
    settings = load_settings(folder / "params.yaml")
    clips = Clips(folder / "clips", folder / "clips.parquet")
    windows = WindowDataset(clips, clips.windows("val", settings.window), settings.window.frames)
    parts = (settings.vqvae, settings.expectation, settings.window, settings.train_vqvae)
    task = VqvaeTask(*parts, windows, windows, readers=0)
    task.network, task.validation = load_vqvae(folder / "vqvae"), windows
    with torch.inference_mode():
        return task.validate(), len(windows)


def trained(folder: Path, download: dict, sees_given: bool, minutes: float) -> dict[str, float]:
    """What the VQ-VAE reaches in `minutes`, and in how many steps."""
    few, many = (minutes_of(folder, download, sees_given, steps) for steps in TRIALS)
    steps = int((minutes - few) / ((many - few) / (TRIALS[1] - TRIALS[0]))) + TRIALS[0]
    taken = minutes_of(folder, download, sees_given, steps)
    figures, windows = judged(folder)
    settings = load_settings(folder / "params.yaml")
    grids = Grids.of(settings.window, settings.clip.resolution, settings.vqvae)
    codes = math.prod(grids.top) + math.prod(grids.bottom)
    bits = codes * math.log2(settings.vqvae.codes)
    result = {**figures, "bits_per_window": bits, "windows": windows, "steps": steps, "minutes": taken}
    return {name: round(value, 4) for name, value in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconstruction", description=__doc__)
    parser.add_argument("--videos", required=True, help="folder of videos: <label>/<file>, videos.csv if any")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training (default: 10)")
    arguments = parser.parse_args()
    root = {"root": str(Path(arguments.videos).resolve())}
    download = {"source": "directory", "directory": root}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clips(folder, PRESET, download)
        modes = {"paper": False, "sees_given": True}
        result = {
            name: trained(folder, download, sees_given, arguments.minutes)
            for name, sees_given in modes.items()
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
