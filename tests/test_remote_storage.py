"""A fresh clone takes what was pushed, to a folder or to a server that speaks S3, and reruns nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PIPELINE = """\
stages:
  first:
    cmd: python stage.py first 0 first.txt
    deps: [stage.py]
    outs: [first.txt]
  second:
    cmd: python stage.py second 0 second.txt
    deps: [stage.py, first.txt]
    outs: [second.txt]
"""


@pytest.fixture(params=["folder", "s3"])
def remote(request, tmp_path):
    """Makes the project in the working folder push to a remote."""

    def add(folder: Path, environment: dict) -> None:
        where = str(tmp_path / "storage")
        if request.param == "s3":
            where = f"s3://vqcast/{tmp_path.name}"
        dvc(folder, environment, "remote", "add", "--quiet", "--default", "storage", where)
        if request.param == "s3":
            url = request.getfixturevalue("s3")
            dvc(folder, environment, "remote", "modify", "--quiet", "storage", "endpointurl", url)

    return add


@pytest.fixture
def environment(tmp_path):
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site cache"),
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def dvc(folder: Path, environment: dict, *arguments: str) -> str:
    finished = subprocess.run(
        ["dvc", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=An operator", "-c", "user.email=operator@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_fresh_clone_pulls_what_was_pushed_and_reruns_nothing(remote, environment, tmp_path):
    from tests.small_projects import make_project

    folder = make_project(tmp_path / "project", environment, PIPELINE)
    remote(folder, environment)
    dvc(folder, environment, "repro", "--quiet")
    (folder / ".gitignore").write_text("/first.txt\n/second.txt\n/ran.jsonl\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "A project")
    dvc(folder, environment, "push", "--quiet")

    for number, command in enumerate((["dvc", "repro", "--pull", "--allow-missing"], pipeline_run())):
        clone = tmp_path / f"clone {number}"
        git(tmp_path, "clone", "--quiet", str(folder), str(clone))
        fresh = {**environment, "DVC_SITE_CACHE_DIR": str(tmp_path / f"other site cache {number}")}
        if number:
            fresh["PREFECT_HOME"] = str(tmp_path / "prefect")
        finished = subprocess.run(command, cwd=clone, env=fresh, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert not (clone / "ran.jsonl").exists(), "a stage ran again"
        dvc(clone, fresh, "pull", "--quiet")
        assert (clone / "second.txt").read_text() == "second"
        assert dvc(clone, fresh, "status").strip() == "Data and pipelines are up to date."
        assert (clone / "dvc.lock").read_bytes() == (folder / "dvc.lock").read_bytes()


def pipeline_run() -> list[str]:
    return [sys.executable, str(ROOT / "pipeline.py"), "run", "--pull"]
