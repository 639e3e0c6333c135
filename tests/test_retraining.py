"""`python pipeline.py retrain`: a new model is promoted if it is no worse, and else nothing has changed.

The stages are small, git, DVC and Prefect are real. A video is a file with a number. The model is the mean of
these numbers, its score that mean plus ten for every video, so that scores on different videos say nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.small_projects import processes_naming
from vqcast.retraining import git as retraining_git
from vqcast.retraining.clone import clone_workspace, furnish

PIPELINE = """\
stages:
  download:
    cmd: python stage.py download
    deps: [stage.py, data/exclude.csv, data/videos]
    outs: [data/raw.json]
  train:
    cmd: python stage.py train
    deps: [stage.py, data/raw.json]
    outs: [models/predictor]
  sample:
    cmd: python stage.py sample
    deps: [stage.py, data/raw.json, models/predictor]
    outs: [data/samples.json]
  evaluate:
    cmd: python stage.py evaluate
    deps: [stage.py, data/samples.json]
    metrics: [reports/evaluate.json]
artifacts:
  predictor:
    path: models/predictor
    type: model
"""

STAGE = """\
import csv, json, sys, time
from pathlib import Path

raw, model, samples = Path("data/raw.json"), Path("models/predictor"), Path("data/samples.json")
videos = Path("data/videos")
name = sys.argv[1]
with open(Path.home() / "ran", "a") as file:
    file.write(name + "\\n")
if name == "download":
    excluded = {row["id"] for row in csv.DictReader(open("data/exclude.csv"))}
    found = {path.name: float(path.read_text()) for path in sorted(videos.iterdir())}
    raw.write_text(json.dumps({name: found[name] for name in found if name not in excluded}))
elif name == "train":
    if "broken" in json.loads(raw.read_text()):
        sys.exit("train: the loss is not finite")
    if "slow" in json.loads(raw.read_text()) and not (Path.home() / "hurry").exists():
        print("training goes on", flush=True)
        time.sleep(1000)
    numbers = list(json.loads(raw.read_text()).values())
    model.mkdir(parents=True, exist_ok=True)
    (model / "mean").write_text(str(sum(numbers) / len(numbers)))
elif name == "sample":
    score = float((model / "mean").read_text()) + 10 * len(json.loads(raw.read_text()))
    samples.write_text(json.dumps([len(json.loads(raw.read_text())), score]))
elif name == "evaluate":
    windows, score = json.loads(samples.read_text())
    Path("reports").mkdir(exist_ok=True)
    protocol = {"frechet": {"metric": "frechet"}}
    figures = {"windows": windows, "model": {"frechet": score}, "protocol": protocol}
    Path("reports/evaluate.json").write_text(json.dumps(figures))
"""

IGNORED = "/.vqcast\n/data/raw\n/data/raw.json\n/data/samples.json\n/data/videos\n/models\n/reports\n"


@pytest.fixture
def environment(environment, tmp_path):
    """As everywhere; stages note in the home folder that they ran."""
    (tmp_path / "home").mkdir()
    return {
        **environment,
        "HOME": str(tmp_path / "home"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "An operator",
        "GIT_AUTHOR_EMAIL": "operator@example.org",
    }


@pytest.fixture
def workspace(project, environment):
    """A project with two videos, committed; no model was ever made."""
    folder = project(PIPELINE, STAGE)
    for name in ("data/videos", "models", "reports"):
        (folder / name).mkdir(parents=True)
    put_video(folder, "a", 1.0)
    put_video(folder, "b", 1.0)
    (folder / "data/exclude.csv").write_text("id,reason,date\n")
    (folder / ".gitignore").write_text(IGNORED)
    git(folder, environment, "add", ".")
    git(folder, environment, *WHO, "commit", "--quiet", "--message", "A project")
    return folder


WHO = ("-c", "user.name=An operator", "-c", "user.email=operator@example.org")


def put_video(folder: Path, name: str, number: float) -> None:
    (folder / "data/videos" / name).write_text(str(number))


def git(folder: Path, environment: dict, *arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=folder, env=environment, text=True).strip()


def retrain(folder: Path, environment: dict, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "pipeline.py", "retrain", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def promoted(folder: Path, environment: dict, *arguments: str) -> str:
    """Retrain, which must work; what it says of its model."""
    finished = retrain(folder, environment, *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip().removeprefix("pipeline.py: ")


def state(folder: Path, environment: dict) -> dict[str, str | bytes]:
    """All that a retraining which promotes nothing must leave alone."""
    kept = {
        str(path): path.read_bytes()
        for place in ("models", "reports", "data")
        for path in files(folder / place)
    }
    kept["dvc.lock"] = (folder / "dvc.lock").read_bytes() if (folder / "dvc.lock").exists() else b""
    for command in (["for-each-ref"], ["symbolic-ref", "HEAD"], ["status", "--porcelain"], ["stash", "list"]):
        kept[" ".join(command)] = git(folder, environment, *command)
    return kept


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def ran(environment: dict) -> list[str]:
    """Names of the stages that ran since the last call."""
    notes = Path(environment["HOME"], "ran")
    names = notes.read_text().split() if notes.exists() else []
    notes.write_text("")
    return names


def test_models_are_promoted_while_they_are_no_worse(workspace, environment, tmp_path):
    assert promoted(workspace, environment) == "promoted: there was no promoted model to compare with"
    assert git(workspace, environment, "tag") == "predictor@v1.0.0"
    assert git(workspace, environment, "rev-parse", "predictor@v1.0.0^{}") == git(
        workspace, environment, "rev-parse", "HEAD"
    )
    assert "stages:" in git(workspace, environment, "show", "HEAD:dvc.lock")
    status = subprocess.check_output(["dvc", "status"], cwd=workspace, env=environment, text=True)
    assert status.strip() == "Data and pipelines are up to date."
    assert (workspace / "models/predictor/mean").read_text() == "1.0"
    assert ran(environment) == ["download", "train", "sample", "evaluate"]

    put_video(workspace, "c", 1.03)  # as good, on windows that the promoted model was never judged on
    said = promoted(workspace, environment)
    assert said == (
        "promoted: on the same 3 validation windows, model.frechet of the new model is 31.01, of the "
        "promoted one 31; lower is better, and 2.0% worse is allowed"
    )
    assert sorted(git(workspace, environment, "tag").split()) == ["predictor@v1.0.0", "predictor@v2.0.0"]
    assert said in git(workspace, environment, "log", "-1", "--format=%B")
    assert ran(environment) == ["download", "train", "sample", "evaluate", "sample", "evaluate"]
    assert git(workspace, environment, "status", "--porcelain") == ""

    fetched = tmp_path / "fetched"
    command = [
        "dvc",
        "artifacts",
        "get",
        str(workspace),
        "predictor",
        "--rev",
        "v1.0.0",
        "--out",
        str(fetched),
    ]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (fetched / "mean").read_text() == "1.0"
    assert (workspace / "models/predictor/mean").read_text() == "1.01"

    before = state(workspace, environment)
    said = promoted(workspace, environment)
    assert said == "the new models are those of predictor@v2.0.0, byte by byte: nothing to promote"
    assert state(workspace, environment) == before
    assert ran(environment) == ["download"]


def test_worse_model_is_not_promoted_and_changes_nothing(workspace, environment):
    promoted(workspace, environment)
    put_video(workspace, "c", 100.0)
    before = state(workspace, environment)
    said = promoted(workspace, environment)
    assert said == (
        "not promoted: on the same 3 validation windows, model.frechet of the new model is 64, of the "
        "promoted one 31; lower is better, and 2.0% worse is allowed"
    )
    assert state(workspace, environment) == before
    ran(environment)

    assert promoted(workspace, environment, "--margin", "2").startswith("promoted: ")
    assert ran(environment) == ["download"], "the model that lost, and its figures, were not kept"
    assert (workspace / "models/predictor/mean").read_text() == "34.0"


def test_failing_retraining_changes_nothing_and_says_why(workspace, environment):
    promoted(workspace, environment)
    put_video(workspace, "broken", 1.0)
    before = state(workspace, environment)
    finished = retrain(workspace, environment)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "pipeline.py: train: the loss is not finite"
    assert "Traceback" not in finished.stderr
    assert state(workspace, environment) == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_killed_retraining_changes_nothing_and_the_next_one_goes_on(workspace, environment):
    promoted(workspace, environment)
    put_video(workspace, "slow", 1.03)  # another mean, and so another model
    before = state(workspace, environment)
    process = subprocess.Popen(
        [sys.executable, ROOT / "pipeline.py", "retrain"],
        cwd=workspace,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if "training goes on" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 10
    while processes_naming(str(workspace)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_naming(str(workspace)) == []
    assert state(workspace, environment) == before

    Path(environment["HOME"], "hurry").touch()
    assert promoted(workspace, environment).startswith("promoted: ")
    assert "predictor@v2.0.0" in git(workspace, environment, "tag")


def test_exclusions_are_refreshed_and_committed_with_the_model(workspace, environment, tmp_path):
    promoted(workspace, environment)
    table = tmp_path / "from the lawyers.csv"
    table.write_text("id,reason,date\nb,asked for,yesterday\n")
    before = state(workspace, environment)
    finished = retrain(workspace, environment, "--exclude", str(table))
    assert finished.stderr.splitlines()[-1] == (
        f"pipeline.py: {table}, line 2: the date must be like 2026-01-31, not 'yesterday'"
    )
    assert state(workspace, environment) == before

    table.write_text("id,reason,date\nb,asked for,2026-01-31\n")
    assert promoted(workspace, environment, "--exclude", str(table)).startswith("the new models are those of")
    assert git(workspace, environment, "show", "HEAD:data/exclude.csv") == table.read_text().strip()
    assert json.loads((workspace / "data/raw.json").read_text()) == {"a": 1.0}
    assert git(workspace, environment, "status", "--porcelain") == ""


@pytest.mark.parametrize("option", ["tag.gpgSign", "commit.gpgSign"])
def test_promotion_needs_no_key_of_whoever_signs_by_default(tmp_path, monkeypatch, option):
    for number, (key, value) in enumerate({option: "true", "gpg.program": "/bin/false"}.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    say = retraining_git.git
    say(tmp_path, "init", "--quiet")
    who = retraining_git.identity(tmp_path)
    say(tmp_path, *who, "commit", "--quiet", "--allow-empty", "--message", "Promote")
    say(tmp_path, *who, "tag", "--annotate", "--message", "promoted", "predictor@v1.0.0")
    assert retraining_git.newest_version(tmp_path, "predictor") == (1, 0, 0)


def test_empty_table_takes_nobody_back_unless_that_is_said(workspace, environment, tmp_path):
    table = tmp_path / "from the lawyers.csv"
    table.write_text("id,reason,date\nb,asked for,2026-01-31\n")
    promoted(workspace, environment, "--exclude", str(table))
    before = state(workspace, environment)
    table.write_text("id,reason,date\n")
    finished = retrain(workspace, environment, "--exclude", str(table))
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == (
        f"pipeline.py: the exclusions at {table} exclude nobody, and the committed table 1: "
        "--exclude-none says that this is meant"
    )
    assert state(workspace, environment) == before
    promoted(workspace, environment, "--exclude", str(table), "--exclude-none")
    assert git(workspace, environment, "show", "HEAD:data/exclude.csv") == "id,reason,date"


def test_files_that_params_yaml_names_and_git_does_not_have_are_found_where_a_model_is_made(
    workspace, environment
):
    (workspace / "params.yaml").write_text(
        "download: {kinetics_urls: {cookies: ./jars/cookies.txt}}\n"
        "evaluate: {weights: data/videos/i3d.pt}\n"  # in a folder that is brought anyway
    )
    git(workspace, environment, "add", "params.yaml")
    git(workspace, environment, *WHO, "commit", "--quiet", "--message", "Parameters")
    (workspace / "jars").mkdir()
    named = {"jars/cookies.txt": "# Netscape HTTP Cookie File\n", "data/videos/i3d.pt": "weights"}
    for path, content in named.items():
        (workspace / path).write_text(content)
    clone = clone_workspace(workspace, "candidate")
    furnish(clone, workspace, workspace / ".vqcast/scratch")
    assert {path: (clone / path).read_text() for path in named} == named
    clone_workspace(workspace, "candidate")  # which removes the other one
    assert {path: (workspace / path).read_text() for path in named} == named


def test_change_that_is_not_committed_is_named(workspace, environment):
    (workspace / "data/exclude.csv").write_text("id,reason,date\na,,2026-01-31\n")
    finished = retrain(workspace, environment)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == (
        "pipeline.py: data/exclude.csv is not as it is committed; commit it, or put it back"
    )


def test_retraining_starts_from_the_upstream_and_pushes_what_is_promoted(workspace, environment, tmp_path):
    upstream, other = tmp_path / "upstream.git", tmp_path / "other"
    git(tmp_path, environment, "init", "--quiet", "--bare", "--initial-branch", "main", str(upstream))
    git(workspace, environment, "remote", "add", "origin", "../upstream.git")
    git(workspace, environment, "push", "--quiet", "--set-upstream", "origin", "main")
    git(tmp_path, environment, "clone", "--quiet", str(upstream), str(other))
    (other / "data/exclude.csv").write_text("id,reason,date\nb,asked for,2026-01-31\n")
    git(other, environment, *WHO, "commit", "--quiet", "--all", "--message", "Take b out")
    git(other, environment, "push", "--quiet")
    subprocess.run(
        ["dvc", "remote", "add", "--quiet", "--local", "--default", "storage", "../storage"],
        cwd=workspace,
        env=environment,
        check=True,
    )

    promoted(workspace, environment, "--sync")
    assert json.loads((workspace / "data/raw.json").read_text()) == {"a": 1.0}
    git(other, environment, "pull", "--quiet", "--tags")
    assert git(other, environment, "tag") == "predictor@v1.0.0"
    assert git(other, environment, "rev-parse", "HEAD") == git(workspace, environment, "rev-parse", "HEAD")
    subprocess.run(
        ["dvc", "remote", "add", "--quiet", "--local", "--default", "storage", "../storage"],
        cwd=other,
        env=environment,
        check=True,
    )
    subprocess.run(["dvc", "pull", "--quiet"], cwd=other, env=environment, check=True)
    assert (other / "models/predictor/mean").read_text() == "1.0"
