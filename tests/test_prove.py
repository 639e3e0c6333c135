"""`audit prove`: a model's chain is run again in a clean clone, and what was doctored does not pass."""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.projects import audit, audit_text, commit, git, make_project, repro, run_audit
from tests.videos import make_video

VIDEOS = 5


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    """A VQ-VAE and a prior trained on one's own videos, which git does not keep; committed."""
    folder = make_project(
        tmp_path_factory.mktemp("proven") / "project",
        download={"source": "directory", "directory": {"root": "data/videos", "val_share": 0.4}},
    )
    for number in range(VIDEOS):
        make_video(folder / f"data/videos/label/{number}.mp4", frames=20 + number)
    repro(folder, "train_top_prior")
    commit(folder, "a model")
    return folder


@pytest.fixture
def copy(proven, tmp_path):
    subprocess.run(["cp", "-a", proven, tmp_path / "project"], check=True)
    return tmp_path / "project"


def test_model_is_made_again_byte_for_byte_and_the_workspace_is_left_alone(proven):
    before = git(proven, "status", "--porcelain", "--ignored"), sorted((proven / "lineage").rglob("*"))
    report = audit(proven, "prove", "models/top_prior")
    assert report["proved"]
    chain = ["download", "clip", "train_vqvae", "encode", "train_top_prior"]
    assert [stage["stage"] for stage in report["stages"]] == chain
    assert report["notes"] == []
    lock = yaml.safe_load((proven / "dvc.lock").read_text())["stages"]
    for stage in report["stages"]:
        assert stage["outs"] == {out["path"]: out["md5"] for out in lock[stage["stage"]]["outs"]}
    after = git(proven, "status", "--porcelain", "--ignored"), sorted((proven / "lineage").rglob("*"))
    assert after == before
    assert list((proven / ".vqcast/prove").iterdir()) == []


def test_params_file_that_was_doctored_is_found_before_anything_runs_and_the_stage_is_named(copy):
    params = copy / "params.yaml"
    params.write_text(params.read_text().replace("commitment: 0.25", "commitment: 0.5"))
    doctored = commit(copy, "as if it had been so")
    text = audit_text(copy, "prove", "models/vqvae", code=1)
    assert text.splitlines() == [
        f"NOT PROVED: train_vqvae: params.yaml of {doctored[:12]} says vqvae.commitment is 0.5, "
        "and dvc.lock that it ran with 0.25"
    ]


def test_params_file_and_dvc_lock_that_were_doctored_alike_are_found_by_the_bytes(copy):
    for name in ("params.yaml", "dvc.lock"):
        text = (copy / name).read_text()
        assert "commitment: 0.25" in text
        (copy / name).write_text(text.replace("commitment: 0.25", "commitment: 0.5"))
    commit(copy, "as if it had been so")
    report = audit(copy, "prove", "models/vqvae", code=1)
    assert (report["proved"], report["stage"]) == (False, "train_vqvae")
    assert re.match(r"models/vqvae differs in config\.json, model\.safetensors: md5 ", report["why"])
    assert [stage["stage"] for stage in report["stages"]] == ["download", "clip"]


def test_code_that_is_not_what_ran_is_named(copy):
    with (copy / "vqcast/clips/cutting.py").open("a") as module:
        module.write("# changed\n")
    commit(copy, "as if it had been so")
    report = audit(copy, "prove", "models/vqvae", code=1)
    assert report["stage"] == "clip"
    assert report["why"].startswith("vqcast/clips/cutting.py of ")


def test_videos_that_are_gone_are_named(copy):
    shutil.rmtree(copy / "data/videos/label")
    said = run_audit(copy, "prove", "models/vqvae", code=1).stderr.splitlines()[-1]
    assert said.startswith("pipeline.py: data/videos differs from what download read")
