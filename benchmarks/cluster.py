"""The default collection encoded on a Ray cluster of two nodes on this machine, to the bytes of a local run.

    python -m benchmarks.cluster        needs requirements.ray.lock.txt

videos, shards             of the collection of params.yaml
bytes_equal                whether the cluster's latents are those of the local run, every file byte for byte
bytes_equal_node_killed    the same, after the node that had done some of it was killed half-way
seconds                    of the encode stage: `local`, with a process for each of as many cores as the
                           cluster has; `ray`; `ray_node_killed`. The cluster is started before
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.stages import ROOT, make_clips, run_stage, write_params
from vqcast.settings.params import load_settings

STEPS = 20  # of the VQ-VAE: what it encodes to is compared with itself
ENCODE = ["--clips", "clips", "--manifest", "clips.parquet", "--vqvae", "vqvae", "--out", "latents"]
FINISHED = ".vqcast/scratch/encode/*/shards/*.json"


@contextlib.contextmanager
def two_nodes() -> Iterator:
    """A ray.cluster_utils.Cluster of a head and a worker node with a CPU core each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def raylet(node: object) -> int:
    """The process that starts all others of a node."""
    (info,) = node.all_processes["raylet"]
    return info.process.pid


def works_in(folder: Path, node: object) -> bool:
    """Whether a process of the node is at work in `folder`."""
    pids: set[str] = set()
    for children in Path(f"/proc/{raylet(node)}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            pids.update(children.read_text().split())
    return any(Path(f"/proc/{pid}/cwd").resolve() == folder.resolve() for pid in pids)


def kill(cluster: object, node: object) -> None:
    """End a node at once, with all that runs there."""
    cluster.remove_node(node, allow_graceful=False)


def encode(folder: Path, address: str) -> subprocess.Popen:
    """Start the encode stage from nothing; on this machine's cores where `address` is empty."""
    shutil.rmtree(folder / "latents", ignore_errors=True)
    shutil.rmtree(folder / ".vqcast/scratch/encode", ignore_errors=True)
    environment = {"PYTHONPATH": str(ROOT), "VQCAST_WORKERS": "2", "RAY_ADDRESS": address}
    command = [sys.executable, "-m", "stages.encode", *ENCODE]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **environment})


def finish(process: subprocess.Popen) -> None:
    if process.wait():
        sys.exit(process.returncode)


def kill_half_way(folder: Path, process: subprocess.Popen, shards: int, cluster: object) -> None:
    """Kill the worker node, busy with a shard, once half of the shards are finished."""
    (node,) = cluster.worker_nodes
    while len(list(folder.glob(FINISHED))) < shards // 2 or not works_in(folder, node):
        if process.poll() is not None:
            sys.exit("encode ended before a node could be killed")
        time.sleep(0.02)
    kill(cluster, node)


def latents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "latents").iterdir()}


def main() -> None:
    os.environ.pop("RAY_ADDRESS", None)
    seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - start, 1)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_clips(folder, "params.yaml", {})
        write_params(folder, "params.yaml", train_vqvae={"steps": STEPS})
        run_stage(folder, "train_vqvae")
        with timed("local"):
            finish(encode(folder, ""))
        local = latents(folder)
        shards = len(list((folder / "latents").glob("*-*.parquet")))
        with two_nodes() as cluster:
            with timed("ray"):
                finish(encode(folder, cluster.address))
            whole = latents(folder)
            with timed("ray_node_killed"):
                process = encode(folder, cluster.address)
                kill_half_way(folder, process, shards, cluster)
                finish(process)
            after_loss = latents(folder)
        sample = load_settings(folder / "params.yaml").download.sample
    result = {
        "videos": sample.train_videos + sample.val_videos,
        "shards": shards,
        "bytes_equal": whole == local,
        "bytes_equal_node_killed": after_loss == local,
        "seconds": seconds,
    }
    print(json.dumps(result))
    if not (whole == after_loss == local):
        sys.exit(1)


if __name__ == "__main__":
    main()
