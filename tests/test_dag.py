"""dvc.yaml says what the stages' sources say, and DVC never has to edit a file of this repository."""

import dataclasses
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.dag import ROOT, imported_modules, settings_read, stage_module
from vqcast.flow.dag import read_dag
from vqcast.settings.params import Settings

DOCUMENT = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = DOCUMENT["stages"]

each_stage = pytest.mark.parametrize("name", STAGES)


def outs(stage: dict) -> list[str]:
    return stage.get("outs", []) + stage.get("metrics", [])


def data_deps(stage: dict) -> list[str]:
    return [dep for dep in stage["deps"] if not dep.endswith(".py")]


@each_stage
def test_every_stage_runs_the_module_that_bears_its_name(name):
    assert stage_module(STAGES[name]["cmd"]) == Path("stages", f"{name}.py")


@each_stage
def test_every_stage_lists_exactly_the_modules_it_imports(name):
    listed = [dep for dep in STAGES[name]["deps"] if dep.endswith(".py")]
    assert listed == imported_modules(Path("stages", f"{name}.py")), "run `make deps`"


@each_stage
def test_no_module_of_a_stage_is_empty(name):
    """DVC warns of an empty dependency at every run."""
    assert all((ROOT / dep).stat().st_size for dep in STAGES[name]["deps"] if dep.endswith(".py"))


@each_stage
def test_every_stage_lists_exactly_the_parameters_it_reads(name):
    listed, read = set(STAGES[name]["params"]), settings_read(Path("stages", f"{name}.py"))
    assert {key for key in read if not any(f"{key}.".startswith(f"{one}.") for one in listed)} == set()
    assert {one for one in listed if not any(f"{key}.".startswith(f"{one}.") for key in read)} == set()


@each_stage
def test_every_path_of_a_stage_is_an_argument_of_its_command(name):
    stage = STAGES[name]
    arguments = stage["cmd"].split()
    for path in data_deps(stage) + outs(stage):
        if path != "${download.directory.root}":  # a parameter: one's own videos may lie anywhere
            assert path in arguments or str(Path(path).parent) in arguments, path


def test_every_section_of_the_parameters_is_read_by_some_stage():
    read = {listed.split(".")[0] for stage in STAGES.values() for listed in stage["params"]}
    assert read == {field.name for field in dataclasses.fields(Settings)}


def test_only_the_priors_need_nothing_of_each_other():
    upstream = {stage.name: stage.upstream for stage in read_dag(ROOT)}
    assert upstream == {
        "download": (),
        "clip": ("download",),
        "train_vqvae": ("clip",),
        "encode": ("clip", "train_vqvae"),
        "train_top_prior": ("encode",),
        "train_bottom_prior": ("encode",),
        "sample": ("clip", "encode", "train_bottom_prior", "train_top_prior", "train_vqvae"),
        "evaluate": (
            "clip",
            "encode",
            "sample",
            "train_bottom_prior",
            "train_top_prior",
            "train_vqvae",
        ),
        "report": (
            "clip",
            "encode",
            "evaluate",
            "sample",
            "train_bottom_prior",
            "train_top_prior",
            "train_vqvae",
        ),
    }


@pytest.mark.parametrize("path", [path for stage in STAGES.values() for path in outs(stage)])
def test_git_ignores_every_output_by_a_committed_entry(path):
    """Else DVC would add one, and take it back when a later stage fails (iterative/dvc#11091)."""
    entries = (ROOT / path).parent.joinpath(".gitignore").read_text().splitlines()
    assert f"/{Path(path).name}" in entries


@pytest.mark.parametrize("folder", ["videos", "kinetics"])
def test_git_keeps_the_folders_for_own_files_and_ignores_what_is_put_there(folder):
    def ignored(path: str) -> bool:
        return subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT).returncode == 0

    assert ignored(f"data/{folder}/cats/tom.mp4")
    assert not ignored(f"data/{folder}/README.md")


@pytest.mark.parametrize("name", ["requirements", "requirements.ray", "requirements.s3"])
def test_the_lock_pins_every_direct_requirement_within_its_range(name):
    pins = {}
    for line in (ROOT / f"{name}.lock.txt").read_text().splitlines():
        if not line.startswith("#"):
            package, version = line.split("==")
            pins[package.lower()] = version
    for line in (ROOT / f"{name}.txt").read_text().splitlines():
        text = line.split("#")[0].strip()
        if text:
            requirement = Requirement(text)
            assert requirement.specifier.contains(pins[requirement.name]), text
