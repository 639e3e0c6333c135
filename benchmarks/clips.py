"""Clips to train on, made as the pipeline makes them, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def make_clips(folder: Path, preset: str, download: dict) -> tuple[Path, Path]:
    """Run `download` and `clip` in `folder`; the shards and the manifest.

    preset: a parameters file of this repository, of which `download` replaces some keys of that section.
    """
    document = yaml.safe_load((ROOT / preset).read_text())
    for key, value in download.items():
        document["download"][key] = document["download"][key] | value if isinstance(value, dict) else value
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    exclude = ROOT / "data/exclude.csv"
    shards, manifest = folder / "clips", folder / "clips.parquet"
    for arguments in (
        ["stages.download", "--kinetics", ROOT / "data/kinetics", "--out", "raw.parquet"],
        ["stages.clip", "--raw", "raw.parquet", "--out", shards, "--manifest", manifest],
    ):
        arguments += ["--store", "raw", "--exclude", exclude]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment, check=True)
    return shards, manifest
