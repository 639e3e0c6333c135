"""YAML is read as DVC reads it, everywhere; what two readers would take for two things is refused."""

import ast

import pytest
from dvc.utils.serialize import dumps_yaml, parse_yaml

from tests.conftest import ROOT
from vqcast.lineage.locks import flatten, parse_lock
from vqcast.settings.checks import SettingsError
from vqcast.settings.params import load_settings, read_params

DEFAULT = (ROOT / "params.yaml").read_text()


def params(folder, old, new):
    """params.yaml of the default with one line written otherwise."""
    assert old in DEFAULT
    path = folder / "params.yaml"
    path.write_text(DEFAULT.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("  seed: 0\n\nencode", "  seed: 010\n\nencode", "train_vqvae.seed"),
        ("reverse: false", "reverse: off", "train_vqvae.reverse"),
        ("reverse: false", "reverse: yes", "train_vqvae.reverse"),
        ("time_limit: 300.0", "time_limit: 12:30", "download.kinetics_urls.time_limit"),
        ("time_limit: 60.0", "time_limit: 1:30.5", "clip.time_limit"),
        ("weight_decay: 0.0", "weight_decay: 1e-05", "train_vqvae.weight_decay"),
        ("decay: 0.98", "decay: 0o10", "vqvae.decay"),
        ("splits: [train, val]", "splits: [train, on]", "download.kinetics.splits[1]"),
        ("  reverse: false", "  on: false", "the name train_vqvae.True"),
    ],
)
def test_value_that_two_readers_take_for_two_things_is_refused_by_name(tmp_path, old, new, key):
    path = params(tmp_path, old, new)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    sentence = str(caught.value)
    assert key.replace("True", "on") in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("weight_decay: 0.0", "weight_decay: 1.0e-05", 1e-05),
        ("weight_decay: 0.0", "weight_decay: .5", 0.5),
        ("seed: 0\n\nencode", "seed: 1_000\n\nencode", 1000),
        ("reverse: false", "reverse: True", True),
    ],
)
def test_value_reads_the_same_in_params_yaml_and_in_the_dvc_lock_that_dvc_writes(tmp_path, old, new, value):
    path = params(tmp_path, old, new)
    load_settings(path)
    read = dict(flatten(read_params(path)))
    assert read == dict(flatten(parse_yaml(path.read_text(), str(path))))
    stage = {"cmd": "x", "params": {"params.yaml": {"train_vqvae": read_params(path)["train_vqvae"]}}}
    lock = parse_lock(dumps_yaml({"schema": "2.0", "stages": {"train": stage}}), "dvc.lock")
    key = f"train_vqvae.{new.split(':')[0].strip()}"
    assert lock.entries["train"].params[key] == read[key] == value


@pytest.mark.parametrize(
    "value", ["on", "off", "yes", "12:30", "1e3", "010", "1e-05", "0o10", "~", "null", ""]
)
def test_text_that_looks_like_something_else_is_locked_and_read_as_that_text(value):
    stage = {"cmd": "x", "params": {"params.yaml": {"section": {"key": value}}}}
    lock = parse_lock(dumps_yaml({"schema": "2.0", "stages": {"stage": stage}}), "dvc.lock")
    assert lock.entries["stage"].params == {"section.key": value}


def test_key_that_stands_twice_is_refused_as_dvc_refuses_it(tmp_path):
    path = params(tmp_path, "  reverse: false", "  reverse: false\n  reverse: true")
    with pytest.raises(SettingsError, match=r"is not valid YAML: .*duplicate key \"reverse\""):
        load_settings(path)


def test_only_the_check_of_params_yaml_knows_another_reader():
    readers = {
        path.relative_to(ROOT).as_posix()
        for room in ("vqcast", "stages")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name == "yaml" for alias in node.names)
    }
    assert readers == {"vqcast/settings/params.py"}
