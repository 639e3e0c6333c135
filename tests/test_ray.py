"""Download, clip and encode on a real Ray cluster of two nodes give the bytes of a local run."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests import test_changed_collection as changed
from tests.conftest import ROOT

ray = pytest.importorskip("ray", reason="ray is not installed: requirements.ray.lock.txt")
VIDEOS = 16


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A folder in which every stage up to encode has run on this machine."""
    folder = tmp_path_factory.mktemp("collection")
    changed.make_collection(folder, range(VIDEOS))
    changed.run(folder, *changed.COMMANDS)
    return folder


@pytest.fixture
def copy(collection, tmp_path):
    """A copy of that folder before anything ran."""
    subprocess.run(["cp", "-a", f"{collection}/.", str(tmp_path)], check=True)
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / ".vqcast")
    return tmp_path


@pytest.fixture
def cluster():
    """A cluster of two nodes with a CPU core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def start(stage, folder, address):
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *changed.COMMANDS[stage]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": "1", "RAY_ADDRESS": address},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def test_a_cluster_gives_the_bytes_of_a_local_run_and_survives_the_loss_of_a_node(collection, copy, cluster):
    for stage in changed.COMMANDS:
        finish(start(stage, copy, cluster.address))
    assert changed.contents(copy) == changed.contents(collection)

    shutil.rmtree(copy / "data/latents")
    shutil.rmtree(copy / ".vqcast/scratch/encode")
    process = start("encode", copy, cluster.address)
    half = len(changed.shards(collection, "encode")) // 2
    finished = (copy / ".vqcast/scratch/encode").glob
    while len(list(finished("*/shards/*.json"))) < half:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
    assert process.poll() is None, "too late: it had ended"
    finish(process)
    assert changed.contents(copy) == changed.contents(collection)


def test_an_address_without_a_cluster_is_one_sentence(copy):
    process = start("download", copy, "127.0.0.1:9")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "RAY_ADDRESS '127.0.0.1:9' leads to no usable cluster" in errors
    assert "Traceback" not in errors
