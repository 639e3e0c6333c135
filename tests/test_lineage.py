"""Every run of a stage leaves two events; what they say is true, and they change nothing that is made."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.projects import commit, environment, git, make_project, run
from vqcast.lineage.history import WORKSPACE, History
from vqcast.lineage.runs import Runs
from vqcast.work.hashes import md5_of

DOWNLOAD = (
    *("-m", "stages.download", "--kinetics", "data/kinetics", "--exclude", "data/exclude.csv"),
    *("--store", "data/raw", "--out", "data/raw.parquet"),
)
CLIP = (
    *("-m", "stages.clip", "--raw", "data/raw.parquet", "--store", "data/raw"),
    *("--exclude", "data/exclude.csv", "--out", "data/clips", "--manifest", "data/clips.parquet"),
)
SAMPLE = {"source": "sample", "sample": {"train_videos": 40, "val_videos": 2, "frames": 20, "seed": 0}}


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project", download=SAMPLE, clip={"videos_per_shard": 64})


def events(project, stage="download"):
    """The events of the only run of `stage`."""
    (path,) = (project / "lineage" / stage).iterdir()
    return [json.loads(line) for line in path.read_text().splitlines()]


def runs(project, stage):
    """Runs of `stage`, oldest first."""
    found = Runs(History(project), [WORKSPACE]).all
    return [told for told in reversed(found) if told.stage == stage]


def test_run_of_a_stage_leaves_two_events_that_say_what_dvc_lock_does_not(project):
    head = git(project, "rev-parse", "HEAD")
    git(project, "config", "user.name", "Ada Auditor")
    git(project, "config", "user.email", "ada@example.org")
    git(project, "remote", "add", "origin", "https://ada:secret@example.org/videos.git")
    flow_run = "01a21442-9c8f-7e46-9d41-578ee37a268d"
    run(project, "dvc", "repro", "clip", VQCAST_PREFECT_RUN=flow_run)
    first, last = events(project, "clip")
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    assert first["run"]["runId"] == last["run"]["runId"]
    assert first["eventTime"] < last["eventTime"]
    about = last["run"]["facets"]["vqcast"]["about"]
    assert about["seconds"] > 0
    assert about["host"] == os.uname().nodename
    assert about["user"]
    assert about["libraries"]["pyarrow"]
    assert about["workers"] == 1
    state = about["git"]
    assert (state["commit"], state["clean"], state["changed"]) == (head, True, [])
    assert state["person"] == "Ada Auditor <ada@example.org>"
    assert state["remote"] == "https://example.org/videos.git"
    assert last["job"]["facets"]["sourceCodeLocation"]["version"] == head
    assert last["run"]["facets"]["parent"]["run"]["runId"] == flow_run
    inputs = {item["name"]: item["facets"].get("version", {}) for item in last["inputs"]}
    assert inputs["data/raw.parquet"]["datasetVersion"] == md5_of(project / "data/raw.parquet")
    outs = {item["name"]: item["facets"]["version"]["datasetVersion"] for item in last["outputs"]}
    assert outs == {path: md5_of(project / path) for path in ("data/clips", "data/clips.parquet")}

    lock = History(project).lock()
    assert lock.entries["clip"].outs == outs, "the hashes are not those of DVC"
    assert Runs(History(project), [WORKSPACE]).maker(lock.entries["clip"]).id == last["run"]["runId"]
    assert git(project, "status", "--porcelain").splitlines() == ["?? dvc.lock", "?? lineage/"]


def test_tree_is_unclean_only_where_more_than_lock_and_lineage_changed(project):
    run(project, sys.executable, *DOWNLOAD)
    (project / "dvc.lock").write_text("")
    (project / "params.yaml").open("a").write("# changed\n")
    run(project, sys.executable, *DOWNLOAD)
    clean, unclean = (told.summary() for told in runs(project, "download"))
    assert (clean["clean"], unclean["clean"], unclean["changed"]) == (True, False, ["params.yaml"])


def test_failed_run_says_why(project):
    (project / "data/exclude.csv").unlink()
    run(project, sys.executable, *DOWNLOAD, code=1)
    _, last = events(project)
    assert last["eventType"] == "FAIL"
    message = last["run"]["facets"]["errorMessage"]["message"]
    assert message.startswith("download: data/exclude.csv does not exist")


def test_killed_run_gets_its_last_event_from_the_next_one_which_says_what_it_went_on_from(project):
    run(project, sys.executable, *DOWNLOAD)
    killed = subprocess.Popen(
        [sys.executable, *CLIP],
        cwd=project,
        env=environment(project),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not any((project / ".vqcast/scratch/clip").glob("*/units/*.json")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (before,) = runs(project, "clip")
    assert before.outcome == "running or killed"

    run(project, sys.executable, *CLIP)
    before, after = runs(project, "clip")
    assert (before.outcome, after.outcome) == ("aborted", "complete")
    assert "killed" in before.why
    resumed = after.summary()["resumed_from"]
    assert resumed["runs"] == [before.id]
    assert resumed["files"] >= 2
    assert resumed["newest"].startswith("units/")


def test_lineage_changes_no_byte_of_what_a_stage_makes(project, tmp_path):
    run(project, sys.executable, *DOWNLOAD)
    other = make_project(tmp_path / "other", download=SAMPLE)
    (other / "dvc.yaml").unlink()  # so that nothing is recorded
    run(other, sys.executable, *DOWNLOAD)
    assert not (other / "lineage").exists()
    assert (other / "data/raw.parquet").read_bytes() == (project / "data/raw.parquet").read_bytes()


def test_a_process_that_trains_beside_the_first_one_records_nothing(project):
    run(project, sys.executable, *DOWNLOAD, RANK="1")
    assert not (project / "lineage").exists()


def test_a_question_for_help_is_no_run(project):
    run(project, sys.executable, *DOWNLOAD[:2], "--help")
    assert not (project / "lineage").exists()


def test_lineage_that_cannot_be_written_stops_the_stage_before_any_work(project):
    (project / "lineage").write_text("not a folder")
    finished = run(project, sys.executable, *DOWNLOAD, code=1)
    assert finished.stderr.startswith("download: the lineage of this run cannot be written: ")
    assert len(finished.stderr.splitlines()) == 1
    assert not (project / "data/raw.parquet").exists()


def test_folders_that_dvc_made_have_the_hashes_that_dvc_gives_them(project):
    odd = project / "odd"
    for name in ("b", "a/z", "a-b", "ä", "a.b/c", ".hidden"):
        (odd / name).parent.mkdir(parents=True, exist_ok=True)
        (odd / name).write_text(name)
    run(project, "dvc", "add", "odd")
    assert f"md5: {md5_of(odd)}" in (project / "odd.dvc").read_text()


@pytest.fixture
def server():
    """A server on loopback that keeps what is sent to it."""
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", received
        served.shutdown()


def test_server_that_the_environment_names_gets_the_same_events(project, server):
    url, received = server
    variables = {"OPENLINEAGE_URL": url, "OPENLINEAGE_API_KEY": "key", "OPENLINEAGE_NAMESPACE": "kinetics"}
    run(project, sys.executable, *DOWNLOAD, **variables)
    first, last = events(project)
    assert [(path, key, event["eventType"]) for path, key, event in received] == [
        ("/api/v1/lineage", "Bearer key", "START"),
        ("/api/v1/lineage", "Bearer key", "COMPLETE"),
    ]
    assert [event["run"]["runId"] for _, _, event in received] == [first["run"]["runId"]] * 2
    assert received[1][2]["outputs"] == last["outputs"]
    assert last["job"]["namespace"] == "kinetics"


def test_server_that_does_not_answer_is_told_and_stops_nothing(project):
    finished = run(project, sys.executable, *DOWNLOAD, OPENLINEAGE_URL="http://127.0.0.1:9")
    assert "download: the OpenLineage server did not take an event" in finished.stderr
    assert [event["eventType"] for event in events(project)] == ["START", "COMPLETE"]


def test_events_of_two_branches_merge_without_a_conflict(project):
    git(project, "checkout", "--quiet", "-b", "other")
    run(project, sys.executable, *DOWNLOAD)
    commit(project, "a run here")
    git(project, "checkout", "--quiet", "main")
    run(project, sys.executable, *DOWNLOAD)
    commit(project, "a run there")
    git(project, "merge", "--quiet", "--no-edit", "other")
    assert len(runs(project, "download")) == 2
