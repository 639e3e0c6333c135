"""Latent shards and model folders: what is written is read again, and damage is named."""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.networks import BOTTOM, CODES, GRIDS, TOP, VQVAE_SETTINGS, top_prior, vqvae, window_codes
from vqcast.codes.latents import (
    LEVELS,
    LatentError,
    LatentManifest,
    Latents,
    footer_sha256,
    write_codebooks,
    write_shard,
)
from vqcast.codes.models import (
    ModelError,
    check_same_vqvae,
    load_bottom_prior,
    load_top_prior,
    load_vqvae,
    save_prior,
    save_vqvae,
)
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.work.files import sha256_file


def make_latents(folder, windows=6, seed=1):
    """Two training shards and a validation shard of random codes."""
    folder.mkdir(parents=True)
    codebook = torch.randn(CODES, 6, generator=torch.Generator().manual_seed(seed))
    files, clips, footers = {}, {}, {}
    files["codebooks.safetensors"] = sha256_file(write_codebooks(folder, codebook, codebook + 1))
    for name, first in (("train-00000", 0), ("train-00001", windows), ("val-00000", 2 * windows)):
        ids = [f"clip {number}@00000" for number in range(first, first + windows)]
        path = folder / f"{name}.parquet"
        write_shard(path, ids, codes_by_window(windows, seed + first), "a VQ-VAE", f"clips of {name}")
        files[path.name] = sha256_file(path)
        clips[path.name] = f"clips of {name}"
        footers[path.name] = footer_sha256(path)
    manifest = LatentManifest(CODES, 4, GRIDS, "a VQ-VAE", clips, files, footers)
    manifest.write(folder)
    return manifest


def codes_by_window(windows, seed):
    """Of each window, an array for every one of LEVELS."""
    codes = window_codes(windows, seed)
    return zip(*(codes[level].numpy() for level in LEVELS), strict=True)


def flip_a_byte(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)


def test_codes_come_back_as_they_were_written(tmp_path):
    make_latents(tmp_path / "latents")
    latents = Latents(tmp_path / "latents", "train")
    assert len(latents) == 12
    assert latents.window_id(7) == "clip 7@00000"
    assert list(latents.window_ids()) == [f"clip {number}@00000" for number in range(12)]
    expected = window_codes(6, 1 + 6)
    for level in LEVELS:
        assert np.array_equal(latents.codes(level, range(6, 12)), expected[level].numpy())
        assert torch.equal(latents[6][level], expected[level][0])


def many_latents(folder, windows):
    """A shard of `windows` windows, in row groups of 4; each of its codes is the window's number modulo K."""
    folder.mkdir(parents=True)
    shapes = [GRIDS.shape(level) for level in LEVELS]
    codes = ([np.full(shape, number % CODES) for shape in shapes] for number in range(windows))
    path = folder / "train-00000.parquet"
    write_shard(path, (f"{number}@00000" for number in range(windows)), codes, "a VQ-VAE", "clips")
    codebooks = write_codebooks(folder, torch.randn(CODES, 6), torch.randn(CODES, 6))
    files = {path.name: sha256_file(path), codebooks.name: sha256_file(codebooks)}
    footers = {path.name: footer_sha256(path)}
    LatentManifest(CODES, 4, GRIDS, "a VQ-VAE", {path.name: "clips"}, files, footers).write(folder)


def test_any_window_is_read_by_its_number_whatever_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("vqcast.codes.latents.CODES_A_GROUP", 4 * 450)
    monkeypatch.setattr("vqcast.codes.latents.CACHED_BYTES", 3 * 4 * 900)
    many_latents(tmp_path / "latents", 101)
    latents = Latents(tmp_path / "latents", "train")
    assert [len(numbers) for numbers, _ in latents.row_groups()] == [4] * 25 + [1]
    with ThreadPoolExecutor(4) as pool:
        for number in np.random.default_rng(0).permutation(101).tolist() * 2:
            pool.submit(latents.__getitem__, number)
        for number in np.random.default_rng(1).permutation(101).tolist():
            assert {int(codes.unique()) for codes in latents[number].values()} == {number % CODES}
            assert latents.window_id(number) == f"{number}@00000"
    for number in (-1, 101):
        with pytest.raises(IndexError):
            latents[number]


MEMORY_OF_READING = """
import resource, sys
import numpy as np
import vqcast.codes.latents
from vqcast.codes.latents import Latents
from vqcast.measures.codes import slice_counts
vqcast.codes.latents.CACHED_BYTES = 2**20
latents = Latents(sys.argv[1], "train")
for number in np.random.default_rng(0).integers(len(latents), size=300).tolist():
    latents[number]
slice_counts(latents)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_reading_takes_the_same_memory_however_many_windows_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("vqcast.codes.latents.CODES_A_GROUP", 2**16)
    peaks = []
    for windows in (5_000, 50_000):
        many_latents(tmp_path / f"{windows}", windows)
        command = [sys.executable, "-c", MEMORY_OF_READING, tmp_path / f"{windows}"]
        peaks.append(int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    assert peaks[1] <= 1.1 * peaks[0]


def test_flipped_codebooks_are_named(tmp_path):
    make_latents(tmp_path / "latents")
    flip_a_byte(tmp_path / "latents/codebooks.safetensors")
    with pytest.raises(LatentError, match=r"codebooks\.safetensors is damaged"):
        Latents(tmp_path / "latents", "train")


def test_nine_bit_codes_take_at_most_nine_point_two_bits_on_disk(tmp_path):
    folder = tmp_path / "latents"
    folder.mkdir()
    generator = np.random.default_rng(0)
    shapes = {"prefix_top": (1, 8, 8), "prefix_bottom": (2, 16, 16), "top": (4, 8, 8), "bottom": (8, 16, 16)}
    codes = {level: generator.integers(0, 512, (1000, *shape)) for level, shape in shapes.items()}
    path = folder / "val-00000.parquet"
    write_shard(
        path,
        [f"a label/a video of some name {n // 5}#000@{n:05d}" for n in range(1000)],
        zip(*codes.values(), strict=True),
        "0" * 64,
        "1" * 64,
    )
    stored = sum(values.size for values in codes.values())
    assert 9.0 < path.stat().st_size * 8 / stored <= 9.2


def test_a_shard_is_the_same_bytes_every_time(tmp_path):
    assert make_latents(tmp_path / "a") == make_latents(tmp_path / "b")


def test_a_flipped_byte_anywhere_in_a_shard_is_named_or_changes_no_code(tmp_path):
    make_latents(tmp_path / "latents")
    path = tmp_path / "latents/train-00001.parquet"
    whole = path.read_bytes()
    expected = [Latents(tmp_path / "latents", "train")[number] for number in range(12)]
    named = 0
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            latents = Latents(tmp_path / "latents", "train")
            read = [latents[number] for number in range(12)]
            ids = list(latents.window_ids())
        except LatentError as error:
            assert "train-00001.parquet" in str(error)
            named += 1
        else:
            assert ids == [f"clip {number}@00000" for number in range(12)]
            for codes, its_expected in zip(read, expected, strict=True):
                assert all(torch.equal(codes[level], its_expected[level]) for level in LEVELS)
    assert named > 0.9 * len(whole) / 11
    Latents(tmp_path / "latents", "val")  # what is good can still be read


def test_a_shard_of_another_vqvae_and_one_of_other_clips_are_refused_by_name(tmp_path):
    """Even if the manifest were edited to state their hashes."""
    ids = [f"clip {number}@00000" for number in range(6)]
    for name, origin, sentence in (
        (
            "vqvae",
            ("another", "clips of train-00001"),
            "holds codes of another VQ-VAE than manifest.json states",
        ),
        ("clips", ("a VQ-VAE", "others"), "holds the codes of other clips than manifest.json states"),
    ):
        folder = tmp_path / name
        manifest = make_latents(folder)
        path = folder / "train-00001.parquet"
        write_shard(path, ids, codes_by_window(6, 0), *origin)
        for files in (manifest.files, manifest.files | {path.name: sha256_file(path)}):
            dataclasses.replace(manifest, files=files).write(folder)
            with pytest.raises(LatentError, match=rf"train-00001\.parquet {sentence}"):
                Latents(folder, "train")
        Latents(folder, "val")


def test_a_missing_shard_and_a_missing_manifest_are_named(tmp_path):
    make_latents(tmp_path / "latents")
    (tmp_path / "latents/val-00000.parquet").unlink()
    with pytest.raises(LatentError, match=r"val-00000\.parquet is missing"):
        Latents(tmp_path / "latents", "val")
    (tmp_path / "latents/manifest.json").write_text("{")
    with pytest.raises(LatentError, match=r"manifest\.json is missing or damaged"):
        Latents(tmp_path / "latents", "val")


def save_three(folder):
    """A VQ-VAE and both priors on its codes; the manifest of those codes."""
    network = vqvae()
    save_vqvae(folder / "vqvae", network, 24)
    manifest = make_latents(folder / "latents")
    sha = json.loads((folder / "vqvae/config.json").read_text())["sha256"]
    manifest = LatentManifest(**{**vars(manifest), "vqvae": sha})
    save_prior(folder / "top_prior", top_prior(), "top_prior", TOP, manifest)
    bottom = BottomPriorNetwork(BOTTOM, CODES, GRIDS)
    save_prior(folder / "bottom_prior", bottom, "bottom_prior", BOTTOM, manifest)
    return manifest


def test_models_come_back_bit_equal_with_nothing_but_their_folder(tmp_path):
    manifest = save_three(tmp_path)
    loaded = load_top_prior(tmp_path / "top_prior")
    assert not loaded.training
    for name, value in top_prior().state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert load_vqvae(tmp_path / "vqvae").settings == VQVAE_SETTINGS
    load_bottom_prior(tmp_path / "bottom_prior")
    check_same_vqvae(manifest, *(tmp_path / name for name in ("vqvae", "top_prior", "bottom_prior")))


def test_a_flipped_byte_in_a_model_is_named(tmp_path):
    save_three(tmp_path)
    flip_a_byte(tmp_path / "vqvae/model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_vqvae(tmp_path / "vqvae")


def test_a_model_of_another_kind_is_refused(tmp_path):
    save_three(tmp_path)
    with pytest.raises(ModelError, match="holds a bottom_prior, not a top_prior"):
        load_top_prior(tmp_path / "bottom_prior")


def test_a_model_folder_from_other_params_is_refused(tmp_path):
    manifest = save_three(tmp_path)
    other = vqvae()
    with torch.no_grad():
        other.project_top.bias += 1
    save_vqvae(tmp_path / "other", other, 24)
    priors = (tmp_path / "top_prior", tmp_path / "bottom_prior")
    with pytest.raises(ModelError, match="other is not the VQ-VAE that the latent shards were encoded with"):
        check_same_vqvae(manifest, tmp_path / "other", *priors)
    with pytest.raises(ModelError, match="top_prior was trained on the codes of another VQ-VAE"):
        sha = json.loads((tmp_path / "other/config.json").read_text())["sha256"]
        check_same_vqvae(LatentManifest(**{**vars(manifest), "vqvae": sha}), tmp_path / "other", *priors)


def test_weights_that_do_not_fit_their_settings_are_refused(tmp_path):
    save_three(tmp_path)
    path = tmp_path / "vqvae/config.json"
    config = json.loads(path.read_text())
    config["settings"]["hidden"] = 20
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="does not fit the settings"):
        load_vqvae(tmp_path / "vqvae")
