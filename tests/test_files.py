"""Files appear whole or not at all; a stage finds the scratch of its own settings, inputs and code only."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vqcast.work.files import appearing, clear_scratch, open_scratch, publish_directory, sha256_file


@dataclass(frozen=True)
class Section:
    size: int


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A folder to run in, so that scratch lies in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_hash_of_a_file_is_that_of_its_content(tmp_path):
    (tmp_path / "file").write_bytes(b"video")
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"video").hexdigest()


def test_file_appears_only_when_it_is_whole(tmp_path):
    out = tmp_path / "new folder" / "table.parquet"
    with appearing(out) as partial:
        partial.write_text("whole")
        assert not out.exists()
    assert out.read_text() == "whole"
    assert list(out.parent.iterdir()) == [out]


def test_failure_leaves_the_earlier_file_and_nothing_else(tmp_path):
    out = tmp_path / "table.parquet"
    out.write_text("earlier")
    with pytest.raises(RuntimeError), appearing(out) as partial:
        partial.write_text("hal")
        raise RuntimeError
    assert out.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [out]


def test_published_directory_replaces_the_earlier_one_whole(tmp_path):
    out, folder = tmp_path / "out", tmp_path / "scratch" / "folder"
    out.mkdir()
    (out / "stale").touch()
    folder.mkdir(parents=True)
    (folder / "fresh").touch()
    publish_directory(folder, out)
    assert [path.name for path in out.iterdir()] == ["fresh"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scratch"]


def test_published_directory_makes_the_folders_above_it(tmp_path):
    (tmp_path / "folder").mkdir()
    publish_directory(tmp_path / "folder", tmp_path / "models" / "vqvae")
    assert (tmp_path / "models" / "vqvae").is_dir()


def test_scratch_of_the_same_work_is_found_again(workspace):
    (workspace / "manifest").write_text("rows")
    folder = open_scratch("download", [Section(64)], [workspace / "manifest"])
    (folder / "progress").write_text("half")
    again = open_scratch("download", [Section(64)], [workspace / "manifest"])
    assert (again / "progress").read_text() == "half"


def test_scratch_is_not_shared_with_other_settings(workspace):
    assert open_scratch("download", [Section(64)], []) != open_scratch("download", [Section(32)], [])


def test_scratch_is_not_shared_with_other_inputs(workspace):
    (workspace / "manifest").write_text("rows")
    before = open_scratch("download", [], [workspace / "manifest"])
    (workspace / "manifest").write_text("other rows")
    assert open_scratch("download", [], [workspace / "manifest"]) != before


def test_scratch_is_not_shared_with_other_code(tmp_path):
    """A copy of the library, in which one module that the stage imports is edited."""
    for package in ("stages", "vqcast"):
        shutil.copytree(ROOT / package, tmp_path / package)

    def scratch_of_clip() -> str:
        program = "from vqcast.work.files import open_scratch; print(open_scratch('clip', [], []))"
        return subprocess.check_output([sys.executable, "-c", program], cwd=tmp_path, text=True)

    before = scratch_of_clip()
    assert scratch_of_clip() == before
    with (tmp_path / "vqcast" / "errors.py").open("a") as module:
        module.write("# edited\n")
    assert scratch_of_clip() != before


def test_cleared_scratch_is_gone_and_that_of_other_stages_is_not(workspace):
    cleared, kept = open_scratch("download", [], []), open_scratch("clip", [], [])
    clear_scratch("download")
    assert not Path(cleared).exists()
    assert Path(kept).is_dir()


def test_clearing_that_was_killed_leaves_nothing_that_looks_like_progress(workspace):
    program = (
        "import os, shutil\n"
        "from vqcast.work import files\n"
        "folder = files.open_scratch('download', [], [])\n"
        "(folder / 'progress').write_text('whole')\n"
        "shutil.rmtree = lambda path, **options: path.exists() and os.kill(os.getpid(), 9)\n"
        "files.clear_scratch('download')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", program], env=environment)
    assert killed.returncode == -9
    assert list(open_scratch("download", [], []).iterdir()) == []
    clear_scratch("download")
    assert list((workspace / ".vqcast/scratch").iterdir()) == []
