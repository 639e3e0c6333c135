"""The pipeline unattended: `pipeline.py serve` and `deploy`, a real Prefect server, scheduler and worker."""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import yaml

from tests.conftest import ROOT
from tests.small_projects import processes_naming
from tests.test_training import TINY

PATIENCE = 240  # seconds; a machine may be busy with other tests
HTTP = httpx.Client(timeout=PATIENCE)

# A real stage that trains, resumes and has long enough to be killed in; download and clip come before it.
STAGES = ("download", "clip", "train_vqvae")

ONLY = """\
stages:
  only:
    cmd: python stage.py only 3 out.txt
    deps: [stage.py]
    outs: [out.txt]
"""


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory):
    """The URL of a Prefect server as an operator starts it, with its scheduler."""
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", port, "--no-ui"],
            env={
                **os.environ,
                "PREFECT_HOME": str(home),
                # seconds after which a run that waits for its turn asks again
                "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}/api"
    try:
        wait_until(lambda: answers(url), lambda: (home / "log").read_text())
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def answers(url: str) -> bool:
    try:
        return HTTP.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def wait_until(true, why=lambda: ""):
    deadline = time.monotonic() + PATIENCE
    while not (value := true()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.2)
    return value


@pytest.fixture
def environment(lasting_server, tmp_path):
    """Of the commands: this Python first, that server, and nothing written outside tmp_path."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site cache"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": lasting_server,
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "VQCAST_WORKERS": "1",
    }


@pytest.fixture
def workspace(environment, tmp_path):
    return make_workspace(tmp_path / "workspace", environment)


def make_workspace(folder: Path, environment: dict) -> Path:
    """This repository's own code and first three stages, at tiny sizes."""
    folder.mkdir()
    for name in ("vqcast", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "exclude.csv", "videos/README.md", "kinetics/README.md"):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "data" / name, folder / "data" / name)
    for name in ("prefect.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "models").mkdir()
    (folder / "reports/curves").mkdir(parents=True)
    for name in ("models", "reports", "reports/curves"):
        shutil.copy(ROOT / name / ".gitignore", folder / name)
    document = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    document = {"stages": {name: document["stages"][name] for name in STAGES}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in TINY.items():
        parameters[section].update(changes)
    parameters["train_vqvae"]["steps"] = 300
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
    who = ["-c", "user.name=An operator", "-c", "user.email=operator@example.org"]
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["git", "add", "."],
        ["git", *who, "commit", "--quiet", "--message", "A workspace"],
    ):
        subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder


class Background:
    """A command of pipeline.py, or a worker, in a workspace until the test ends."""

    def __init__(self, folder: Path, environment: dict, *command: str):
        self.log = folder.parent / f"{command[-1]}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


@pytest.fixture
def background(environment):
    """Starts `python pipeline.py ...` in the background; what is left is killed in the end."""
    started: list[Background] = []

    def start(folder: Path, *command: str) -> Background:
        started.append(Background(folder, environment, *command))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()


def pipeline(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(ROOT / "pipeline.py"), *arguments)


def flow_runs(server: str, name: str) -> list[dict]:
    """All runs of the deployment called `name`, the oldest first."""
    request = {"deployments": {"name": {"any_": [name]}}, "sort": "START_TIME_ASC"}
    response = HTTP.post(f"{server}/flow_runs/filter", json=request)
    response.raise_for_status()
    return response.json()


def start_run(server: str, flow: str, name: str) -> UUID:
    """Ask the server for a run of a deployment, as the button of its page does."""
    deployment = HTTP.get(f"{server}/deployments/name/{flow}/{name}").json()["id"]
    url = f"{server}/deployments/{deployment}/create_flow_run"

    def answer() -> httpx.Response | None:
        """None while the server's SQLite is locked, which it says by 503."""
        response = HTTP.post(url, json={"state": {"type": "SCHEDULED"}})
        return response if response.status_code != 503 else None

    return wait_until(answer).raise_for_status().json()["id"]


def state_of(server: str, run: UUID) -> str:
    return HTTP.get(f"{server}/flow_runs/{run}").json()["state"]["name"]


def contents(folder: Path) -> dict[str, bytes]:
    """What a run leaves for users: dvc.lock, and all that its stages made."""
    paths = [folder / "dvc.lock", folder / "data/raw.parquet", folder / "data/clips.parquet"]
    paths += [*(folder / "data/clips").iterdir(), *(folder / "models/vqvae").iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, lasting_server):
    """What a run that nobody disturbs leaves."""
    parent = tmp_path_factory.mktemp("quiet")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(parent / "site cache"),
        "VQCAST_WORKERS": "1",
    }
    folder = make_workspace(parent / "workspace", environment)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, env=environment, check=True)
    return contents(folder)


def training(folder: Path):
    """The checkpoints of the training that goes on."""
    return list((folder / ".vqcast/scratch/train_vqvae").glob("*/checkpoints/*"))


def flow_process(folder: Path) -> int:
    """The process of the flow run in `folder`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
            if "prefect.engine" in command and os.readlink(process / "cwd") == str(folder):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("no flow runs")


def test_scheduled_run_completes_and_says_how_it_went(
    workspace, environment, background, lasting_server, quiet
):
    serving = background(
        workspace, *pipeline("serve", "--flow", "run", "--cron", "* * * * *", "--name", "scheduled")
    )
    (done,) = wait_until(
        lambda: [
            run for run in flow_runs(lasting_server, "scheduled") if run["state"]["type"] == "COMPLETED"
        ][:1],
        serving.log.read_text,
    )
    assert done["auto_scheduled"]
    assert contents(workspace) == quiet
    serving.end()
    request = {"artifacts": {"flow_run_id": {"any_": [done["id"]]}}}
    artifacts = HTTP.post(f"{lasting_server}/artifacts/filter", json=request).json()
    progress = {item["key"]: item["data"] for item in artifacts if item["type"] == "progress"}
    assert progress == {f"progress-{name.replace('_', '-')}": 100.0 for name in STAGES}
    (lineage,) = [item for item in artifacts if item["key"] == "lineage"]
    assert workspace.as_uri() in lineage["data"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["killed", "cancelled", "terminated"])
def test_ended_run_leaves_no_process_and_the_next_one_ends_in_the_same_bytes(
    workspace, environment, background, lasting_server, quiet, way
):
    name = f"ended by being {way}"
    serve = pipeline("serve", "--flow", "run", "--cron", "0 0 1 1 *", "--name", name)
    serving = background(workspace, *serve)
    wait_until(lambda: "Serving" in serving.log.read_text(), serving.log.read_text)
    wait_until(lambda: HTTP.get(f"{lasting_server}/deployments/name/vqcast/{name}").is_success)
    run = start_run(lasting_server, "vqcast", name)
    wait_until(lambda: training(workspace), serving.log.read_text)
    server_left = [serving.process.pid] if way != "terminated" else []
    assert len(processes_naming(str(workspace))) >= 4  # serve, the flow, DVC, the stage

    if way == "killed":
        os.kill(flow_process(workspace), signal.SIGKILL)
    elif way == "cancelled":
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        HTTP.post(f"{lasting_server}/flow_runs/{run}/set_state", json=state).raise_for_status()
    else:
        serving.process.send_signal(signal.SIGTERM)
    ended = time.monotonic()
    while len(processes_naming(str(workspace))) > len(server_left) and time.monotonic() < ended + 10:
        time.sleep(0.1)
    assert len(processes_naming(str(workspace))) == len(server_left), processes_naming(str(workspace))
    assert "train_vqvae" not in (workspace / "dvc.lock").read_text()
    assert training(workspace), "nothing is left to go on from"

    if way == "terminated":
        serving = background(workspace, *serve)
    again = start_run(lasting_server, "vqcast", name)
    wait_until(lambda: state_of(lasting_server, again) == "Completed", serving.log.read_text)
    assert contents(workspace) == quiet
    if way == "cancelled":
        assert state_of(lasting_server, run) == "Cancelled"


def test_second_run_waits_for_the_first_whoever_started_it(
    project, environment, background, lasting_server, tmp_path
):
    folder = project(ONLY)
    serving = background(
        folder, *pipeline("serve", "--flow", "run", "--cron", "0 0 1 1 *", "--name", "one at a time")
    )
    wait_until(lambda: HTTP.get(f"{lasting_server}/deployments/name/vqcast/one at a time").is_success)
    first, second = (start_run(lasting_server, "vqcast", "one at a time") for _ in range(2))
    states = set()

    def both_done() -> bool:
        found = {state_of(lasting_server, run) for run in (first, second)}
        states.update(found)
        return found == {"Completed"}

    wait_until(both_done, serving.log.read_text)
    assert "AwaitingConcurrencySlot" in states
    times = [
        (run["start_time"], run["end_time"])
        for run in flow_runs(lasting_server, "one at a time")
        if run["start_time"]
    ]
    assert len(times) == 2
    assert times[0][1] <= times[1][0]

    forced = pipeline("run", "--force")
    by_hand = [background(folder, *forced) for _ in range(2)]
    assert [one.process.wait(PATIENCE) for one in by_hand] == [0, 0]
    ran = [json.loads(line) for line in (folder / "ran.jsonl").read_text().splitlines()]
    assert len(ran) == 3
    assert all(before[2] <= after[1] for before, after in itertools.pairwise(ran)), ran


def test_worker_of_a_process_pool_runs_what_deploy_registered(
    workspace, environment, background, lasting_server, quiet
):
    create = ["prefect", "work-pool", "create", "--type", "process", "machines"]
    subprocess.run(create, env=environment, check=True, capture_output=True)
    deploy = pipeline("deploy", "--work-pool", "machines", "--cron", "0 3 * * *", "--name", "here")
    deployed = subprocess.run(deploy, cwd=workspace, env=environment, capture_output=True, text=True)
    assert deployed.returncode == 0, deployed.stderr
    assert deployed.stdout.split() == ["run-process-here", "retrain-process-here"]
    registered = HTTP.get(f"{lasting_server}/deployments/name/vqcast-retrain/retrain-process-here").json()
    assert registered["concurrency_limit"] == 1 or registered["global_concurrency_limit"]["limit"] == 1
    assert [one["schedule"]["cron"] for one in registered["schedules"]] == ["0 3 * * *"]

    worker = background(workspace.parent, "prefect", "worker", "start", "--pool", "machines")
    run = start_run(lasting_server, "vqcast", "run-process-here")
    wait_until(
        lambda: state_of(lasting_server, run) in ("Completed", "Failed", "Crashed"), worker.log.read_text
    )
    assert state_of(lasting_server, run) == "Completed", worker.log.read_text()
    assert contents(workspace) == quiet


def test_deployments_for_kubernetes_fit_the_pool_that_the_repository_describes(
    project, environment, lasting_server
):
    template = str(ROOT / "kubernetes/work-pool.json")
    create = [
        "prefect",
        "work-pool",
        "create",
        "--type",
        "kubernetes",
        "--base-job-template",
        template,
        "cluster",
    ]
    subprocess.run(create, env=environment, check=True, capture_output=True)
    folder = project("stages: {}\n")
    deploy = pipeline(
        "deploy", "--work-pool", "cluster", "--workspace", "/workspace/vqcast", "--name", "there"
    )
    deployed = subprocess.run(deploy, cwd=folder, env=environment, capture_output=True, text=True)
    assert deployed.returncode == 0, deployed.stderr
    registered = HTTP.get(f"{lasting_server}/deployments/name/vqcast/run-kubernetes-there").json()
    assert registered["job_variables"]["env"]["VQCAST_WORKSPACE"] == "/workspace/vqcast"
    assert registered["work_pool_name"] == "cluster"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["serve", "--cron", "at night"], "--cron 'at night' is no cron schedule"),
        (["serve", "--cron", "0 3 * * *", "--timezone", "Moon"], "--timezone 'Moon' is no time zone"),
        (["deploy", "--work-pool", "nowhere"], "the Prefect server has no work pool 'nowhere'"),
    ],
)
def test_what_cannot_be_scheduled_is_one_sentence(project, environment, arguments, sentence):
    folder = project("stages: {}\n")
    finished = subprocess.run(
        pipeline(*arguments), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(f"pipeline.py: {sentence}")
    assert "Traceback" not in finished.stderr


def test_serving_without_a_server_says_how_to_have_one(project, environment):
    del environment["PREFECT_API_URL"]
    folder = project("stages: {}\n")
    command = pipeline("serve", "--cron", "0 3 * * *")
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "serve needs a Prefect server that stays: prefect server start" in finished.stderr
