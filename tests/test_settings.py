"""Every bad parameter is one sentence that names the key, before any work; every preset is a good file."""

import copy
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from vqcast.settings.checks import SettingsError
from vqcast.settings.params import load_settings

DEFAULT = yaml.safe_load((ROOT / "params.yaml").read_text())
MISSING = object()


def write(folder: Path, changes: dict[str, object]) -> Path:
    """params.yaml of the default with `changes`, from a dotted key to its value or MISSING."""
    document = copy.deepcopy(DEFAULT)
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = document
        for section in sections:
            place = place[section]
        if value is MISSING:
            del place[last]
        else:
            place[last] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def refusal(folder: Path, **changes: object) -> str:
    """What is said of the default with `changes`; `__` stands for a dot."""
    with pytest.raises(SettingsError) as caught:
        load_settings(write(folder, {key.replace("__", "."): value for key, value in changes.items()}))
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))], ids=str)
def test_default_and_every_preset_are_good(path):
    load_settings(path)


def test_settings_hold_what_the_file_says(tmp_path):
    settings = load_settings(write(tmp_path, {"clip.resolution": 128, "vqvae.first_stride": [2, 4, 4]}))
    assert settings.clip.resolution == 128
    assert settings.vqvae.first_stride == (2, 4, 4)


def test_whole_number_serves_where_any_number_does(tmp_path):
    assert load_settings(write(tmp_path, {"clip.seconds": 10})).clip.seconds == 10.0


def test_null_serves_where_a_key_may_be_without_a_value(tmp_path):
    assert load_settings(write(tmp_path, {"clip.fps": None})).clip.fps is None


def test_unknown_key_is_named_with_the_one_it_may_mean(tmp_path):
    said = refusal(tmp_path, clip__resoluton=64)
    assert said.endswith("params.yaml: clip.resoluton is not a parameter; did you mean clip.resolution?")


def test_unknown_key_like_no_other_is_named_alone(tmp_path):
    assert refusal(tmp_path, clip__zzz=1).endswith("clip.zzz is not a parameter")


def test_unknown_section_is_named(tmp_path):
    assert "vqvea is not a parameter; did you mean vqvae?" in refusal(tmp_path, vqvea={})


def test_unknown_key_deep_in_a_section_is_named_whole(tmp_path):
    said = refusal(tmp_path, download__directory__rot="videos")
    assert "download.directory.rot is not a parameter; did you mean download.directory.root?" in said


def test_missing_key_is_named(tmp_path):
    assert refusal(tmp_path, sample__seed=MISSING).endswith("sample.seed is missing")


def test_missing_section_is_named(tmp_path):
    assert refusal(tmp_path, evaluate=MISSING).endswith("evaluate is missing")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("clip.resolution", "64", "clip.resolution must be a whole number, not '64'"),
        ("evaluate.spaces", [], "evaluate: spaces must be some of i3d, transnet, not []"),
        ("evaluate.spaces", ["vgg"], "evaluate: spaces must be some of i3d, transnet, not ['vgg']"),
        ("evaluate.tuning_share", 1.0, "evaluate: tuning_share must lie in 0..1, below 1, not 1.0"),
        ("clip.resolution", 64.0, "clip.resolution must be a whole number, not 64.0"),
        ("clip.resolution", True, "clip.resolution must be a whole number, not True"),
        ("clip.resolution", None, "clip.resolution must be a whole number, not None"),
        ("clip.seconds", "ten", "clip.seconds must be a number, not 'ten'"),
        ("download.source", 3, "download.source must be a text, not 3"),
        ("vqvae.first_stride", 4, "vqvae.first_stride must be a list of 3 numbers, not 4"),
        ("vqvae.first_stride", [4, 4], "vqvae.first_stride must be a list of 3 numbers, not [4, 4]"),
        ("vqvae.first_stride", [2, 4, "4"], "vqvae.first_stride must be a whole number, not '4'"),
        ("window", 16, "window must be a mapping of parameters"),
        ("download.kinetics.splits", "val", "download.kinetics.splits must be a list, not 'val'"),
        ("download.kinetics.labels", ["a", 1], "download.kinetics.labels must be a text, not 1"),
    ],
)
def test_wrong_type_is_said_with_key_and_value(tmp_path, key, value, said):
    assert refusal(tmp_path, **{key: value}).endswith(said)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("download.source", "youtube"),
        ("download.max_failed_share", 1.5),
        ("download.sample.train_videos", 0),
        ("download.directory.val_share", -0.1),
        ("download.kinetics_urls.url_template", "https://www.youtube.com/watch?v="),
        ("download.kinetics_urls.url_template", "file:///videos/{id}.mp4"),
        ("download.kinetics_urls.rate_limit", 0),
        ("download.kinetics_urls.time_limit", -1),
        ("download.kinetics.splits", ["train", "dev"]),
        ("download.kinetics.max_per_label", 0),
        ("download.kinetics_archives.max_clip_bytes", 0),
        ("download.network.tries", 0),
        ("clip.resolution", -64),
        ("clip.fps", 0),
        ("clip.crf", 52),
        ("clip.seconds", float("nan")),
        ("window.stride", 0),
        ("vqvae.codes", 0),
        ("vqvae.decay", 1.1),
        ("vqvae.bottom_mask_prob", 2.0),
        ("train_vqvae.learning_rate", 0.0),
        ("train_vqvae.precision", "float16"),
        ("train_vqvae.warmup_steps", -1),
        ("top_prior.kernel", 4),
        ("top_prior.dropout", 1.0),
        ("bottom_prior.past_slices", 0),
        ("sample.temperature", 0.0),
        ("sample.top_k", 0),
        ("sample.top_p", 0.0),
        ("sample.precision", "float16"),
        ("evaluate.frames", "some"),
        ("report.windows", 0),
        ("report.predictions", 0),
    ],
)
def test_value_out_of_range_is_said_with_its_section_and_key(tmp_path, key, value):
    said = refusal(tmp_path, **{key: value})
    section, _, name = key.rpartition(".")
    assert section in said
    assert name in said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("clip.resolution", 68, "clip.resolution (68) must be a multiple of 8, the VQ-VAE's spatial stride"),
        ("window.frames", 18, "window.frames (18) must be a multiple of 4, the VQ-VAE's temporal stride"),
        ("window.given", 3, "window.given (3) must be a multiple of 4, the VQ-VAE's temporal stride"),
        ("window.given", 16, "window.given (16) must be less than window.frames (16)"),
        ("vqvae.first_filter", [3, 8, 8], "must exceed vqvae.first_stride [2, 4, 4] by an even number"),
        ("top_prior.heads", 5, "must be a multiple of heads (5)"),
        ("train_bottom_prior.slices_per_window", 7, "exceeds the 6 bottom slices that are predicted"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_said(tmp_path, key, value, said):
    assert said in refusal(tmp_path, **{key: value})


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("download.kinetics.annotations", "download: kinetics.annotations names no file"),
        ("download.kinetics_archives.lists", "download: kinetics_archives.lists names no list"),
    ],
)
def test_source_that_lacks_what_it_reads_is_said(tmp_path, key, said):
    assert said in refusal(tmp_path, **{"download.source": "kinetics-archives", key: []})


def test_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.yaml does not exist"):
        load_settings(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["clip: [", "a: b: c", "\tclip: 1"])
def test_file_that_is_not_yaml_is_named_in_one_line(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"params\.yaml is not valid YAML") as caught:
        load_settings(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- clip", "just text"])
def test_file_that_holds_no_parameters_is_said_so(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(SettingsError, match="must be a mapping of parameters"):
        load_settings(tmp_path / "params.yaml")
