"""`python pipeline.py run`: real Prefect and DVC, on projects of small stages that note when they ran."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.small_projects import STAGE, processes_naming

# Two stages in the middle that need nothing of each other; the one that DVC runs first takes longer.
DIAMOND = """\
stages:
  first:
    cmd: python stage.py first 0 first.txt
    deps: [stage.py]
    outs: [first.txt]
  left:
    cmd: python stage.py left 4 left.txt
    deps: [stage.py, first.txt]
    outs: [left.txt]
  right:
    cmd: python stage.py right 2 right.txt
    deps: [stage.py, first.txt]
    outs: [right.txt]
  last:
    cmd: python stage.py last 0 last.txt
    deps: [stage.py, left.txt, right.txt]
    outs: [last.txt]
"""


def run(folder: Path, environment: dict, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "pipeline.py", "run", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def start(folder: Path, environment: dict, until: str) -> tuple[subprocess.Popen, Path]:
    """A run in the background, once `until` stands in its log, and that log."""
    log = folder.parent / "log"
    with log.open("w") as file:
        command = [sys.executable, ROOT / "pipeline.py", "run"]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    deadline = time.monotonic() + 120
    while until not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return process, log


def ran(folder: Path) -> dict[str, tuple[float, float]]:
    """Start and end of every stage that ran to its end."""
    notes = folder / "ran.jsonl"
    lines = notes.read_text().splitlines() if notes.exists() else []
    return {name: (start, end) for name, start, end in map(json.loads, lines)}


def test_run_leaves_the_lock_and_outs_that_dvc_repro_leaves(project, environment):
    by_dvc, by_flow = project(DIAMOND, name="by_dvc"), project(DIAMOND, name="by_flow")
    subprocess.run(["dvc", "repro", "--quiet"], cwd=by_dvc, env=environment, check=True)
    finished = run(by_flow, environment)
    assert finished.returncode == 0, finished.stderr
    assert (by_flow / "dvc.lock").read_bytes() == (by_dvc / "dvc.lock").read_bytes()
    assert (by_flow / "last.txt").read_text() == "last"
    status = subprocess.check_output(["dvc", "status"], cwd=by_flow, env=environment, text=True)
    assert status.strip() == "Data and pipelines are up to date."

    times = ran(by_flow)
    assert set(times) == {"first", "left", "right", "last"}
    assert times["left"][0] < times["right"][1], "stages that need nothing of each other did not overlap"
    assert times["right"][0] < times["left"][1], "stages that need nothing of each other did not overlap"
    assert "right prints this" in finished.stderr, "the log of a stage is not streamed"


def test_second_run_does_nothing_and_force_does_all(project, environment):
    folder = project(DIAMOND.replace(" 4 ", " 0 ").replace(" 2 ", " 0 "))
    assert run(folder, environment).returncode == 0
    before = ran(folder)
    assert run(folder, environment).returncode == 0
    assert ran(folder) == before
    assert run(folder, environment, "--force").returncode == 0
    assert all(ran(folder)[name] > times for name, times in before.items())


def test_run_of_a_stage_brings_what_it_needs_and_no_more(project, environment):
    folder = project(DIAMOND)
    assert run(folder, environment, "right").returncode == 0
    assert set(ran(folder)) == {"first", "right"}


def test_failing_stage_ends_the_run_with_its_own_sentence_and_the_others_finish(project, environment):
    fail = 'if sys.argv[1] == "left":\n    sys.exit("left: shard 3 has a flipped byte")\n'
    folder = project(DIAMOND, STAGE.replace("name, seconds", fail + "name, seconds", 1))
    finished = run(folder, environment)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "pipeline.py: left: shard 3 has a flipped byte"
    assert "Traceback" not in finished.stderr
    assert set(ran(folder)) == {"first", "right"}
    assert "left:" not in (folder / "dvc.lock").read_text()


TRANSIENT = """\
stages:
  download:
    cmd: python stage.py
    outs: [out.txt]
    meta: {transient_exit_codes: [75]}
"""


@pytest.fixture
def flow_in(environment, monkeypatch):
    """The flow itself, run in a folder, so that a test need not wait as long as an operator would."""

    def call(folder: Path, retry_delays: tuple[float, ...], time_limit: float | None = None):
        from vqcast.flow.orchestration import reproduce

        monkeypatch.chdir(folder)
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", environment["DVC_SITE_CACHE_DIR"])
        return reproduce(retry_delays=retry_delays, time_limit=time_limit, return_state=True)

    return call


def test_transient_failure_is_tried_again_until_it_passes(project, flow_in):
    stage = """\
import sys
from pathlib import Path

with open("tries", "a") as tries:
    tries.write(".")
if Path("tries").stat().st_size < 3:
    sys.exit(75)
Path("out.txt").write_text("done")
"""
    folder = project(TRANSIENT, stage)
    assert flow_in(folder, (0.1, 0.1, 0.1)).is_completed()
    assert (folder / "tries").read_text() == "..."


@pytest.mark.parametrize(("exit_code", "tries"), [(75, ".."), (1, ".")])
def test_only_what_a_stage_calls_transient_is_tried_again(project, flow_in, exit_code, tries):
    stage = f"""\
import sys

with open("tries", "a") as tries:
    tries.write(".")
print("download: the network is down", file=sys.stderr)
sys.exit({exit_code})
"""
    folder = project(TRANSIENT, stage)
    state = flow_in(folder, (0.1,))
    assert state.is_failed()
    assert state.message == "download: the network is down"
    assert (folder / "tries").read_text() == tries


def test_stage_knows_the_flow_run_that_it_is_a_part_of(project, flow_in):
    stage = "import os\nopen('out.txt', 'w').write(os.environ['VQCAST_PREFECT_RUN'])\n"
    folder = project(TRANSIENT, stage)
    state = flow_in(folder, ())
    assert (folder / "out.txt").read_text() == str(state.state_details.flow_run_id)


ENDLESS = """\
import subprocess, sys, time

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print("it runs", flush=True)
time.sleep(1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_stage_that_takes_too_long_is_ended_with_all_it_started(project, flow_in):
    folder = project(TRANSIENT, ENDLESS)
    state = flow_in(folder, (0.1,), time_limit=8)
    assert state.is_failed()
    assert state.message == (
        "download: took more than the time limit of 8 s and was ended; run it again to go on from there"
    )
    assert not any("sleep" in command or "stage.py" in command for command in processes_naming(str(folder)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_ended_run_leaves_no_process_and_the_next_one_goes_on(project, environment, number, code):
    """The signal goes to the whole foreground group, as Ctrl-C does, with the server of the run's own."""
    del environment["PREFECT_API_URL"]
    folder = project(DIAMOND, ENDLESS)
    process, log = start(folder, environment, until="it runs")
    assert len(processes_naming(str(folder))) >= 4  # the run, its server, DVC, the stage and its child
    ended = time.monotonic()
    os.killpg(process.pid, number)
    assert process.wait(timeout=20) == code, log.read_text()
    assert time.monotonic() - ended < 10
    assert processes_naming(str(folder)) == []
    assert not (folder / "dvc.lock").exists()

    (folder / "stage.py").write_text(STAGE)
    subprocess.run(["dvc", "repro", "--quiet", "first"], cwd=folder, env=environment, check=True)
    assert set(ran(folder)) == {"first"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_killed_run_leaves_no_process(project, environment):
    """SIGKILL gives the run no time to end anything: what it started must notice by itself.

    Without SHELL, as in most containers, DVC starts the stage under /bin/sh, which may stand in between.
    """
    del environment["PREFECT_API_URL"]
    environment.pop("SHELL", None)
    stage = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom vqcast.work.stage import run_stage\n"
    stage += (
        "import time\ndef main():\n    print('it runs', flush=True)\n    time.sleep(1000)\nrun_stage(main)\n"
    )
    folder = project(DIAMOND, stage)
    process, _ = start(folder, environment, until="it runs")
    process.kill()
    deadline = time.monotonic() + 10
    while processes_naming(str(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_naming(str(folder)) == []


@pytest.mark.parametrize("variable", ["DVC_STAGE", "DVC_ROOT"])
def test_run_inside_a_dvc_stage_is_refused(project, environment, variable):
    folder = project(DIAMOND)
    finished = run(folder, {**environment, variable: "retrain"})
    assert finished.returncode == 1
    assert (
        finished.stderr == "pipeline.py: the pipeline cannot be started from inside a DVC stage (retrain)\n"
    )


def test_unknown_stage_is_named_before_a_server_is_started(project, environment):
    del environment["PREFECT_API_URL"]
    finished = run(project(DIAMOND), environment, "middle")
    assert finished.returncode == 1
    assert finished.stderr == "pipeline.py: Stage 'middle' not found inside 'dvc.yaml' file\n"


def test_server_that_does_not_answer_is_named(project, environment):
    url = "http://127.0.0.1:9/api"
    finished = run(project(DIAMOND), {**environment, "PREFECT_API_URL": url})
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"pipeline.py: no Prefect server answers at {url}: ")


def test_help_says_what_a_user_needs():
    finished = subprocess.run(
        [sys.executable, ROOT / "pipeline.py", "run", "--help"], capture_output=True, text=True, check=True
    )
    for text in (
        "STAGE",
        "--force",
        "VQCAST_DEVICE",
        "VQCAST_PROCESSES",
        "VQCAST_WORKERS",
        "PREFECT_API_URL",
    ):
        assert text in finished.stdout
    assert "exit codes" in finished.stdout
