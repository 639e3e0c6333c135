"""Stages of the pipeline, run in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = {
    "download": [
        "--kinetics",
        "kinetics",
        "--exclude",
        "exclude.csv",
        "--store",
        "raw",
        "--out",
        "raw.parquet",
    ],
    "clip": [
        *("--raw", "raw.parquet", "--store", "raw", "--exclude", "exclude.csv"),
        *("--out", "clips", "--manifest", "clips.parquet"),
    ],
    "train_vqvae": [
        *("--clips", "clips", "--manifest", "clips.parquet"),
        *("--out", "vqvae", "--curves", "curves"),
    ],
}


def write_params(folder: Path, preset: str, **changes: dict) -> None:
    """Put a parameters file of this repository into `folder`; `changes` replace some keys of its sections."""
    document = yaml.safe_load((ROOT / preset).read_text())
    for section, keys in changes.items():
        for key, value in keys.items():
            old = document[section][key]
            document[section][key] = old | value if isinstance(value, dict) else value
    (folder / "params.yaml").write_text(yaml.safe_dump(document))


def run_stage(folder: Path, stage: str) -> str:
    """Run a stage in `folder`, and return what it said; its progress is shown meanwhile."""
    command = [sys.executable, "-m", f"stages.{stage}", *STAGES[stage]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = ""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        for line in process.stderr:
            sys.stderr.write(line)
            said += line
    if process.returncode:
        sys.exit(process.returncode)
    return said


def make_clips(folder: Path, preset: str, download: dict) -> tuple[Path, Path]:
    """Run `download` and `clip` in `folder`; the shards and the manifest."""
    (folder / "exclude.csv").write_text("id,reason,date\n")
    write_params(folder, preset, download=download)
    for stage in ("download", "clip"):
        run_stage(folder, stage)
    return folder / "clips", folder / "clips.parquet"
