"""Training stages on a real Ray cluster of two nodes: the bytes of one machine, ranks lost, refused."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.cluster import kill, raylet, two_nodes
from tests import test_training as training
from tests.conftest import ROOT, files_below
from tests.small_projects import processes_naming
from tests.test_ray import odd_node

pytest.importorskip("ray", reason="ray is not installed: requirements.ray.lock.txt")
STEPS = {"train_vqvae": 60, "train_top_prior": 100}
STARTED: list[subprocess.Popen] = []
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with a CPU core each."""
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which two ranks under torchrun have trained both networks."""
    folder = tmp_path_factory.mktemp("trained")
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in training.TINY.items():
        document[section].update(changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    (folder / "data").mkdir()
    (folder / "data/exclude.csv").write_text("id,reason,date\n")
    for stage in ("download", "clip", "train_vqvae", "encode", "train_top_prior"):
        if stage in STEPS:
            command = [*TORCHRUN, "-m", f"stages.{stage}", *training.COMMANDS[stage]]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "TORCH_GLOO_LAZY_INIT": "1"}
            subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        else:
            training.finish(stage, folder)
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of that folder, without what was trained last."""
    subprocess.run(["cp", "-a", f"{trained}/.", str(tmp_path)], check=True)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_left():
    """No stage that a test started outlives it."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.communicate()
    STARTED.clear()


def start(stage, folder, cluster, **environment):
    environment = {"RAY_ADDRESS": cluster.address, "VQCAST_PROCESSES": "2"} | environment
    STARTED.append(training.start(stage, folder, **environment))
    return STARTED[-1]


def refusal(process):
    """The last line that a failing stage says."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    return errors.strip().splitlines()[-1]


def steps_saved(folder, stage):
    paths = files_below(folder / ".vqcast/scratch" / stage)
    return max((int(path.stem.partition("-")[2]) for path in paths if path.match("step-*.pt")), default=0)


def wait_for_step(step, folder, stage, process):
    while steps_saved(folder, stage) < step:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def rank_on(node, folder):
    """The process of a node that is a rank at work in `folder`."""
    children = [
        int(child)
        for task in Path(f"/proc/{raylet(node)}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    (found,) = [child for child in children if Path(f"/proc/{child}/cwd").resolve() == folder.resolve()]
    return found


def model(folder, stage):
    return training.contents(folder / "models" / stage.removeprefix("train_"))


def forget(folder, stage):
    shutil.rmtree(folder / "models" / stage.removeprefix("train_"))


def test_ranks_on_two_nodes_end_with_the_bytes_of_two_ranks_of_torchrun(trained, copy, cluster):
    """Exactly: the ranks are as many, and gloo adds what they have in the same order."""
    forget(copy, "train_top_prior")
    process = start("train_top_prior", copy, cluster)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert model(copy, "train_top_prior") == model(trained, "train_top_prior")
    assert "100/100" in errors, "the ranks' progress is not shown"
    assert [path.name for path in (copy / ".vqcast").iterdir() if "ray" in path.name] == []


def test_a_worker_and_then_a_node_killed_half_way_cost_no_byte(trained, copy, cluster):
    stage = "train_vqvae"
    forget(copy, stage)
    process = start(stage, copy, cluster)
    (node,) = cluster.worker_nodes
    wait_for_step(10, copy, stage, process)
    os.kill(rank_on(cluster.head_node, copy), signal.SIGKILL)
    wait_for_step(30, copy, stage, process)
    kill(cluster, node)
    cluster.add_node(num_cpus=1)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert model(copy, stage) == model(trained, stage)
    begun = [int(step) for step in re.findall(r" (\d+)/60 \[00:00<\?", errors)]
    assert len(begun) == 3, "Ray Train did not start the ranks again"
    assert begun[1] >= 10 and begun[2] >= 30, "they did not go on from a checkpoint"


def test_a_stage_that_is_ended_saves_its_last_step_and_leaves_no_rank_behind(trained, copy, cluster):
    stage = "train_top_prior"
    forget(copy, stage)
    process = start(stage, copy, cluster)
    wait_for_step(1, copy, stage, process)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in errors
    saved = int(re.search(r"interrupted; (\d+) of 100 steps are saved", errors)[1])
    assert saved == steps_saved(copy, stage) < 100
    gone_within(copy, sent + 10 - time.monotonic())

    process = start(stage, copy, cluster)
    wait_for_step(saved + 1, copy, stage, process)
    process.kill()
    process.communicate()
    gone_within(copy, 10)
    training.finish(stage, copy, VQCAST_PROCESSES="2")  # on this machine alone
    assert model(copy, stage) == model(trained, stage)


def gone_within(folder, seconds):
    """Assert that no process works in `folder` after so long."""
    deadline = time.monotonic() + seconds
    while processes_naming(str(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_naming(str(folder)) == []


def test_what_stops_a_rank_is_said_in_its_own_sentence_and_is_not_tried_again(copy, cluster):
    training.flip_a_byte(copy / "data/latents/train-00000.parquet")
    said = refusal(start("train_top_prior", copy, cluster))
    assert said == (
        "train_top_prior: data/latents/train-00000.parquet is damaged: "
        "its content is not what manifest.json states"
    )


def test_more_ranks_than_the_cluster_has_room_for_are_not_waited_for(copy, cluster):
    said = refusal(start("train_top_prior", copy, cluster, VQCAST_PROCESSES="3"))
    assert said == ("train_top_prior: VQCAST_PROCESSES is 3, and the Ray cluster has room for 2 processes")
    said = refusal(start("train_top_prior", copy, cluster, VQCAST_THREADS="2"))
    assert said == (
        "train_top_prior: no node of the Ray cluster has the 2 CPU cores and 0 GPUs of one process"
    )


def test_a_node_that_does_not_see_the_folder_is_named(copy, cluster):
    with odd_node(cluster, f"mount -t tmpfs tmpfs '{copy}'"):
        said = refusal(start("train_top_prior", copy, cluster, VQCAST_PROCESSES="3"))
    assert said == (
        f"train_top_prior: node {socket.gethostname()} of the Ray cluster does not see the folder {copy} of "
        "this machine, which every node needs under that path"
    )
