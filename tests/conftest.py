"""What the tests share: a quiet environment with few threads, and the folders of real data."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

# Before anything imports torch, DVC or Prefect, and for every process that a test starts. Tests run side
# by side, and must find the same device everywhere.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "VQCAST_DEVICE": "cpu",
    "VQCAST_PROCESSES": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(name, value)

# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]

# Each takes minutes: they go first, so that no worker is left with one of them when the others are done.
LONG = (
    *("test_ray", "test_training", "test_ray_train", "test_serving", "test_retrain_real_stages"),
    *("test_changed_collection", "test_prediction", "test_pipeline", "test_audit", "test_retraining"),
    *("test_evaluate_memory", "test_prove", "test_ranks", "test_video_hostile", "test_remote_storage"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


def files_below(folder: Path) -> list[Path]:
    """Every file at any depth, also while a stage makes and removes folders there, which stops `rglob`."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in sorted(names)]


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """The folder of real videos, `<label>/<file>` and `videos.csv`, that VQCAST_REAL_VIDEOS names."""
    return _folder("VQCAST_REAL_VIDEOS", "real videos")


@pytest.fixture(scope="session")
def kinetics() -> Path:
    """The folder of genuine annotation files that VQCAST_KINETICS names."""
    return _folder("VQCAST_KINETICS", "annotation files of Kinetics")


@pytest.fixture(scope="session")
def edge_videos() -> Path:
    """The folder of odd videos, `videos/<file>` and `videos.csv`, that VQCAST_EDGE names."""
    return _folder("VQCAST_EDGE", "odd videos")


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory) -> Path:
    """A folder in which everything up to evaluate has run, on test patterns and with untrained networks."""
    from tests.evaluated import make_evaluated

    return make_evaluated(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="module")
def browser():
    """A real Chromium without a window."""
    from tests.browser import chromium

    with chromium() as started:
        yield started


@pytest.fixture
def site():
    """A web site on loopback."""
    from tests import site  # not at the top: it imports from here

    with site.running() as running:
        yield running


@pytest.fixture
def mirror(site):
    """A mirror of Kinetics, on a site of its own."""
    from tests.mirror import Mirror  # not at the top: it imports from here

    return Mirror(site)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty workspace, in which one worker does everything."""
    from tests.videos import Workspace

    monkeypatch.setenv("VQCAST_WORKERS", "1")
    return Workspace(tmp_path / "work")


def _folder(variable: str, content: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no folder of {content}")
    return (ROOT / folder).resolve(strict=True)


@pytest.fixture(scope="session")
def server():
    """The URL of a real Prefect server."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def s3():
    """The URL of a server on loopback that speaks S3, with a bucket called vqcast."""
    import httpx

    pytest.importorskip("moto")
    pytest.importorskip("dvc_s3")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.put(f"{url}/vqcast").raise_for_status()
                break
            except httpx.TransportError:
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        yield url
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def environment(server, tmp_path):
    """Environment of the commands: this Python first, that server, and nothing written outside tmp_path."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site cache"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": server,
    }


@pytest.fixture
def project(environment, tmp_path):
    """Makes an empty git and DVC project of a dvc.yaml and a stage.py."""
    from tests.small_projects import STAGE, make_project

    def make(document: str, stage: str = STAGE, name: str = "project") -> Path:
        return make_project(tmp_path / name, environment, document, stage)

    return make
