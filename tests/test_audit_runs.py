"""What a run read, ran with and made is compared with dvc.lock: an entry that no run explains is said."""

import json
import shutil
import subprocess

import pytest
import yaml

from tests.projects import audit, audit_text, commit, git, make_project, run
from tests.test_audit_history import TABLE, Project
from vqcast.lineage.evidence import Evidence
from vqcast.lineage.locks import parse_lock
from vqcast.lineage.verify import audit_verify


def record(project, stage, inputs, outs, outcome="COMPLETE"):
    """Leave the lineage of a run of `stage`."""

    def datasets(paths):
        return [{"name": path, "facets": {"version": {"datasetVersion": md5}}} for path, md5 in paths.items()]

    folder = project.folder / "lineage" / stage
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{len(list(folder.iterdir()))}"
    run = {"runId": f"{stage} {name}", "facets": {"vqcast": {"about": {}}}}
    event = {"eventType": outcome, "eventTime": f"2026-02-0{len(name)}T0{name}:00:00Z", "run": run}
    event |= {"job": {"name": stage}, "inputs": datasets(inputs), "outputs": datasets(outs)}
    (folder / f"{name}.jsonl").write_text(json.dumps(event) + "\n")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def train(project, read, made, said=None, outcome="COMPLETE"):
    """A run that reads the table `read` and makes the model `made`; dvc.lock calls the table `said`."""
    record(project, "clip", {}, {TABLE: read})
    record(project, "train_vqvae", {TABLE: read}, {"models/vqvae": made}, outcome)
    said = said or read
    if said != read:
        record(project, "clip", {}, {TABLE: said})
    project.lock(clip=({}, {TABLE: said}), train_vqvae=({TABLE: said}, {"models/vqvae": made}))
    commit(project.folder, made)


def test_runs_that_did_what_dvc_lock_says_lose_nothing(project):
    train(project, project.table("a"), "v1")
    train(project, project.table("b"), "v2")
    for video, model in (("a", "v1"), ("b", "v2")):
        report = audit(project.folder, "video", video)
        assert {found["md5"] for found in report["trained"]} == {model}
        assert report["lost"] == []


def test_model_that_dvc_commit_says_was_made_of_other_videos_is_of_those_that_its_run_read(project):
    """Trained on `a` uncommitted, `a` excluded, the clips made anew, `dvc commit -f` of the training."""
    train(project, project.table("a", "b"), "v1", said=project.table("b"))
    report = audit(project.folder, "video", "a", code=1)
    assert [(model["md5"], model["current"]) for model in report["trained"]] == [("v1", True)]
    assert any("train_vqvae: the run train_vqvae 0" in said and TABLE in said for said in report["lost"])
    text = audit_text(project.folder, "model", "models/vqvae", code=1)
    assert "LOST: train_vqvae: the run train_vqvae 0, which made what dvc.lock says, read" in text


def test_forged_commit_is_known_when_it_is_an_old_one(project):
    train(project, project.table("a", "b"), "v1", said=project.table("b"))
    train(project, project.table("b"), "v2")
    report = audit(project.folder, "video", "a", code=1)
    assert {model["md5"] for model in report["trained"]} == {"v1"}


def test_table_that_a_run_read_and_that_is_gone_acquits_nobody(project):
    read = project.table("a", "b")
    train(project, read, "v1", said=project.table("b"))
    project.cached(read).unlink()
    report = audit(project.folder, "video", "b", code=1)
    assert any(read in said for said in report["lost"])


@pytest.mark.parametrize("outcome", ["FAIL", "ABORT", "START"])
def test_model_whose_run_did_not_complete_is_explained_by_none(project, outcome):
    """As where torchrun failed, and `dvc commit --force` came after it."""
    train(project, project.table("a"), "v1", outcome=outcome)
    report = audit(project.folder, "video", "a", code=1)
    assert "train_vqvae: the lineage tells of no run that made what dvc.lock says" in report["lost"]


def test_lineage_that_was_removed_is_remembered_by_the_commits_that_had_it(project):
    train(project, project.table("a"), "v1")
    shutil.rmtree(project.folder / "lineage")
    commit(project.folder, "no lineage")
    lost = audit(project.folder, "video", "a", code=1)["lost"]
    assert "train_vqvae: the lineage tells of no run that made what dvc.lock says" in lost


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A project that has run as far as its clips, committed."""
    folder = make_project(tmp_path_factory.mktemp("cut") / "project")
    run(folder, "dvc", "repro", "clip")
    commit(folder, "clips")
    return folder


@pytest.fixture
def copy(cut, tmp_path):
    subprocess.run(["cp", "-a", cut, tmp_path / "project"], check=True)
    return tmp_path / "project"


def faults(folder):
    return [row["fault"] for row in audit_verify(Evidence(folder))["faults"] if row["file"] == "dvc.lock"]


def test_parameter_that_was_doctored_in_both_files_is_not_what_the_run_had(copy):
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["clip"]["crf"] = 11
    (copy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run(copy, "dvc", "commit", "--force", "clip")
    (fault,) = faults(copy)
    assert fault.startswith("clip: the run ")
    assert fault.endswith("ran with clip.crf 10, and dvc.lock says 11")


def test_code_that_was_committed_after_the_run_is_not_what_ran(copy):
    with (copy / "vqcast/clips/cutting.py").open("a") as file:
        file.write("# better\n")
    run(copy, "dvc", "commit", "--force", "clip")
    (fault,) = faults(copy)
    assert fault.endswith("ran other code than dvc.lock says")


def test_exclusions_that_came_after_the_run_are_not_what_it_read(copy):
    (copy / "data/exclude.csv").write_text("id,reason,date\ntrain-00000,asked for,2026-02-03\n")
    run(copy, "dvc", "commit", "--force", "download", "clip")
    told = faults(copy)
    assert {fault.split(":")[0] for fault in told} == {"download", "clip"}
    assert all("read data/exclude.csv with the hash" in fault for fault in told)


def test_other_bytes_that_dvc_was_told_to_commit_were_made_by_no_run(copy):
    path = copy / "data/clips.parquet"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"\0")
    run(copy, "dvc", "commit", "--force", "clip")
    assert "clip: the lineage tells of no run that made what dvc.lock says" in faults(copy)


def test_run_of_another_command_does_not_explain_dvc_lock(copy):
    """By hand, with a table of its own."""
    shutil.copyfile(copy / "data/raw.parquet", copy / "mine.parquet")
    shutil.rmtree(copy / "lineage/clip")
    arguments = ["--raw", "mine.parquet", "--store", "data/raw", "--exclude", "data/exclude.csv"]
    arguments += ["--out", "data/clips", "--manifest", "data/clips.parquet"]
    run(copy, "python", "-m", "stages.clip", *arguments)
    (fault,) = faults(copy)
    assert "ran as `" in fault
    assert "mine.parquet" in fault


def test_lineage_that_is_gone_is_a_fault(copy):
    git(copy, "rm", "-r", "--quiet", "lineage")
    assert sorted(faults(copy)) == [
        f"{stage}: the lineage tells of no run that made what dvc.lock says" for stage in ("clip", "download")
    ]


def test_a_stage_may_read_one_key_of_a_section():
    params = {"evaluate.tuning_share": 0.25, "window": {"frames": 16}}
    stages = {"train": {"cmd": "x", "params": {"params.yaml": params}}}
    entry = parse_lock(yaml.safe_dump({"stages": stages}), "dvc.lock").entries["train"]
    now = {"evaluate.tuning_share": 0.5, "evaluate.folds": 2, "window.frames": 16, "windows.frames": 1}
    assert entry.read_of(now) == {"evaluate.tuning_share": 0.5, "window.frames": 16}
