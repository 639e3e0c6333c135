"""The audit in a hook of git, in another's folder, in a pipe, in a fresh clone."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.projects import audit, audit_text, commit, environment, git, make_project, run
from tests.test_audit_history import Project
from vqcast.lineage.evidence import Evidence
from vqcast.lineage.verify import audit_verify
from vqcast.retraining.clone import clone_workspace
from vqcast.work.git import OF_THE_CALLER
from vqcast.work.surroundings import git_state

OLD = {"v1", "prior on latents of v1"}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    project.run(project.table("a"), "v1")
    return project


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another repository, of which git tells everything it starts as a hook does."""
    folder = tmp_path / "other"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "theirs")
    (folder / "file").write_text("theirs")
    commit(folder, "theirs")
    for name in OF_THE_CALLER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_DIR", str(folder / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(folder / ".git/index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(folder / ".git/objects"))
    monkeypatch.setenv("GIT_PREFIX", "")
    monkeypatch.setenv("GIT_NOGLOB_PATHSPECS", "1")
    return folder


def test_audit_in_a_hook_of_another_repository_reads_its_own(project, other):
    assert project.trained("a") == OLD


def test_every_variable_by_which_git_tells_a_hook_its_repository_is_left_out(project):
    told = subprocess.check_output(["git", "rev-parse", "--local-env-vars"], text=True).split()
    kept = {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"}
    assert set(told) - kept - set(OF_THE_CALLER) == set()


def test_clone_of_a_retraining_and_the_state_that_a_run_notes_are_of_their_own_folder(
    project, other, monkeypatch
):
    before = (other / ".git/HEAD").read_text()
    clone = clone_workspace(project.folder, "candidate")
    monkeypatch.chdir(project.folder)
    state = git_state()
    for name in OF_THE_CALLER:
        monkeypatch.delenv(name, raising=False)
    head = git(project.folder, "rev-parse", "HEAD")
    assert (state["commit"], git(clone, "rev-parse", "HEAD")) == (head, head)
    assert (other / ".git/HEAD").read_text() == before
    assert git(other, "status", "--porcelain") == ""


def test_prove_in_a_pre_commit_hook_of_a_linked_worktree_moves_no_head(project, tmp_path):
    (project.folder / ".dvc/config").write_text("")
    (project.folder / "params.yaml").write_text("{}\n")
    commit(project.folder, "a project")
    tree = tmp_path / "linked"
    git(project.folder, "worktree", "add", "--quiet", "-b", "side", str(tree))
    hook = project.folder / ".git/hooks/pre-commit"
    audited = f"{sys.executable} {ROOT / 'pipeline.py'} audit prove models/vqvae"
    hook.write_text(f"#!/bin/sh\n{audited} > {tmp_path / 'said'} 2>&1\nexit 0\n")
    hook.chmod(0o755)
    (tree / "file").write_text("new")
    commit(tree, "with a hook")
    assert (tmp_path / "said").read_text()
    assert git(tree, "symbolic-ref", "--short", "HEAD") == "side"
    assert git(project.folder, "symbolic-ref", "--short", "HEAD") == "main"
    assert git(tree, "show", "--format=", "--name-only", "HEAD") == "file"


def command(project, *arguments, **variables):
    return subprocess.run(
        [sys.executable, str(ROOT / "pipeline.py"), "audit", *arguments],
        cwd=project.folder,
        env=environment(project.folder) | variables,
        capture_output=True,
        text=True,
    )


def test_folder_of_another_owner_is_told_as_git_tells_it(project):
    finished = command(project, "video", "a", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert finished.returncode == 1
    assert finished.stderr.startswith("pipeline.py: git: detected dubious ownership in repository at")
    assert "safe.directory" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_words_of_git_are_understood_in_any_language(tmp_path):
    (tmp_path / "none").mkdir()
    finished = subprocess.run(
        [sys.executable, str(ROOT / "pipeline.py"), "audit", "verify"],
        cwd=tmp_path / "none",
        env=environment(tmp_path) | {"LC_ALL": "C.UTF-8", "LANGUAGE": "de", "GIT_CEILING_DIRECTORIES": "/"},
        capture_output=True,
        text=True,
    )
    assert "is no git repository" in finished.stderr


def test_git_that_is_not_installed_is_one_sentence(project, monkeypatch):
    finished = command(project, "video", "a", PATH="/nowhere")
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert "git cannot be run" in finished.stderr


@pytest.mark.parametrize("question", [("video", "a"), ("video", "a", "--json"), ("video", "--help")])
def test_answer_that_is_not_read_to_its_end_ends_quietly(project, question):
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(
        [sys.executable, str(ROOT / "pipeline.py"), "audit", *question],
        cwd=project.folder,
        env=environment(project.folder),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert [line for line in finished.stderr.splitlines() if not line.startswith("index:")] == []


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A project that has run as far as its clips, committed."""
    folder = make_project(tmp_path_factory.mktemp("cut") / "project")
    run(folder, "dvc", "repro", "clip")
    commit(folder, "clips")
    return folder


def clone_of(folder, place):
    git(folder, "clone", "--quiet", str(folder), str(place))
    return place


def test_fresh_clone_says_what_is_not_here_and_finds_no_fault(cut, tmp_path):
    clone = clone_of(cut, tmp_path / "clone")
    report = audit(clone, "verify", code=1)
    assert report["faults"] == []
    lost = {said.split(" is not here")[0] for said in report["lost"]}
    assert lost == {"data/raw.parquet", "data/clips", "data/clips.parquet"}
    text = audit_text(clone, "verify", code=1)
    assert "LOST: data/clips is not here (md5" in text
    assert text.splitlines()[-1].endswith("all as they should be, as far as they are here")


def test_fresh_clone_is_right_about_what_is_here(cut, tmp_path):
    clone = clone_of(cut, tmp_path / "clone")
    for name in ("data/raw.parquet", "data/clips.parquet"):
        (clone / name).write_bytes((cut / name).read_bytes())
    with (clone / "vqcast/clips/cutting.py").open("a") as file:
        file.write("# doctored\n")
    with (clone / "data/clips.parquet").open("ab") as file:
        file.write(b"\0")
    report = audit_verify(Evidence(clone))
    doctored = {"vqcast/clips/cutting.py", "data/clips.parquet"}
    assert {row["file"] for row in report["faults"]} - {"dvc.lock"} == doctored  # which states its size
    assert [said.split(" is not here")[0] for said in report["lost"]] == ["data/clips"]


def test_whole_workspace_loses_nothing(cut):
    report = audit(cut, "verify")
    assert report["faults"] == report["lost"] == []


def test_folder_of_videos_that_git_does_not_keep_is_lost_not_at_fault(cut, tmp_path):
    """Its README alone is not what the stage read, and nobody changed it."""
    clone = clone_of(cut, tmp_path / "clone")
    lock = (clone / "dvc.lock").read_text()
    (kinetics,) = (line for line in lock.split("    - path: ") if line.startswith("data/kinetics\n"))
    (clone / "dvc.lock").write_text(lock.replace(kinetics, kinetics.replace("md5: ", "md5: 0")))
    report = audit_verify(Evidence(clone))
    assert report["faults"] == []
    assert any(said.startswith("data/kinetics, as download read it") for said in report["lost"])
