"""I3D's published weights are read from either kind of file, and nothing else passes for them."""

import hashlib
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.frechet import frechet_distance
from tests.i3d_files import array_of, pytorch_conversion, random_network, write_checkpoint
from tests.site import Reply, running
from vqcast.errors import VqcastError
from vqcast.features.crc32c import crc32c, masked
from vqcast.features.features import I3DFeatures, open_features
from vqcast.features.i3d import I3D
from vqcast.features.rgb_scratch import BYTES, TENSORS
from vqcast.features.weights import git_blob_sha1, published_i3d, read_weights
from vqcast.settings.checks import SettingsError
from vqcast.settings.evaluate import Evaluate


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint of random weights, its tensors' entries, and its PyTorch conversion."""
    folder = tmp_path_factory.mktemp("weights")
    entries = write_checkpoint(folder / "data", random_network())
    torch.save(pytorch_conversion(folder / "data").state_dict(), folder / "i3d.pt")
    return folder / "data", entries, folder / "i3d.pt"


def same(sizes, filters, strides) -> list[int]:
    """TensorFlow's SAME as F.pad takes it."""
    padding = []
    for size, length, stride in zip(sizes, filters, strides, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + length - size, 0)
        padding = [total // 2, total - total // 2, *padding]
    return padding


class Direct:
    """I3D written out, from the bytes of a checkpoint alone."""

    def __init__(self, path: Path):
        self.path = path

    def unit(self, x, scope, stride=1):
        weight = array_of(self.path, f"{scope}/conv_3d/w").permute(4, 3, 0, 1, 2)
        x = F.pad(x, same(x.shape[2:], weight.shape[2:], [stride] * 3))
        x = F.conv3d(x, weight, stride=stride)
        mean, variance, beta = (
            array_of(self.path, f"{scope}/batch_norm/{name}").view(1, -1, 1, 1, 1)
            for name in ("moving_mean", "moving_variance", "beta")
        )
        return F.relu((x - mean) / torch.sqrt(variance + 0.001) + beta)

    def pool(self, x, filters, strides):
        return F.max_pool3d(F.pad(x, same(x.shape[2:], filters, strides), value=-math.inf), filters, strides)

    def mixed(self, x, name):
        second = "Conv3d_0a_3x3" if name == "Mixed_5b" else "Conv3d_0b_3x3"
        return torch.cat(
            [
                self.unit(x, f"{name}/Branch_0/Conv3d_0a_1x1"),
                self.unit(self.unit(x, f"{name}/Branch_1/Conv3d_0a_1x1"), f"{name}/Branch_1/Conv3d_0b_3x3"),
                self.unit(self.unit(x, f"{name}/Branch_2/Conv3d_0a_1x1"), f"{name}/Branch_2/{second}"),
                self.unit(self.pool(x, (3, 3, 3), (1, 1, 1)), f"{name}/Branch_3/Conv3d_0b_1x1"),
            ],
            1,
        )

    def layers(self, x):
        yield (x := self.unit(x, "Conv3d_1a_7x7", stride=2))
        x = self.pool(x, (1, 3, 3), (1, 2, 2))
        x = self.unit(x, "Conv3d_2b_1x1")
        yield (x := self.unit(x, "Conv3d_2c_3x3"))
        x = self.pool(x, (1, 3, 3), (1, 2, 2))
        for name in ("Mixed_3b", "Mixed_3c"):
            yield (x := self.mixed(x, name))
        x = self.pool(x, (3, 3, 3), (2, 2, 2))
        for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
            yield (x := self.mixed(x, name))
        x = self.pool(x, (2, 2, 2), (2, 2, 2))
        for name in ("Mixed_5b", "Mixed_5c"):
            yield (x := self.mixed(x, name))
        x = F.avg_pool3d(x, (2, 7, 7), (1, 1, 1))
        weight = array_of(self.path, "Logits/Conv3d_0c_1x1/conv_3d/w").permute(4, 3, 0, 1, 2)
        x = F.conv3d(x, weight, array_of(self.path, "Logits/Conv3d_0c_1x1/conv_3d/b"))
        yield x.squeeze(4).squeeze(3).mean(2)


SEEN = (
    "Conv3d_1a_7x7",
    "Conv3d_2c_3x3",
    *(f"Mixed_{block}" for block in ["3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"]),
)


@torch.inference_mode()
def test_every_layer_and_the_logits_equal_a_direct_computation_from_the_files_bytes(written):
    path, entries, _ = written
    network, found = published_i3d(str(path), entries), []
    for name in SEEN:
        network.get_submodule(name).register_forward_hook(lambda _, __, output: found.append(output))
    video = torch.rand(1, 3, 17, 224, 224, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found.append(network(video))
    expected = list(Direct(path).layers(video))
    assert len(found) == len(expected) == 12
    for name, ours, theirs in zip((*SEEN, "logits"), found, expected, strict=True):
        assert ours.shape == theirs.shape, name
        assert theirs.std() > 1e-3, name
        torch.testing.assert_close(
            ours, theirs, rtol=2e-4, atol=2e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_pytorch_conversion_gives_the_same_tensors(written):
    path, entries, conversion = written
    ours, theirs = read_weights(path, entries), read_weights(conversion, entries)
    assert ours.keys() == theirs.keys() == I3D().state_dict().keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_published_table_is_of_the_networks_tensors_and_covers_the_file():
    shapes = {name: tuple(tensor.shape) for name, tensor in I3D().state_dict().items()}
    assert len(TENSORS) == 230
    end = 0
    for entry in TENSORS:
        assert entry.offset == end
        end += entry.size
        shape = entry.shape if len(entry.shape) == 1 else tuple(entry.shape[axis] for axis in (4, 3, 0, 1, 2))
        assert shapes[entry.name.replace("/", ".")] == shape
    assert end == BYTES


def test_a_tensor_with_a_flipped_bit_is_named(written, tmp_path):
    path, entries, _ = written
    entry = entries[123]
    data = bytearray(path.read_bytes())
    data[entry.offset + entry.size // 2] ^= 1
    (tmp_path / "data").write_bytes(data)
    with pytest.raises(VqcastError, match=rf"data is damaged: the CRC of the tensor {entry.name} is not the"):
        read_weights(tmp_path / "data", entries)


def test_a_file_that_is_cut_short_is_said_to_be(written, tmp_path):
    path, entries, _ = written
    (tmp_path / "data").write_bytes(path.read_bytes()[: entries[100].offset + 5])
    with pytest.raises(VqcastError, match=rf"data is cut short: .* before the tensor {entries[100].name}$"):
        read_weights(tmp_path / "data", entries)


@pytest.mark.parametrize("size", [0, 1000, BYTES, BYTES + 1])
def test_a_foreign_file_is_refused(size, written, tmp_path):
    (tmp_path / "data").write_bytes(np.random.default_rng(0).bytes(size))
    with pytest.raises(VqcastError, match="data is not the published checkpoint rgb_scratch"):
        read_weights(tmp_path / "data", written[1])


def test_other_weights_of_the_same_layout_are_refused_in_either_kind_of_file(written):
    path, _, conversion = written
    with pytest.raises(VqcastError, match="is not the published checkpoint rgb_scratch: 230 of its 230"):
        read_weights(path)
    with pytest.raises(VqcastError, match="does not hold the published weights rgb_scratch: Conv3d_1a_7x7"):
        read_weights(conversion)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VqcastError, match=r"evaluate.weights: .*/nowhere cannot be read \(No such file"):
        read_weights(tmp_path / "nowhere")


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_no_code_in_a_pytorch_file_is_run(tmp_path, monkeypatch, written):
    monkeypatch.chdir(tmp_path)
    torch.save({"Conv3d_1a_7x7.conv3d.weight": Hostile()}, "i3d.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Hostile(), protocol=2))
    for name in ("i3d.pt", "old.pt"):
        with pytest.raises(VqcastError, match=f"{name} is damaged, or holds more than weights"):
            read_weights(tmp_path / name, written[1])
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("Mixed_4c.b2a.bn.bias"), "has no tensor Mixed_4c.b2a.bn.bias"),
        (
            lambda state: state.update({"logits.conv3d.bias": torch.zeros(600)}),
            "logits.conv3d.bias has another",
        ),
        (lambda state: state["Mixed_4c.b0.bn.weight"].fill_(2), "scales batch norm"),
        (lambda state: state["Mixed_5c.b0.conv3d.weight"].add_(1e-3), "Mixed_5c.b0.conv3d.weight differs"),
    ],
)
def test_a_state_dict_of_another_network_is_refused(change, said, written, tmp_path):
    _, entries, conversion = written
    state = torch.load(conversion, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "i3d.pt")
    with pytest.raises(VqcastError, match=said):
        read_weights(tmp_path / "i3d.pt", entries)


def test_weights_come_from_a_url_once_and_only_with_the_content_that_its_hash_names(
    written, tmp_path, monkeypatch
):
    path, entries, _ = written
    monkeypatch.chdir(tmp_path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with running() as site:
        url = site.put("/data", Reply(path.read_bytes()))
        with pytest.raises(VqcastError, match=f"/data has another content: its sha256 hash is {sha256}"):
            published_i3d(f"{url}#sha256={'0' * 64}", entries)
        assert not list(Path(".vqcast/weights").iterdir())
        before = len(site.asked)
        for _ in range(2):
            published_i3d(f"{url}#sha256={sha256}", entries)
        assert len(site.asked) == before + 1
        published_i3d(f"{url}#git={git_blob_sha1(path)}", entries)
        with pytest.raises(VqcastError, match="/gone cannot be had: HTTP 404"):
            published_i3d(f"{site.address}/gone#sha256={'1' * 64}", entries)


def evaluate(**changes) -> Evaluate:
    """Settings as for FVD."""
    settings = dict(
        batch_size=2,
        weights=None,
        resolution=224,
        sizes=(64,),
        spaces=("i3d",),
        frames="all",
        tuning_share=0.0,
        folds=2,
    )
    return Evaluate(**settings | dict(precision="float32", moving_below_psnr=25.0, systems=()) | changes)


def test_the_metric_is_called_fvd_only_with_the_published_weights(written, tmp_path, monkeypatch):
    path, entries, _ = written
    assert open_features(evaluate(resolution=32))[0].frechet == "frechet_random_i3d"
    with pytest.raises(VqcastError, match="not the published checkpoint"):
        open_features(evaluate(weights=str(path)))
    monkeypatch.setattr(
        "vqcast.features.features.published_i3d", lambda weights: published_i3d(weights, entries)
    )
    assert open_features(evaluate(weights=str(path)))[0].frechet == "fvd"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "https://example.org/data"}, "with the file's hash"),
        ({"weights": "https://example.org/data#sha256=12"}, "with the file's hash"),
        ({"weights": "ftp://example.org/data#sha256=" + "0" * 64}, "with the file's hash"),
        ({"weights": "data", "resolution": 112}, "resolution must be 224"),
        ({"weights": "data", "precision": "bfloat16"}, "precision float32"),
    ],
)
def test_settings_by_which_it_would_be_no_fvd_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        evaluate(**changes)


def test_the_checksum_is_that_of_rfc_3720():
    assert crc32c(b"") == 0
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert masked(0) == 0xA282EAD8


@pytest.mark.parametrize("size", [1, 255, 257, 5000, 70001])
def test_the_checksum_of_any_length_is_that_of_one_bit_after_another(size):
    data, crc = np.random.default_rng(size).bytes(size), 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF


@pytest.mark.skipif(
    "VQCAST_I3D" not in os.environ, reason="VQCAST_I3D names no file of the published weights"
)
def test_the_genuine_weights_tell_black_from_white_as_every_implementation_does():
    features = I3DFeatures(published_i3d(os.environ["VQCAST_I3D"]), True, "genuine", 224, "float32")
    black, white = (np.full((8, 30, 64, 64, 3), value, np.uint8) for value in (0, 255))
    assert frechet_distance(features(black), features(white)) == pytest.approx(151.3, abs=1.5)
