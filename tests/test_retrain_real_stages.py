"""`python pipeline.py retrain` on this repository's own stages: promoted, judged, and a video taken out."""

import re

import pytest

from tests.conftest import ROOT
from tests.projects import audit, audit_text, commit, git, make_project, run

TAKEN_OUT = "train-00002"
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
STAGES = 9
MODELS = {"models/vqvae", "models/top_prior", "models/bottom_prior"}
TAGS = ["bottom-prior@v{}.0.0", "top-prior@v{}.0.0", "vqvae@v{}.0.0"]
VERDICT = re.compile(
    r"(?P<verdict>promoted|not promoted): on the same (?P<windows>\d+) validation windows, "
    r"model\.frechet_random_i3d of the new model is (?P<new>\S+), of the promoted one (?P<old>\S+); "
    r"lower is better, and 2\.0% worse is allowed"
)


@pytest.fixture
def retrain(server, tmp_path):
    """Retrains a project with a real Prefect server; the last line that it prints."""

    def do(folder, *arguments):
        command = ["python", str(ROOT / "pipeline.py"), "retrain", *arguments]
        home = str(tmp_path / "prefect")
        finished = run(folder, *command, **KEYS, PREFECT_API_URL=server, PREFECT_HOME=home)
        return finished.stdout.strip().removeprefix("pipeline.py: ")

    return do


def add_storage(folder, url):
    """Make a server that speaks S3 the project's remote."""
    run(folder, "dvc", "remote", "add", "--quiet", "--default", "storage", f"s3://vqcast/{folder.name}")
    run(folder, "dvc", "remote", "modify", "--quiet", "storage", "endpointurl", url)
    commit(folder, "where models are kept")


def assert_clone_has_all(folder, clone):
    """A fresh clone of the project pulls it, reruns nothing, and everything in it is what it should be."""
    git(folder.parent, "clone", "--quiet", str(folder), str(clone))
    run(clone, "dvc", "pull", "--quiet", **KEYS)
    finished = run(clone, "dvc", "repro", **KEYS)
    assert (finished.stdout + finished.stderr).count("didn't change, skipping") == STAGES
    assert git(clone, "status", "--porcelain") == ""
    report = audit(clone, "verify")
    assert report["faults"] == [] and report["files"] > 100


def current_and_earlier(folder):
    """Models that were trained on the video, and the tags of the commits that the earlier ones belong to."""
    trained = audit(folder, "video", TAKEN_OUT)["trained"]
    current = {model["model"] for model in trained if model["current"]}
    earlier = {
        model["model"]: {tag for of_commit in model["commits"] for tag in of_commit["tags"]}
        for model in trained
        if not model["current"]
    }
    return current, earlier


def test_models_are_promoted_judged_and_made_without_a_video_that_is_taken_out(retrain, s3, tmp_path):
    folder = make_project(tmp_path / "project")
    add_storage(folder, s3)
    said = retrain(folder)
    assert said == "promoted: there was no promoted model to compare with"
    first = git(folder, "rev-parse", "HEAD")
    assert git(folder, "tag").splitlines() == [tag.format(1) for tag in TAGS]
    assert audit(folder, "verify")["faults"] == []
    assert_clone_has_all(folder, tmp_path / "clone")
    assert current_and_earlier(folder) == (MODELS, {})

    with (folder / "data/exclude.csv").open("a") as file:
        file.write(f"{TAKEN_OUT},asked for,2026-02-03\n")
    head = commit(folder, "a video is to be taken out")
    told = VERDICT.fullmatch(retrain(folder))
    assert told
    promoted = float(told["new"]) <= 1.02 * float(told["old"])
    assert (told["verdict"] == "promoted") == promoted
    if not promoted:
        assert git(folder, "rev-parse", "HEAD") == head
        assert current_and_earlier(folder)[0] == MODELS
        assert retrain(folder, "--margin", "1000").startswith("promoted: on the same")
    assert git(folder, "tag").splitlines() == [tag.format(number) for tag in TAGS for number in (1, 2)]
    assert git(folder, "status", "--porcelain") == ""

    current, earlier = current_and_earlier(folder)
    assert current == set()
    assert earlier.keys() == MODELS
    assert set().union(*earlier.values()) == {tag.format(1) for tag in TAGS}
    text = audit_text(folder, "video", TAKEN_OUT)
    assert "current models trained on it:\n    none\n" in text
    assert first[:12] in text
