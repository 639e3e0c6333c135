"""Out, scratch and DVC's cache hold a shard as one file: what is kept for the next run takes no space."""

import configparser
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc_objects.fs.system import reflink

from tests import test_changed_collection as changed
from tests.conftest import ROOT

DEPS = {
    "download": ["videos"],
    "clip": ["data/raw.parquet"],
    "encode": ["data/clips", "data/clips.parquet", "models/vqvae"],
}
OUTS = {
    "download": ["data/raw.parquet"],
    "clip": ["data/clips", "data/clips.parquet"],
    "encode": ["data/latents"],
}
STAGES = {
    stage: {
        "cmd": f"python -m stages.{stage} {' '.join(arguments)}",
        "deps": DEPS[stage],
        "outs": OUTS[stage],
    }
    for stage, arguments in changed.COMMANDS.items()
}


def dvc(folder, *arguments):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DVC_SITE_CACHE_DIR": str(folder / "site cache"),
    }
    result = subprocess.run(["dvc", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def inodes(paths):
    return {path.stat().st_ino for path in paths if path.is_file()}


def check_that_shards_are_stored_once(folder):
    cached = inodes((folder / ".dvc/cache/files").rglob("*"))
    for stage, suffix in (("clip", "arrow"), ("encode", "parquet")):
        published = changed.shards(folder, stage)
        kept = list((folder / ".vqcast/scratch" / stage).rglob(f"*.{suffix}"))
        assert inodes(kept) == published
        assert published <= cached
        for path in kept:
            noted = json.loads(path.with_suffix(".json").read_text())["sha256"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == noted
            assert not path.stat().st_mode & 0o222, "a shard that several places hold can be written to"


def test_a_shard_is_stored_once_before_and_after_videos_were_added(tmp_path):
    (tmp_path / "one").write_text("content")
    try:
        reflink(str(tmp_path / "one"), str(tmp_path / "two"))
    except OSError:
        pass
    else:
        pytest.skip("here files share content without being the same file, which no test can see")
    config = configparser.ConfigParser()
    config.read_string("\n".join(line.strip() for line in (ROOT / ".dvc/config").read_text().splitlines()))
    changed.make_collection(tmp_path, range(20))
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    dvc(tmp_path, "init", "--quiet", "--no-scm")
    dvc(tmp_path, "config", "cache.type", config["cache"]["type"].strip('"'))
    dvc(tmp_path, "repro")
    check_that_shards_are_stored_once(tmp_path)
    before = {stage: changed.shards(tmp_path, stage) for stage in changed.OUTS}
    changed.list_videos(tmp_path, range(21))
    dvc(tmp_path, "repro")
    check_that_shards_are_stored_once(tmp_path)
    for stage, shards in before.items():
        assert len(changed.shards(tmp_path, stage) - shards) == 1
