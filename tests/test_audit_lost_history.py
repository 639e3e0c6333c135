"""Where commits, or parts of them, are not here, the audit says so and acquits no model."""

import os
import shutil
import subprocess

import pytest

from tests.projects import audit, audit_text, commit, environment, git, run_audit
from tests.test_audit_history import Project
from vqcast.errors import VqcastError

OLD = {"v1", "prior on latents of v1"}


@pytest.fixture
def project(tmp_path):
    """Two runs: `a` trained the first one's models, `b` both's."""
    (tmp_path / "origin").mkdir()
    project = Project(tmp_path / "origin")
    project.run(project.table("a", "b"), "v1", "first")
    project.run(project.table("b"), "v2", "second")
    return project


def clone(project, *options):
    """A clone of the project, which has all of its tables; what it has of its history `options` say."""
    copy = project.folder.parent / "clone"
    url = f"file://{project.folder}"
    command = ["git", "clone", "--quiet", *options, url, str(copy)]
    subprocess.run(command, env=environment(copy), check=True, capture_output=True)
    for name in ("data", ".dvc"):
        shutil.copytree(project.folder / name, copy / name)
    return copy


def ask(folder, video, code=0):
    return audit(folder, "video", video, code=code)


def lost_object(project, name):
    """Remove an object of the repository."""
    sha = git(project.folder, "rev-parse", name)
    (project.folder / ".git/objects" / sha[:2] / sha[2:]).unlink()
    return sha


def test_whole_clone_loses_nothing(project):
    report = ask(clone(project), "a")
    assert {model["md5"] for model in report["trained"]} == OLD
    assert report["lost"] == report["unknown"] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--depth", "1"], "this is a shallow clone"),
        (["--shallow-exclude", "old"], "this is a shallow clone"),
        (["--single-branch"], "not all branches of origin were fetched"),
        (["--no-tags"], "tags of origin were not fetched"),
    ],
)
def test_clone_that_has_not_all_of_the_history_says_so(project, options, sentence):
    git(project.folder, "branch", "old", "HEAD~1")
    report = ask(clone(project, *options), "b", code=1)
    assert any(said.startswith(sentence) for said in report["lost"])
    text = audit_text(project.folder.parent / "clone", "video", "b", code=1)
    assert f"LOST: {sentence}" in text
    assert "only validated on it:\n    none known" in text


def test_partial_clone_brings_what_it_lacks_or_says_what_is_lost(project):
    git(project.folder, "config", "uploadpack.allowFilter", "true")
    copy = clone(project, "--filter=blob:none")
    assert {model["md5"] for model in ask(copy, "a")["trained"]} == OLD
    other = clone_again(project, copy)
    project.folder.rename(project.folder.with_name("away"))
    lost = ask(other, "b", code=1)["lost"]
    assert any("dvc.lock in " in said and "is not in this repository" in said for said in lost)


def clone_again(project, copy):
    shutil.rmtree(copy)
    return clone(project, "--filter=blob:none")


@pytest.mark.parametrize("name", ["HEAD~1", "HEAD~1^{tree}", "HEAD~1:dvc.lock"])
def test_object_that_is_missing_is_named(project, name):
    sha = lost_object(project, name)
    lost = ask(project.folder, "b", code=1)["lost"]
    assert any(sha[:12] in said for said in lost), lost


def test_branch_that_names_a_commit_that_is_not_there_is_named(project):
    (project.folder / ".git/refs/heads/gone").write_text("1" * 40 + "\n")
    (project.folder / ".git/refs/heads/broken").write_text("no hash\n")
    report = ask(project.folder, "a", code=1)
    assert {model["md5"] for model in report["trained"]} == OLD, "the rest is answered"
    told = " / ".join(report["lost"])
    assert "refs/heads/gone names 111111111111" in told
    assert "refs/heads/broken" in told


def test_alternate_objects_that_went_away_are_lost(project):
    copy = project.folder.parent / "clone"
    git(project.folder, "clone", "--quiet", "--shared", str(project.folder), str(copy))
    for name in ("data", ".dvc"):
        shutil.copytree(project.folder / name, copy / name)
    project.folder.rename(project.folder.with_name("away"))
    run_audit(copy, "video", "b", code=1)


def test_branch_without_a_commit_forgets_no_other_branch(project):
    git(project.folder, "checkout", "--quiet", "--orphan", "anew")
    assert project.trained("a") == OLD


def test_branch_that_was_cut_off_is_remembered(project):
    git(project.folder, "checkout", "--quiet", "--orphan", "anew")
    commit(project.folder, "all there ever was")
    git(project.folder, "branch", "--quiet", "-D", "main")
    assert project.trained("a") == OLD


def test_commit_that_was_amended_is_remembered(project):
    project.run(project.table("c"), "v3", "third")
    git(project.folder, "reset", "--quiet", "--hard", "HEAD~1")
    assert project.trained("c") == {"v3", "prior on latents of v3"}


@pytest.mark.parametrize("how", ["replace", "graft", "both ends"])
def test_history_that_was_replaced_is_read_as_it_was_made(project, how):
    head, first = git(project.folder, "rev-parse", "HEAD"), git(project.folder, "rev-parse", "HEAD~1")
    if how == "replace":
        git(project.folder, "replace", "--graft", head)
    elif how == "graft":
        (project.folder / ".git/info").mkdir(exist_ok=True)
        (project.folder / ".git/info/grafts").write_text(f"{head}\n")
    else:
        git(project.folder, "replace", "-f", first, head)
    assert project.trained("a") == OLD


def test_shallow_file_written_by_hand_is_told(project):
    (project.folder / ".git/shallow").write_text(git(project.folder, "rev-parse", "HEAD") + "\n")
    assert "shallow" in ask(project.folder, "b", code=1)["lost"][0]


def test_commit_graph_that_knows_no_parents_is_not_believed(project):
    git(project.folder, "replace", "--graft", "HEAD")
    git(project.folder, "-c", "core.commitGraph=true", "commit-graph", "write", "--reachable")
    git(project.folder, "replace", "--delete", git(project.folder, "rev-parse", "HEAD"))
    assert project.trained("a") == OLD


def move(folder, old, new):
    """Move the project within the repository at `folder`, with its data, which git does not know."""
    (folder / new).mkdir(parents=True, exist_ok=True)
    for name in ("dvc.lock", ".gitignore", "data", ".dvc"):
        shutil.move(folder / old / name, folder / new / name)
    commit(folder, f"from {old} to {new}")


def test_project_that_moved_into_a_subfolder_and_out_of_one_keeps_its_history(project):
    move(project.folder, ".", "video/forecast")
    moved = Project.__new__(Project)
    moved.folder = project.folder / "video/forecast"
    assert moved.trained("a") == OLD
    moved.run(moved.table("c"), "v3")
    move(project.folder, "video/forecast", ".")
    assert project.trained("a") == OLD
    assert project.trained("c") == {"v3", "prior on latents of v3"}


def test_other_project_of_the_same_repository_is_not_accused(project):
    other = project.folder / "other"
    other.mkdir()
    (other / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  t:\n    cmd: t\n    outs:\n    - {path: models/other, md5: f}\n"
    )
    commit(project.folder, "another project")
    assert project.ask("a")["unknown"] == []


def test_run_of_a_commit_that_is_nowhere_tells_that_history_was_rewritten(project):
    """The lineage remembers what `git checkout --orphan` leaves behind, in a clone too."""
    lineage = project.folder / "lineage/clip"
    lineage.mkdir(parents=True)
    (lineage / "run.jsonl").write_text(event(commit_of_run="2" * 40))
    commit(project.folder, "a run")
    lost = ask(clone(project), "b", code=1)["lost"]
    assert any(said.startswith("clip ran at commit 222222222222, which this repository") for said in lost)


def event(commit_of_run):
    about = f'{{"about": {{"git": {{"commit": "{commit_of_run}"}}}}}}'
    return (
        '{"eventType": "COMPLETE", "eventTime": "2026-02-03T00:00:00Z", "job": {"name": "clip"}, '
        f'"outputs": [], "run": {{"runId": "1", "facets": {{"vqcast": {about}}}}}}}\n'
    )


def test_video_that_is_not_known_is_not_denied_where_commits_are_lost(project):
    (project.folder / ".git/shallow").write_text(git(project.folder, "rev-parse", "HEAD") + "\n")
    with pytest.raises(VqcastError, match="this is a shallow clone"):
        project.ask("nobody's")


def test_subject_and_author_with_any_character_are_no_end_of_a_line(project):
    name = "A\u2028B\x85C\x1eD"
    git(project.folder, "-c", f"user.name={name}", "commit", "--quiet", "--allow-empty", "-m", "empty")
    project.table("c")
    git(project.folder, "tag", "v1\u20281.0")
    project.lock(clip=({}, {"data/clips.parquet": project.table("c")}))
    git(project.folder, "add", "--all")
    variables = environment(project.folder) | {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": "a@b"}
    variables |= {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": "a@b"}
    command = ["git", "commit", "--quiet", "-m", "one\u2028two\x02three"]
    subprocess.run(command, cwd=project.folder, env={**os.environ, **variables}, check=True)
    assert project.trained("a") == OLD
