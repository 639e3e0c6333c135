"""What the tests share: a quiet environment with few threads, and folders of real and of odd videos."""

import os
from pathlib import Path

import pytest

# Before anything imports torch, DVC or Prefect, and for every process that a test starts. Tests run side
# by side, and must find the same device everywhere.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "VQCAST_DEVICE": "cpu",
    "VQCAST_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(name, value)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """The folder of real videos, `<label>/<file>` and `videos.csv`, that VQCAST_REAL_VIDEOS names."""
    folder = os.environ.get("VQCAST_REAL_VIDEOS")
    if not folder:
        pytest.skip("VQCAST_REAL_VIDEOS names no folder of real videos")
    return (ROOT / folder).resolve(strict=True)


@pytest.fixture(scope="session")
def edge_videos() -> Path:
    """The folder of odd videos, `videos/<file>` and `videos.csv`, that VQCAST_EDGE names."""
    folder = os.environ.get("VQCAST_EDGE")
    if not folder:
        pytest.skip("VQCAST_EDGE names no folder of odd videos")
    return (ROOT / folder).resolve(strict=True)
