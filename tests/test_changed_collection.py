"""Clip and encode on a collection that changes, and killed: few shards are redone, to the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import ROOT, files_below
from tests.networks import vqvae
from tests.videos import make_video
from vqcast.codes.models import save_vqvae

VIDEOS = 120
COMMANDS = {
    "download": [
        *("--kinetics", "kinetics", "--exclude", "exclude.csv"),
        *("--store", "data/raw", "--out", "data/raw.parquet"),
    ],
    "clip": [
        *("--raw", "data/raw.parquet", "--store", "data/raw", "--exclude", "exclude.csv"),
        *("--out", "data/clips", "--manifest", "data/clips.parquet"),
    ],
    "encode": [
        *("--clips", "data/clips", "--manifest", "data/clips.parquet"),
        *("--vqvae", "models/vqvae", "--out", "data/latents"),
    ],
}
OUTS = {"clip": "data/clips", "encode": "data/latents"}


def start(stage, folder):
    workers = "1" if stage == "encode" else "2"  # each of encode's would load torch, for seconds
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *COMMANDS[stage]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": workers},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(folder, *stages):
    for stage in stages:
        process = start(stage, folder)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


def list_videos(folder, numbers):
    """State in videos.csv which videos there are; every tenth one is for validation."""
    lines = [f"label/{n:05d}.mp4,{'val' if n % 10 == 0 else 'train'}" for n in numbers]
    for n in numbers:
        path = folder / f"videos/label/{n:05d}.mp4"
        if not path.exists():
            os.link(folder / ("val.mp4" if n % 10 == 0 else "train.mp4"), path)
    for path in (folder / "videos/label").iterdir():
        if int(path.stem) not in numbers:
            path.unlink()
    (folder / "videos/videos.csv").write_text("video,split\n" + "\n".join(lines) + "\n")


def make_collection(folder, numbers):
    """Videos, parameters and a VQ-VAE."""
    (folder / "videos/label").mkdir(parents=True)
    for name, rate in (("train", "25"), ("val", "30")):
        make_video(folder / f"{name}.mp4", size="32x32", rate=rate, frames=24)
    list_videos(folder, numbers)
    (folder / "exclude.csv").write_text("id,reason,date\n")
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["download"] |= {"source": "directory", "directory": {"root": "videos", "val_share": 0.5}}
    settings["clip"] |= {"resolution": 32, "videos_per_shard": 2}
    settings["window"] = {"frames": 16, "given": 4, "stride": 1}
    settings["encode"] = {"batch_size": 8}
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    save_vqvae(folder / "models/vqvae", vqvae(), 32)


def contents(folder):
    """The bytes of all that clip and encode made."""
    made = [path for out in OUTS.values() for path in (folder / out).iterdir()]
    return {path.name: path.read_bytes() for path in [folder / "data/clips.parquet", *made]}


def shards(folder, stage):
    """The shards of a stage by inode: one that was not made again is the same file."""
    return {path.stat().st_ino for path in (folder / OUTS[stage]).glob("*-*")}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A folder in which every stage up to encode has run."""
    folder = tmp_path_factory.mktemp("collection")
    make_collection(folder, range(VIDEOS))
    run(folder, *COMMANDS)
    return folder


@pytest.fixture
def copy(collection, tmp_path):
    """A copy of that folder, in which links between its files are links again."""
    subprocess.run(["cp", "-a", f"{collection}/.", str(tmp_path)], check=True)
    return tmp_path


def test_one_percent_of_new_videos_redoes_at_most_five_percent_of_the_shards(
    collection, copy, tmp_path_factory
):
    numbers = [n for n in range(VIDEOS + 2) if n != 57]  # two more at the end, one less in the middle
    before = {stage: shards(copy, stage) for stage in OUTS}
    list_videos(copy, numbers)
    run(copy, *COMMANDS)
    for stage in OUTS:
        now = shards(copy, stage)
        assert len(now) > 50
        assert 0 < len(now - before[stage]) <= 0.05 * len(now), stage

    fresh = tmp_path_factory.mktemp("fresh")
    make_collection(fresh, numbers)
    run(fresh, *COMMANDS)
    assert contents(copy) == contents(fresh)
    assert contents(copy) != contents(collection)


def test_a_label_that_is_put_right_cuts_and_encodes_nothing(copy):
    table = copy / "videos/videos.csv"
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},label", *(f"{line},another" for line in lines)]) + "\n")
    before, latents = [shards(copy, stage) for stage in OUTS], contents(copy)
    run(copy, *COMMANDS)
    assert [shards(copy, stage) for stage in OUTS] == before
    changed = {name for name, content in contents(copy).items() if content != latents[name]}
    assert changed == {"clips.parquet"}


@pytest.mark.parametrize("stage", OUTS)
def test_shard_that_was_damaged_is_made_again(collection, copy, stage):
    shard = sorted((copy / OUTS[stage]).glob("train-*"))[3]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)  # in place, and so its link in scratch too
    run(copy, stage)
    assert contents(copy) == contents(collection)


@pytest.mark.parametrize("stage", OUTS)
def test_ten_kills_at_random_instants_end_in_the_same_bytes(collection, copy, stage):
    shutil.rmtree(copy / OUTS[stage])
    shutil.rmtree(copy / ".vqcast/scratch" / stage)
    instants = random.Random(stage)
    began = time.monotonic()
    process = start(stage, copy)
    while not any(path.suffix == ".json" for path in files_below(copy / ".vqcast/scratch" / stage)):
        assert process.poll() is None
        time.sleep(0.02)
    startup = time.monotonic() - began
    for _ in range(10):
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = start(stage, copy)
        time.sleep(startup * instants.uniform(0.6, 1.3))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run(copy, stage)
    assert contents(copy) == contents(collection)
    (scratch,) = (copy / ".vqcast/scratch" / stage).iterdir()
    assert [path.name for path in scratch.iterdir()] == ["shards"]
