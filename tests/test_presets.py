"""presets/kinetics600.yaml against Tables 3 to 6 of the paper, on the meta device, and docs/paper.md."""

import importlib
import json
import re
import sys
from functools import reduce

import pytest
import torch
import yaml

from benchmarks import sizes
from tests.conftest import ROOT
from tests.networks import bottom_prior, window_codes
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import VQVAE
from vqcast.settings.params import load_settings


@pytest.fixture(scope="module")
def paper():
    return load_settings(ROOT / "presets/kinetics600.yaml")


@pytest.fixture(scope="module")
def grids(paper):
    return Grids.of(paper.window, paper.clip.resolution, paper.vqvae)


@pytest.fixture(scope="module")
def report(paper):
    return sizes.sizes(paper)


@pytest.fixture(scope="module")
def document():
    return (ROOT / "docs/paper.md").read_text()


def test_table_3_the_vqvae(paper, grids):
    with torch.device("meta"):
        network = VQVAE(paper.vqvae)
    assert (grids.top, grids.bottom) == ((4, 32, 32), (8, 64, 64))
    assert (paper.vqvae.commitment, paper.train_vqvae.batch_size) == (0.25, 16)
    assert network.encode_bottom[0].weight.shape == (128, 3, 4, 8, 8)
    assert network.encode_bottom[0].stride == (2, 4, 4)
    assert network.encode_top[0].weight.shape == (128, 128, 4, 4, 4)
    assert network.encode_top[0].stride == (2, 2, 2)
    assert network.decode_both[-1].weight.shape == (128, 3, 4, 8, 8)
    assert network.decode_both[-1].stride == (2, 4, 4)
    for stack in (network.encode_bottom[-1], network.encode_top[-1]):
        assert [block.mix.weight.shape[:2] for block in stack] == [(32, 128)] * 2
    assert network.quantize_top.codebook.shape == network.quantize_bottom.codebook.shape == (512, 64)
    assert paper.train_vqvae.steps == 1_000_000


def test_tables_4_and_5_the_top_prior(paper, grids):
    with torch.device("meta"):
        prior = TopPriorNetwork(paper.top_prior, paper.vqvae.codes, grids)
        condition = prior.conditioning(
            torch.zeros(1, grids.prefix_top, 32, 32, dtype=torch.int64),
            torch.zeros(1, grids.prefix_bottom, 64, 64, dtype=torch.int64),
        )
    network = prior.pixelcnn
    assert network.grid == (3, 32, 32)
    assert condition.shape == (1, 3, 32, 32, 512)
    assert prior.conditioning.downsample.out_channels == 256
    assert [block.mix.weight.shape[:2] for block in prior.conditioning.blocks] == [(128, 512)] * 4
    assert (len(network.layers), len(network.attention)) == (40, 8)
    assert all(layer.heads == 8 for layer in network.attention.values())
    assert network.embedding.weight.shape == (512, 512)
    assert network.layers[0].vertical_conv.weight.shape[:2] == (1024, 512)
    assert network.layers[0].dropout.p == 0.5
    assert (paper.train_top_prior.batch_size, paper.train_top_prior.steps) == (512, 1_016_000)


def test_tables_4_and_6_the_bottom_prior(paper, grids):
    with torch.device("meta"):
        prior = BottomPriorNetwork(paper.bottom_prior, paper.vqvae.codes, grids)
        upsampled = prior.conditioning.upsample(torch.zeros(1, 4, 32, 32, dtype=torch.int64))
    network = prior.pixelcnn
    assert network.grid == (1, 64, 64)
    assert upsampled.shape == (1, 1024, 8, 64, 64)
    upsampling = [layer for layer in prior.conditioning.upsample_top if hasattr(layer, "weight")]
    assert [layer.kernel_size for layer in upsampling] == [(4, 3, 3), (3, 4, 4), (3, 3, 3)]
    assert [layer.stride for layer in upsampling] == [(2, 1, 1), (1, 2, 2), (1, 1, 1)]
    past = [layer.conv for layer in prior.conditioning.past]
    assert [(layer.kernel_size, layer.stride) for layer in past] == [((4, 3, 3), (2, 1, 1))] * 4
    assert prior.conditioning.past_slices == 4
    assert len(prior.conditioning.blocks) == 20
    assert (len(network.layers), len(network.attention)) == (20, 4)
    assert network.layers[0].vertical_conv.weight.shape == (1024, 512, 1, 3, 5)
    assert (paper.train_bottom_prior.batch_size, paper.train_bottom_prior.slices_per_window) == (32, 1)
    assert paper.train_bottom_prior.steps == 950_000


def test_every_shape_that_tables_3_to_6_state_is_given(report):
    shapes, codes = report["shapes"], report["codes"]
    assert shapes["vqvae.decode_both"] == [16, 256, 256, 3]
    assert (codes["top"], codes["bottom"]) == ([4, 32, 32], [8, 64, 64])
    assert shapes["vqvae.project_top"] == [*codes["top"], 64]
    assert shapes["vqvae.project_bottom"] == [*codes["bottom"], 64]
    assert shapes["top_prior.pixelcnn.head"] == [3, 32, 32, 512]
    assert shapes["bottom_prior.pixelcnn.head"] == [1, 64, 64, 512]
    table_5 = [shapes[f"top_prior.conditioning.{step}"] for step in sizes.STEPS["top_prior.conditioning"]]
    assert table_5 == [[2, 64, 64, 256], [1, 32, 32, 256], [3, 32, 32, 512], [3, 32, 32, 512]]
    assert (codes["prefix_top"], codes["prefix_bottom"]) == ([1, 32, 32], [2, 64, 64])
    table_6 = [shapes[f"bottom_prior.conditioning.upsample_top.{layer}"] for layer in (0, 2, 4)]
    assert table_6 == [[8, 32, 32, 1024], [8, 64, 64, 1024], [8, 64, 64, 1024]]
    past = [shapes[f"bottom_prior.conditioning.past.{layer}"] for layer in range(4)]
    assert past == [[time, 64, 64, 1024] for time in (2, 1, 1, 1)]
    assert shapes["bottom_prior.conditioning.blocks"] == [1, 64, 64, 1024]
    assert codes["share_of_pixel_bits"] == pytest.approx(0.013, abs=5e-4)  # section 1: 1.3%


def test_parameters_counted_are_those_of_the_networks(paper, grids, report):
    with torch.device("meta"):
        vqvae = VQVAE(paper.vqvae)
        top = TopPriorNetwork(paper.top_prior, paper.vqvae.codes, grids)
        bottom = BottomPriorNetwork(paper.bottom_prior, paper.vqvae.codes, grids)
    for name, network in (("vqvae", vqvae), ("top_prior", top), ("bottom_prior", bottom)):
        whole = sum(parameter.numel() for parameter in network.parameters())
        assert report["parameters"][name] == whole
        parts = [f"{name}.{part}" for part, _ in network.named_children()]
        assert sum(report["parameters"].get(part, 0) for part in parts) == whole
    # Masked are of a layer's planes, 2 x 3 taps each, the one of this slice that lies ahead; of the first
    # convolution's 2 x 3 x 3 the row itself and the one below, of the row beside it two.
    layers = 40 * 2 * 512 * 1024
    first = (6 + 2) * 512 * 512
    assert report["parameters"]["top_prior.masked"] == layers + first


def test_sizes_prints_every_figure_and_ends_in_one_line_of_json(report, monkeypatch, capsys):
    params = str(ROOT / "presets/kinetics600.yaml")
    monkeypatch.setattr(sys, "argv", ["sizes", "--params", params])
    sizes.main()
    *table, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {"params": params, **report}
    for figures in report.values():
        for name, value in figures.items():
            assert any(line.split()[:1] == [name] and line.endswith(sizes.shown(value)) for line in table)


def test_sizes_says_in_one_sentence_that_a_parameters_file_is_missing(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sizes", "--params", "nowhere.yaml"])
    with pytest.raises(SystemExit, match=r"^sizes: nowhere\.yaml does not exist$"):
        sizes.main()


def test_the_document_lists_the_sizes_that_the_code_gives(document, report):
    for section in ("parameters", "codes"):
        [table] = re.findall(rf"^\| {section} \| \|\n\|---\|---:\|\n((?:\|.*\n)+)", document, re.MULTILINE)
        rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", table, re.MULTILINE)
        assert dict(rows) == {name: sizes.shown(value) for name, value in report[section].items()}
        assert len(rows) == table.count("\n")


def test_every_shape_in_the_document_is_the_one_that_the_module_gives(document, report):
    figures = report["shapes"] | {f"codes.{name}": value for name, value in report["codes"].items()}
    stated = re.findall(r"`([\w.]+)` (\d+(?: x \d+)+|0\.\d+)", document)
    stated = [(name, value) for name, value in stated if "." in name]
    assert len(stated) > 30
    assert [(name, sizes.shown(figures[name])) for name, _ in stated] == stated


def test_every_parameter_in_the_document_has_the_presets_value(document):
    preset = yaml.safe_load((ROOT / "presets/kinetics600.yaml").read_text())
    stated = re.findall(r"`([a-z_0-9]+(?:\.[a-z_0-9]+)+): ([^`]+)`", document)
    for key, value in stated:
        assert reduce(dict.__getitem__, key.split("."), preset) == yaml.safe_load(value), key
    of_the_networks = {
        f"{part}.{key}" for part in ("vqvae", "top_prior", "bottom_prior") for key in preset[part]
    }
    assert of_the_networks <= {key for key, _ in stated}


def test_every_file_and_name_in_the_document_exists(document):
    places = re.findall(r"`((?:vqcast|tests|presets)/[\w/]+\.\w+)`((?:,? `[A-Za-z_][\w.]*`)*)", document)
    assert len(places) > 40
    for path, names in places:
        assert (ROOT / path).is_file(), path
        for name in re.findall(r"`([\w.]+)`", names):
            module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
            reduce(getattr, name.split("."), module)
    source = "\n".join(path.read_text() for path in sorted(ROOT.glob("[vb]*/**/*.py")))
    for name in re.findall(r"`([a-zA-Z]\w*)`", document):
        assert re.search(rf"\b{name}\b", source), name


def test_of_the_past_layers_time_taps_those_that_the_document_counts_meet_padding_alone(document, paper):
    prior = bottom_prior()
    codes = window_codes(1)
    prior(codes["top"], codes["bottom"], torch.tensor([[5]])).square().sum().backward()
    met = [
        int((layer.conv.weight.grad.abs().amax((0, 1, 3, 4)) > 0).sum()) for layer in prior.conditioning.past
    ]
    assert met == [4, 2, 1, 1]
    idle = sum(4 - taps for taps in met) * 3 * 3 * paper.bottom_prior.condition_hidden**2
    assert f"{idle:,} weights" in document
