"""Units of work on a real Ray cluster of two nodes: the bytes of a local run, nodes lost, nodes refused."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.cluster import kill, two_nodes, works_in
from tests import site as sites
from tests import test_changed_collection as changed
from tests.conftest import ROOT
from tests.mirror import Mirror, annotation, file, pack
from tests.networks import BOTTOM, TOP, randomised
from tests.videos import Workspace
from vqcast.codes.latents import Latents
from vqcast.codes.models import save_prior
from vqcast.errors import VqcastError
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.work import on_ray
from vqcast.work.execution import run_units

ray = pytest.importorskip("ray", reason="ray is not installed: requirements.ray.lock.txt")
VIDEOS = 16
CLIPS = ["--clips", "data/clips", "--manifest", "data/clips.parquet"]
MODELS = [
    *("--latents", "data/latents", "--vqvae", "models/vqvae"),
    *("--top-prior", "models/top_prior", "--bottom-prior", "models/bottom_prior"),
]
COMMANDS = {
    **changed.COMMANDS,
    "sample": [*CLIPS, *MODELS, "--out", "data/samples"],
    "evaluate": [
        *(*CLIPS, *MODELS, "--samples", "data/samples"),
        *("--systems", "data/systems", "--features", "data/features"),
        *("--out", "reports/evaluate.json", "--windows", "reports/windows.parquet"),
        *("--positions", "reports/positions.parquet"),
    ],
}
OUTS = {
    "download": ["data/raw.parquet", "data/raw"],
    "clip": ["data/clips.parquet", "data/clips"],
    "encode": ["data/latents"],
    "sample": ["data/samples"],
    "evaluate": ["reports", "data/features"],
}
DONE = {  # in a stage's scratch folder, for each part of its work that is done
    "clip": "*/shards/*.json",
    "encode": "*/shards/*.json",
    "sample": "*/parts/*.arrow",
    "evaluate": "*/scores-*.npz",
}


ODD_CORES = "8"


def start(stage, folder, address="", **environment):
    environment = {"PYTHONPATH": str(ROOT), "VQCAST_WORKERS": "1", "RAY_ADDRESS": address} | environment
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *COMMANDS[stage]],
        cwd=folder,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def refusal(process):
    """The last line that a failing stage says."""
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    return errors.strip().splitlines()[-1]


def contents(folder, *stages):
    """The bytes of all that these stages made."""
    places = [folder / out for stage in stages for out in OUTS[stage]]
    paths = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def forget(folder, stage):
    """Make it as if the stage had never run."""
    shutil.rmtree(folder / ".vqcast/scratch" / stage, ignore_errors=True)
    for out in OUTS[stage]:
        place = folder / out
        place.unlink() if place.is_file() else shutil.rmtree(place)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """A folder in which every stage that works in units has run on this machine; its networks are random."""
    folder = tmp_path_factory.mktemp("collection")
    changed.make_collection(folder, range(VIDEOS))
    document = yaml.safe_load((folder / "params.yaml").read_text())
    document["sample"]["batch_size"] = 1
    document["evaluate"] |= {"batch_size": 1, "resolution": 32}
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    for stage in changed.COMMANDS:
        finish(start(stage, folder))
    latents = Latents(folder / "data/latents", "train").manifest
    for kind, build, settings in (
        ("top_prior", TopPriorNetwork, TOP),
        ("bottom_prior", BottomPriorNetwork, BOTTOM),
    ):
        prior = randomised(build(settings, latents.codes, latents.grids))
        save_prior(folder / "models" / kind, prior, kind, settings, latents)
    for stage in ("sample", "evaluate"):
        finish(start(stage, folder))
    return folder


@pytest.fixture
def copy(collection, tmp_path):
    """A copy of that folder, in which links between its files are links again."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-a", f"{collection}/.", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes with a CPU core each, of which a test may kill one."""
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture
def cluster(nodes):
    """That cluster with both its nodes."""
    if not nodes.worker_nodes:
        nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
    return nodes


@pytest.fixture
def connected(cluster, tmp_path, monkeypatch):
    """The same, for units of this process."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.chdir(tmp_path)
    yield cluster
    ray.shutdown()


def test_every_stage_that_works_in_units_gives_the_bytes_of_a_local_run(collection, copy, cluster):
    for stage in COMMANDS:
        forget(copy, stage)
    for stage in COMMANDS:
        finish(start(stage, copy, cluster.address))
    assert contents(copy, *COMMANDS) == contents(collection, *COMMANDS)


@pytest.mark.parametrize("stage", DONE)
def test_a_node_killed_half_way_costs_no_byte(collection, copy, cluster, stage):
    forget(copy, stage)
    process = start(stage, copy, cluster.address)
    (node,) = cluster.worker_nodes
    shards = {name: len(changed.shards(collection, name)) for name in changed.OUTS}
    half = {"sample": 18, "evaluate": 18, **shards}[stage] // 2  # 18 validation windows, one at a time
    scratch = copy / ".vqcast/scratch" / stage
    while len(list(scratch.glob(DONE[stage]))) < half or not works_in(copy, node):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    kill(cluster, node)
    assert process.poll() is None, "too late: it had ended"
    finish(process)
    assert contents(copy, stage) == contents(collection, stage)


def test_archives_of_a_mirror_come_to_the_store_as_they_do_locally(connected, tmp_path, monkeypatch):
    with sites.running() as site:
        mirror = Mirror(site)
        mirror.annotate(*(annotation(number) for number in range(20)))
        for part in range(5):
            members = (file(number) for number in range(4 * part, 4 * part + 5))
            mirror.archive(f"part_{part}", pack(*members))
        on_nodes = Workspace(tmp_path / "on_nodes")
        on_nodes.download(mirror.settings())
        monkeypatch.delenv("RAY_ADDRESS")
        here = Workspace(tmp_path / "here")
        here.download(mirror.settings())
    assert on_nodes.raw.read_bytes() == here.raw.read_bytes()

    def store(place):
        return {str(path.relative_to(place.store)) for path in place.store.rglob("*") if path.is_file()}

    assert store(on_nodes) == store(here)


def environment_of(unit):
    import torch

    return unit, torch.get_num_threads(), os.environ["VQCAST_DEVICE"], os.getcwd()


def sleep(unit):
    Path("asleep").touch()
    time.sleep(600)


def test_a_network_has_the_threads_and_the_device_that_it_has_here(connected, tmp_path, monkeypatch):
    """Also where the node was started with another number of threads: it is the one that gives the bytes."""
    monkeypatch.setenv("VQCAST_THREADS", "2")
    node = connected.add_node(num_cpus=2)
    try:
        found = dict(run_units(environment_of, "ab", "test", networks=True))
    finally:
        kill(connected, node)
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert found == {number: (unit, 2, "cpu", str(tmp_path)) for number, unit in enumerate("ab")}


def test_units_that_no_node_is_large_enough_for_are_not_waited_for(connected, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "PATIENCE_SECONDS", 2)
    monkeypatch.setenv("VQCAST_THREADS", "2")
    with pytest.raises(VqcastError, match="no node of the Ray cluster has the 2 CPU cores"):
        next(run_units(sleep, "a", "test", networks=True))
    node = connected.add_node(num_cpus=2)
    units = run_units(sleep, "a", "test", networks=True)
    raylet = node.all_processes["raylet"][0].process.pid
    script = f"while [ ! -e asleep ]; do sleep 0.1; done; kill -9 {raylet}"
    with subprocess.Popen(["sh", "-c", script]):
        try:
            with pytest.raises(VqcastError, match=r"has the 2 CPU cores .* any more; run it again to go on"):
                next(units)
        finally:
            kill(connected, node)


# What is refused, in one sentence


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "Connection refused"),
        ("nobody.invalid:6379", ""),
        ("somewhere", "Invalid address format"),
        ("ray://127.0.0.1:10001", "it is that of a Ray client server; name the cluster itself, as HOST:6379"),
    ],
)
def test_an_address_without_a_cluster_is_named(copy, address, reason):
    said = refusal(start("download", copy, address))
    assert said.startswith(f"download: RAY_ADDRESS '{address}' leads to no usable cluster: ")
    assert reason in said


def test_an_address_where_something_else_answers_is_named(copy):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        said = refusal(start("download", copy, address))
    assert said.startswith(f"download: RAY_ADDRESS '{address}' leads to no usable cluster: ")


def test_without_ray_installed_the_command_that_installs_it_is_said(copy):
    script = "import runpy, sys; sys.modules['ray'] = None; del sys.argv[0]; "
    script += "runpy.run_module('stages.download', run_name='__main__', alter_sys=True)"
    process = subprocess.run(
        [sys.executable, "-c", script, "download", *COMMANDS["download"]],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "127.0.0.1:6379"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.returncode == 1
    assert process.stderr.strip() == (
        "download: RAY_ADDRESS is set, but ray is not installed: pip install -r requirements.ray.lock.txt"
    )


def test_a_cluster_of_other_versions_is_refused(copy, cluster):
    """By what the head node has written down about itself."""
    client = ray._raylet.GcsClient(address=cluster.gcs_address)
    place = (b"CLUSTER_METADATA",)
    stated = client.internal_kv_get(*place, namespace=b"cluster")
    other = json.loads(stated) | {"ray_version": "2.59.0", "python_version": "3.12.1"}
    client.internal_kv_put(*place, json.dumps(other).encode(), True, b"cluster")
    try:
        said = refusal(start("download", copy, cluster.address))
    finally:
        client.internal_kv_put(*place, stated, True, b"cluster")
    here = f"Ray {ray.__version__} and Python {sys.version.split()[0]}"
    assert said.endswith(f"cluster: it runs Ray 2.59.0 and Python 3.12.1, this machine {here}")


@contextlib.contextmanager
def odd_node(cluster, mounts):
    """One more node of the cluster, which sees other files than this machine where `mounts` says so."""
    namespace = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
    if subprocess.run([*namespace, mounts], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus", ODD_CORES]
    command += ["--address", cluster.address, "--min-worker-port", "0", "--max-worker-port", "0"]
    before = alive(cluster)
    process = subprocess.Popen(
        [*namespace, f'{mounts}\nexec "$@"', "sh", *command],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        while alive(cluster) == before:
            assert process.poll() is None
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        while alive(cluster) != before:
            time.sleep(0.1)


def alive(cluster):
    return sum(node["Alive"] for node in cluster.global_state.node_table())


@pytest.mark.parametrize("what", ["folder", "code", "package"])
def test_a_node_that_would_give_other_bytes_is_named(copy, cluster, tmp_path, what):
    if what == "folder":
        mounts = f"mount -t tmpfs tmpfs '{copy}'"
        complaint = f"does not see the folder {copy} of this machine, which every node needs under that path"
    elif what == "code":
        shutil.copytree(ROOT / "vqcast", tmp_path / "vqcast")
        with open(tmp_path / "vqcast/clips/pixels.py", "a") as module:
            module.write("# edited\n")
        mounts = f"mount --bind '{tmp_path}/vqcast' '{ROOT}/vqcast'"
        complaint = f"has other code of vqcast in {ROOT} than this machine"
    else:
        installed = on_ray.on_node.version_of("numpy")
        (about,) = Path(sys.prefix).glob(f"lib/python*/site-packages/numpy-{installed}.dist-info")
        mounts = (
            f"mount -t tmpfs tmpfs '{about}'\nprintf 'Name: numpy\\nVersion: 1.26.4\\n' >'{about}/METADATA'"
        )
        complaint = f"has numpy 1.26.4, this machine {installed}: install requirements.lock.txt there"
    forget(copy, "encode")
    with odd_node(cluster, mounts):
        # No other node has so many cores, and could do it all before this one is ready.
        said = refusal(start("encode", copy, cluster.address, VQCAST_THREADS=ODD_CORES))
    assert said == f"encode: node {socket.gethostname()} of the Ray cluster {complaint}"
    finish(start("encode", copy, cluster.address))
