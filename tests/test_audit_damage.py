"""One damaged file is lost, named, and blocks no other question and no later run."""

import json
import os
import sys

import pytest

from tests.projects import audit, audit_text, commit, make_project, run
from tests.test_audit_history import Project
from tests.test_audit_lost_history import event
from tests.test_lineage import DOWNLOAD, SAMPLE, runs

OLD = {"v1", "prior on latents of v1"}


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    project.run(project.table("a"), "v1")
    return project


@pytest.mark.parametrize(
    "content",
    [
        b"<<<<<<< HEAD\nschema: '2.0'\n=======\nstages: {}\n>>>>>>> side\n",
        b"",
        b"schema: '2.0'\n",
        b"schema: '2.0'\nstages:\n  clip:\n    cmd: python -m stages.clip\n    out",
        b"\xff\xfe\x00",
        b"stages: {clip: {cmd: x, outs: [{path: data/clips.parquet, md5: 3}]}}",
        b"clip: {cmd: the first version of this format}",
    ],
    ids=["conflict", "empty", "no stages", "half", "no text", "no hash", "version 1"],
)
def test_damaged_dvc_lock_of_an_old_commit_is_lost_and_the_rest_is_answered(project, content):
    (project.folder / "dvc.lock").write_bytes(content)
    bad = commit(project.folder, "damaged")
    project.run(project.table("b"), "v2")
    for _ in range(2):  # the index does not forget it
        report = audit(project.folder, "video", "a", code=1)
        assert {model["md5"] for model in report["trained"]} == OLD
        assert any(said.startswith(f"dvc.lock in {bad[:12]} is damaged") for said in report["lost"])


def test_damaged_dvc_lock_of_the_folder_itself_is_lost_and_old_commits_are_answered(project):
    (project.folder / "dvc.lock").write_text("<<<<<<< HEAD\n")
    report = audit(project.folder, "video", "a", code=1)
    assert {model["md5"] for model in report["trained"]} == OLD
    assert report["lost"][0].startswith("dvc.lock is damaged")


HALF = event(commit_of_run="1" * 40)[:70]


@pytest.mark.parametrize(
    "content",
    ["", HALF, event("1" * 40) + HALF, "\x00" * 512, "[]\n", "[" * 100_000, '{"eventType": "START"}\n'],
    ids=["empty", "half", "half an end", "zeros", "list", "deep", "no run"],
)
def test_damaged_lineage_of_a_run_is_lost_and_the_rest_is_answered(project, content):
    path = project.folder / "lineage/clip/run.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    report = audit(project.folder, "video", "a", code=1)
    assert {model["md5"] for model in report["trained"]} == OLD
    sentence = "lineage/clip/run.jsonl is damaged: it is no lineage of a run"
    assert sentence in report["lost"]
    assert f"LOST: {sentence}" in audit_text(project.folder, "model", "models/vqvae", code=1)


@pytest.mark.parametrize("content", ["", HALF, "\x00" * 512, "[]\n", '{"run": 3}\n'])
def test_stage_runs_again_whatever_an_earlier_run_left_of_its_lineage(tmp_path, content):
    folder = make_project(tmp_path / "project", download=SAMPLE)
    path = folder / "lineage/download/0.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    run(folder, sys.executable, *DOWNLOAD)
    assert path.read_text() == content, "what is lost is not made up"
    (whole,) = runs(folder, "download")
    assert whole.outcome == "complete"


def test_run_whose_words_hold_any_character_is_one_run(tmp_path):
    """U+2028 ends a line for Python, and not in JSON."""
    folder = make_project(tmp_path / "project", download=SAMPLE)
    path = folder / "lineage/download/0.jsonl"
    path.parent.mkdir(parents=True)
    started = json.loads(event("1" * 40)) | {"eventType": "START", "producer": "a\u2028b\x85c\rd"}
    path.write_text(json.dumps(started, ensure_ascii=False) + "\n")
    run(folder, sys.executable, *DOWNLOAD)
    assert [json.loads(line)["eventType"] for line in path.read_bytes().split(b"\n") if line] == [
        "START",
        "ABORT",
    ]
    assert os.path.getsize(path) > 0
