"""Half a million videos: what planning takes, and what full Kinetics-600 costs; on CPU.

    python -m benchmarks.scale

plan_seconds      the longest that a stage takes for all but its units, in one process: up to the units when
                  none is done, from begin to end when all are, and `dvc status` of it; at the largest number
                  of videos
plan_cpu_seconds  the same in seconds of a core, which do not grow where the machine is busy otherwise
plan_gb           the most memory, in GB, that one takes for it
growth_exponent   the greatest e with which CPU time or memory of one grows as videos ** e, over the last
                  tenfold
stages            these figures of every stage and number of videos
hours, disk_gb    of downloading, clipping and encoding Kinetics-600 by presets/kinetics600.yaml, from rates
                  measured in one process: benchmarks/kinetics_costs.py

The videos are stand-ins, see benchmarks/stand_ins.py. Networks are small and trained for one step: what they
take does not depend on the number of videos. All of it takes about half an hour and 8 GB of disk.
"""

import argparse
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from benchmarks.measure import peak_memory
from benchmarks.stages import ROOT

VIDEOS = (5_000, 50_000, 500_000)
STAGES = (
    *("download", "clip", "train_vqvae", "encode", "train_top_prior", "train_bottom_prior"),
    *("sample", "evaluate", "report"),
)
WITH_UNITS = ("download", "clip", "encode", "sample", "evaluate")
GB = 1e9


def prepare(folder: Path) -> None:
    """Make `folder` a workspace of DVC with this repository's pipeline and code."""
    for name in ("stages", "vqcast"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / ".dvc").mkdir()
    config = (ROOT / ".dvc/config").read_text()
    (folder / ".dvc/config").write_text(config.replace("[core]", "[core]\n    no_scm = true"))


def dvc(folder: Path, *arguments: str) -> dict[str, float]:
    """Run dvc; its figures."""
    return measured(folder, [sys.executable, "-m", "dvc", *arguments])


def environment() -> dict[str, str]:
    alone = {"VQCAST_WORKERS": "1", "VQCAST_PROCESSES": "1", "VQCAST_DEVICE": "cpu", "RAY_ADDRESS": ""}
    return {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", **alone}


def measured(folder: Path, command: Sequence[str]) -> dict[str, float]:
    """Seconds that a process takes in `folder`, on the clock and of a core, and its peak memory in GB."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stderr=said)
        peak = peak_memory(process)
        seconds = time.perf_counter() - began
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{shlex.join(command)} failed:\n{said.read()[-5000:]}")
    used = usage.ru_utime + usage.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(used, 1), "gb": round(peak / GB, 2)}


def measure(videos: int) -> dict[str, dict]:
    """Figures of every stage for a collection of so many videos."""
    figures: dict[str, dict] = {stage: {} for stage in STAGES}
    with tempfile.TemporaryDirectory(prefix="vqcast-scale-") as name:
        folder = Path(name)
        prepare(folder)
        commands = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
        for stage in STAGES:
            if stage in WITH_UNITS:
                measured(folder, inside("make", stage, videos))
                figures[stage]["none_done"] = measured(folder, inside("plan", stage, videos))
            command = shlex.split(commands[stage]["cmd"])
            figures[stage]["all_done"] = measured(folder, [sys.executable, *command[1:]])
            print(f"{videos:>7} videos, {stage}: {json.dumps(figures[stage])}", flush=True)
        dvc(folder, "commit", "--force")
        for stage in STAGES:
            figures[stage]["dvc_status"] = dvc(folder, "status", stage)
            print(
                f"{videos:>7} videos, dvc status {stage}: {json.dumps(figures[stage]['dvc_status'])}",
                flush=True,
            )
    return figures


def inside(what: str, stage: str, videos: int) -> list[str]:
    """The command by which a process in the workspace makes a stage's stand-ins, or plans its units."""
    return [sys.executable, "-m", "benchmarks.scale", "--inside", what, stage, str(videos)]


def make(stage: str, videos: int) -> None:
    from benchmarks import stand_ins  # not at the top, as below: what is measured imports what a stage does

    function: Callable = getattr(stand_ins, stage)
    function(videos) if stage == "download" else function()


def plan(stage: str, videos: int) -> None:
    """Do what a stage does before its units, and hand out the units, each of which is nothing."""
    from vqcast.work.execution import run_units

    for _ in run_units(nothing, units(stage), stage):
        pass


def nothing(unit: object) -> None:
    """A unit that is no work."""


def units(stage: str) -> Sequence[object]:
    """The units of a stage of which none is done."""
    from vqcast.settings.params import load_settings

    settings = load_settings()
    if stage == "download":
        from vqcast.sources.download import source_of
        from vqcast.sources.exclusions import read_exclusions

        exclusions = read_exclusions("data/exclude.csv")
        return source_of(settings.download, Path("data/kinetics"), exclusions).plan()
    if stage == "clip":
        from vqcast.clips.clips import ShardPlan, Units
        from vqcast.sources.exclusions import read_exclusions

        exclusions = read_exclusions("data/exclude.csv")
        shards = ShardPlan("data/raw.parquet", settings.clip.videos_per_shard, exclusions)
        rest = {"store": Path("data/raw"), "scratch": Path("none"), "settings": settings.clip}
        return Units(shards, range(len(shards.keys)), least_frames=settings.window.frames, **rest)
    if stage == "encode":
        from benchmarks.stand_ins import encoder_and_shards

        return encoder_and_shards(settings)[1]
    from benchmarks.stand_ins import predicted_windows

    windows = len(predicted_windows(settings))
    if stage == "sample":
        from vqcast.sampling.windows import batches_of

        return batches_of(range(windows), settings.sample, Path("none"))
    from vqcast.metrics.scores import batches_of

    return batches_of(windows, settings.evaluate, Path("none"))


def exponents(figures: dict[int, dict[str, dict]]) -> dict[str, float]:
    """By stage, the exponent of its growth over the last two numbers of videos: of time or of memory."""
    few, many = sorted(figures)[-2:]
    found = {}
    for stage in STAGES:
        pairs = [
            (figures[few][stage][how][what], figures[many][stage][how][what])
            for how in figures[many][stage]
            for what in ("cpu_seconds", "gb")
        ]
        found[stage] = max(math.log(large / small) / math.log(many / few) for small, large in pairs)
    return found


def worst(of_stages: dict[str, dict], what: str) -> float:
    return max(figures[how][what] for figures in of_stages.values() for how in figures)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, nargs="+", default=VIDEOS, help="collections to plan for")
    parser.add_argument("--inside", nargs=3, metavar=("WHAT", "STAGE", "VIDEOS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        what, stage, videos = arguments.inside
        {"make": make, "plan": plan}[what](stage, int(videos))
        return
    figures = {videos: measure(videos) for videos in arguments.videos}
    from benchmarks.kinetics_costs import costs  # not at the top: what is measured starts without torch

    largest = figures[max(figures)]
    result = {
        "plan_seconds": worst(largest, "seconds"),
        "plan_cpu_seconds": worst(largest, "cpu_seconds"),
        "plan_gb": worst(largest, "gb"),
        "growth_exponent": round(max(exponents(figures).values()), 2) if len(figures) > 1 else None,
        **costs(),
        "stages": figures,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
