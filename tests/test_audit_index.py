"""The index is a cache: bound to what it was made from, and made anew where it is damaged or edited."""

import shutil
import sqlite3
import subprocess
import sys

import pytest

from tests.test_audit_history import Project
from vqcast.errors import VqcastError
from vqcast.lineage.index import PLACE
from vqcast.lineage.seal import Seal

OLD = {"v1", "prior on latents of v1"}


@pytest.fixture
def project(tmp_path):
    """`a` trained the first run's models, and the index knows it."""
    project = Project(tmp_path)
    project.run(project.table("a", "b"), "v1")
    project.run(project.table("b"), "v2")
    assert project.trained("a") == OLD
    return project


def edit(project, *statements):
    with sqlite3.connect(project.folder / PLACE) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM clip WHERE video = 'a'",
        "UPDATE clip SET video = 'z', clip = 'z#000' WHERE video = 'a'",
        "UPDATE clip SET split = 'val' WHERE video = 'a'",
        "UPDATE manifest SET ranges = x''",
        "DELETE FROM manifest",
        "UPDATE lock SET entries = '[]'",
        "DELETE FROM lock",
        "UPDATE had SET sha256 = x'00'",
        "DROP TABLE clip",
    ],
)
def test_index_that_was_edited_answers_as_if_it_had_not_been(project, statement):
    edit(project, statement)
    assert project.trained("a") == OLD


def test_index_whose_times_were_set_back_is_read_again(project):
    path = project.folder / PLACE
    times = path.stat()
    edit(project, "DELETE FROM clip WHERE video = 'a'")
    subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "import os, sys; os.utime(sys.argv[1], ns=tuple(map(int, sys.argv[2:])))",
            ),
            *(str(path), str(times.st_atime_ns), str(times.st_mtime_ns)),
        ],
        check=True,
    )
    assert project.trained("a") == OLD


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "journal", "no seal", "other seal"])
def test_index_that_was_damaged_is_made_anew(project, damage):
    path = project.folder / PLACE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "journal":
        path.with_name(path.name + "-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))
    elif damage == "no seal":
        path.with_suffix(".seal").unlink()
    else:
        path.with_suffix(".seal").write_text("0" * 64 + " 1 2 3 4")
    assert project.trained("a") == OLD


def test_index_that_was_copied_with_its_project_is_not_made_anew(project, tmp_path_factory, capsys):
    copy = Project.__new__(Project)
    copy.folder = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(project.folder, copy.folder)
    capsys.readouterr()
    assert copy.trained("a") == OLD
    assert "index:" not in capsys.readouterr().err


def test_index_is_made_anew_from_what_is_there_and_says_what_is_lost(project):
    """It knew a table that is gone by now; edited, it is no witness any more."""
    edit(project, "DELETE FROM clip WHERE video = 'a'")
    for path in (project.folder / ".dvc/cache/files/md5").rglob("*"):
        path.is_file() and path.unlink()
    with pytest.raises(VqcastError, match="is not in DVC's cache"):
        project.ask("a")
    assert {model["md5"] for model in project.ask("b")["unknown"]} == OLD


def test_a_second_question_waits_until_the_first_is_answered(project):
    seal = Seal(project.folder / PLACE)
    ask = (
        "from pathlib import Path; from vqcast.lineage.evidence import Evidence; import sys;"
        "from vqcast.lineage.video import audit_video; audit_video(Evidence(Path(sys.argv[1])), 'a')"
    )
    second = subprocess.Popen([sys.executable, "-c", ask, str(project.folder)])
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(5)
    seal.let_go()
    assert second.wait(60) == 0
