"""What DVC does not see of a change must not be able to change: parameters, links, the environment."""

import copy
import dataclasses
import typing

import pytest
from dvc.dependency.param import ParamsDependency
from dvc.stage.cache import _get_cache_hash
from dvc_data.hashfile.meta import Meta
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.projects import make_project, run
from tests.test_lineage import DOWNLOAD, SAMPLE
from tests.videos import make_video
from vqcast.media import ffmpeg
from vqcast.settings.params import Settings

UNSEEN = {Meta.PARAM_SIZE, Meta.PARAM_NFILES}  # names that DVC's run-cache leaves out of its key
PARAMS = YAML(typ="safe").load((ROOT / "params.yaml").read_text())


def names(cls):
    """Every parameter's name, at any depth."""
    for name, hint in typing.get_type_hints(cls).items():
        yield name
        for kind in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(kind):
                yield from names(kind)


def leaves(document, path=()):
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def test_no_parameter_has_a_name_that_dvc_leaves_out():
    assert {"size", "nfiles"} == UNSEEN
    assert UNSEEN.isdisjoint(names(Settings))
    for path in [ROOT / "params.yaml", *(ROOT / "presets").glob("*.yaml")]:
        document = YAML(typ="safe").load(path.read_text())
        assert not [key for key in leaves(document) if UNSEEN.intersection(key)], path


@pytest.mark.parametrize("key", list(leaves(PARAMS)), ids=".".join)
def test_every_parameter_is_in_the_key_of_the_run_cache(key):
    changed = copy.deepcopy(PARAMS)
    place = changed
    for name in key[:-1]:
        place = place[name]
    place[key[-1]] = "changed"
    keys = {
        _get_cache_hash({"cmd": "x", "params": {ParamsDependency.DEFAULT_PARAMS_FILE: params}}, key=True)
        for params in (PARAMS, changed)
    }
    assert len(keys) == 2


@pytest.mark.parametrize("inside", ["cats", "dogs/more"])
def test_link_to_a_folder_inside_what_a_stage_reads_is_refused(tmp_path, inside):
    folder = make_project(tmp_path / "project", download=SAMPLE | {"source": "directory"})
    make_video(tmp_path / "elsewhere/a.mp4")
    link = folder / "data/videos" / inside
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "elsewhere")
    finished = run(folder, "python", *DOWNLOAD, code=1)
    assert finished.stderr.startswith(
        f"download: data/videos/{inside} is a link to a folder, behind which DVC"
    )
    assert not (folder / "data/raw.parquet").exists()


def test_link_inside_another_folder_that_the_stage_reads_is_refused(tmp_path):
    folder = make_project(tmp_path / "project", download=SAMPLE)
    (folder / "data/kinetics/lists").symlink_to(tmp_path)
    finished = run(folder, "python", *DOWNLOAD, code=1)
    assert finished.stderr.startswith("download: data/kinetics/lists is a link to a folder")


def test_folder_that_is_a_link_as_a_whole_is_seen(tmp_path):
    source = {"source": "directory", "max_failed_share": 1.0}
    folder = make_project(tmp_path / "project", download=source)
    elsewhere = tmp_path / "elsewhere"
    make_video(elsewhere / "cats/a.mp4")
    for path in (folder / "data/videos").iterdir():
        path.unlink()
    (folder / "data/videos").rmdir()
    (folder / "data/videos").symlink_to(elsewhere)
    run(folder, "dvc", "repro", "download")
    make_video(elsewhere / "cats/b.mp4", frames=19)
    assert "data/videos" in run(folder, "dvc", "status", "download").stdout


def test_ffmpeg_is_the_one_that_was_installed_whatever_the_environment_names(monkeypatch, tmp_path):
    ours = ffmpeg.executable()
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg.executable() == ours != str(fake)
