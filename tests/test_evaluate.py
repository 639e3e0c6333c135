"""The evaluate stage, on clips of test patterns and untrained networks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages import evaluate, report, sample
from tests.conftest import ROOT, files_below
from tests.evaluated import (
    CLIPS,
    CODES,
    EVALUATE,
    PRIORS,
    REPORT,
    run,
    write_params,
)
from tests.html import Page
from vqcast.clips.windows import Clips
from vqcast.errors import VqcastError
from vqcast.features.features import shrunk
from vqcast.media import ffmpeg
from vqcast.metrics.table import read_positions
from vqcast.sampling.store import Samples
from vqcast.settings.params import load_settings

OUTS = ("evaluate.json", "windows.parquet", "positions.parquet")


@pytest.fixture
def folder(evaluated, tmp_path, monkeypatch):
    """A copy of the evaluated folder, entered."""
    shutil.copytree(evaluated, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def figures(folder: Path) -> dict:
    return json.loads((folder / "evaluate.json").read_text())


def test_every_promised_figure_is_there_over_all_windows_and_over_those_that_move(evaluated):
    found = figures(evaluated)
    assert found["windows"] == 6
    for group in (found, found["moving"]):
        for system in ("reconstruction", "model", "repeat_last_frame"):
            measured = group[system].keys()
            assert {"psnr", "ssim", "st_lpips", "frechet_random_i3d", "mmd_random_i3d"} <= measured
            assert {"frechet_transnet", "mmd_transnet", "psnr_by_frame", "ssim_by_frame"} <= measured
            assert {f"motion_{name}" for name in ("amount", "distance", "overlap", "jerk")} <= measured
        assert {"psnr_best", "ssim_best", "st_lpips_best", "difference"} <= group["model"].keys()
        assert "frechet_random_i3d_vs_reconstructions" in group["model"]
        assert {"bits_per_code", "share_of_pixel_bits"} <= group["codes"].keys()
        for level in ("top", "bottom"):
            assert {"usage", "perplexity"} <= group["codes"][level].keys()
            assert {"nll_bits", "unigram_entropy_bits", "miscalibration"} <= group["priors"][level].keys()
            assert sum(group["priors"][level]["ranks"]) == pytest.approx(1, rel=1e-3)
    assert found["protocol"]["spaces"]["random_i3d"]["resolution"] == 32
    for space in ("random_i3d", "transnet"):
        assert len(found["protocol"]["spaces"][space]["weights_sha256"]) == 64


def test_best_mean_and_difference_of_the_samples_are_those_by_hand(evaluated):
    samples, clips = Samples(evaluated / "samples"), Clips(evaluated / "clips", evaluated / "clips.parquet")
    window = load_settings(evaluated / "params.yaml").window
    scores, differences = [], []
    for ref in clips.windows("val", window):
        true = clips.frames(ref, window.frames)[window.given :].astype(float)
        predicted = [samples.predicted(ref.id, number).astype(float) for number in range(2)]
        scores.append([10 * np.log10(255**2 / np.square(one - true).mean()) for one in predicted])
        differences.append(np.sqrt(np.square(predicted[0] - predicted[1]).mean()))
    model = figures(evaluated)["model"]
    assert model["psnr"] == pytest.approx(np.mean(scores), rel=1e-4)
    assert model["psnr_best"] == pytest.approx(np.max(scores, axis=1).mean(), rel=1e-4)
    assert model["difference"] == pytest.approx(np.mean(differences), rel=1e-4)


def test_no_figure_is_of_the_videos_on_which_settings_are_chosen(folder):
    write_params(folder, evaluate={"tuning_share": 0.4})
    run(evaluate, *EVALUATE, "--out", "evaluate.json")
    found = figures(folder)
    assert (found["windows"], found["videos"], found["tuning"]["videos"]) == (4, 2, 1)
    rows = pq.read_table(folder / "windows.parquet").to_pylist()
    for which, group in ((False, found), (True, found["tuning"])):
        scores = [np.mean(row["model_psnr"]) for row in rows if row["tuning"] is which]
        assert group["windows"] == len(scores)
        assert group["model"]["psnr"] == pytest.approx(np.mean(scores), rel=1e-4)
    assert len({row["window"].split("#")[0] for row in rows if row["tuning"]}) == 1
    assert {row["windows"] for row in found["table_2"]} == {4}


def test_the_repeated_last_frame_scores_what_its_clips_give_by_hand(evaluated):
    clips = Clips(evaluated / "clips", evaluated / "clips.parquet")
    window = load_settings(evaluated / "params.yaml").window
    scores = []
    for ref in clips.windows("val", window):
        frames = clips.frames(ref, window.frames).astype(float)
        error = np.square(frames[window.given :] - frames[window.given - 1]).mean()
        scores.append(10 * np.log10(255**2 / error))
    moving = [score for score in scores if score < 25]
    assert (len(moving), len(scores)) == (4, 6)
    found = figures(evaluated)
    assert found["repeat_last_frame"]["psnr"] == pytest.approx(np.mean(scores), rel=1e-4)
    assert found["moving"]["repeat_last_frame"]["psnr"] == pytest.approx(np.mean(moving), rel=1e-4)
    assert found["moving"]["windows"] == len(moving)


def test_bits_by_position_average_to_the_priors_nll(evaluated):
    bits = read_positions(evaluated / "positions.parquet")
    assert {level: of_level.shape for level, of_level in bits.items()} == {
        "top": (3, 4, 4),
        "bottom": (6, 8, 8),
    }
    for level, of_level in bits.items():
        stated = figures(evaluated)["priors"][level]["nll_bits"]
        assert of_level.mean() == pytest.approx(stated, rel=1e-3)
        assert of_level.std() > 0


def test_bits_a_code_are_those_that_lie_on_disk(evaluated):
    bits = 8 * sum(path.stat().st_size for path in (evaluated / "latents").glob("*.parquet"))
    codes_a_window = (1 + 4) * 4 * 4 + (2 + 8) * 8 * 8
    assert figures(evaluated)["codes"]["bits_per_code"] == pytest.approx(
        bits / (7 * codes_a_window), rel=1e-4
    )
    share = figures(evaluated)["codes"]["bits_per_code"] * (4 * 4 * 4 + 8 * 8 * 8) / (16 * 32 * 32 * 24)
    assert figures(evaluated)["codes"]["share_of_pixel_bits"] == pytest.approx(share, rel=1e-4)


def test_evaluating_again_after_being_stopped_gives_the_same_bytes(folder, monkeypatch):
    before = [(folder / name).read_bytes() for name in OUTS]

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vqcast.metrics.evaluation.write_table", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(evaluate, *EVALUATE, "--out", "evaluate.json")
    kept = sorted((folder / ".vqcast/scratch/evaluate").rglob("scores-*.npz"))
    assert len(kept) == 3
    times = [path.stat().st_mtime_ns for path in kept]
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "clear_scratch", lambda stage: None)
        run(evaluate, *EVALUATE, "--out", "evaluate.json")
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert [(folder / name).read_bytes() for name in OUTS] == before


def test_killed_at_any_instant_it_goes_on_to_the_same_figures(folder):
    before = (folder / "evaluate.json").read_bytes()
    (folder / "evaluate.json").unlink()
    scratch = folder / ".vqcast/scratch/evaluate"
    command = [sys.executable, "-m", "stages.evaluate", *EVALUATE, "--out", "evaluate.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    while not (kept := [path for path in files_below(scratch) if path.match("scores-*.npz")]):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (folder / "evaluate.json").exists()
    assert len(kept) < 3
    subprocess.run(command, cwd=folder, env=environment, check=True, stderr=subprocess.DEVNULL)
    assert (folder / "evaluate.json").read_bytes() == before


def rows_of(folder: Path) -> dict[tuple[str, int], dict]:
    rows = figures(folder)["table_2"]
    return {(row["system"], row["size"]): row for row in rows if row["metric"] == "frechet_random_i3d"}


def test_table_2_has_every_system_at_each_size_with_the_protocol_beside_it(evaluated):
    rows, found = rows_of(evaluated), figures(evaluated)
    assert rows.keys() == {
        (system, size)
        for system in ("model", "reconstruction", "repeat_last_frame", "true")
        for size in (16, 32)
    }
    for system in ("model", "reconstruction", "repeat_last_frame"):
        assert rows[system, 32]["true"]["all"] == found[system]["frechet_random_i3d"]
        assert rows[system, 16]["true"]["all"] not in (None, rows[system, 32]["true"]["all"])
    star = rows["model", 32]["reconstructions"]
    assert star["all"] == found["model"]["frechet_random_i3d_vs_reconstructions"]
    for row in rows.values():
        assert row["windows"] == 6 and row["samples_per_window"] == (2 if row["system"] == "model" else 1)
        assert row["true"]["mean"] > 0
        assert row["true"]["infinite_windows"] is None
    said = found["protocol"]["frechet"]
    assert said["frames"].startswith("12:") and said["folds"] == 2
    assert said["sizes"].startswith("32") and "16" in said["sizes"]
    assert said["metric"] == "frechet_random_i3d"
    assert all("bilinear" in space["resize"] for space in found["protocol"]["spaces"].values())


def true_windows(folder: Path) -> np.ndarray:
    """The validation windows, (N, T, H, W, 3), in the order of the table of windows."""
    clips, window = Clips(folder / "clips", folder / "clips.parquet"), load_settings().window
    refs = {ref.id: ref for ref in clips.windows("val", window)}
    names = pq.read_table(folder / "windows.parquet")["window"].to_pylist()
    return np.stack([clips.frames(refs[name], window.frames) for name in names])


def test_another_systems_videos_are_judged_alike_from_an_array_and_from_a_folder(folder):
    true = true_windows(folder)
    generator = np.random.default_rng(0)
    noisy = np.clip(true + generator.integers(-40, 41, true.shape), 0, 255).astype(np.uint8)
    (folder / "systems/folder").mkdir(parents=True)
    np.save(folder / "systems/oracle.npy", true[:, 4:])
    np.save(folder / "systems/noisy.npy", noisy[:5])
    np.save(folder / "systems/small.npy", shrunk(true, 16))
    for number, video in enumerate(noisy[:5]):
        path = folder / f"systems/folder/{number:02d}.mkv"
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", "32x32", "-i", "pipe:"]
        lossless = ["-c:v", "libx264rgb", "-qp", "0", str(path)]
        subprocess.run(
            [ffmpeg.executable(), *ffmpeg.QUIET, *raw, *lossless], input=video.tobytes(), check=True
        )
    systems = [
        {"name": name, "path": path, "about": "a test"}
        for name, path in (
            ("Oracle", "oracle.npy"),
            ("Noisy", "noisy.npy"),
            ("Noisy too", "folder"),
            ("Small", "small.npy"),
        )
    ]
    before = rows_of(folder)
    write_params(folder, evaluate={"systems": systems, "frames": "all"})
    run(evaluate, *EVALUATE, "--out", "evaluate.json")
    rows = rows_of(folder)
    assert rows["Oracle", 32]["true"]["all"] <= 1e-6 and max(rows["Oracle", 32]["true"]["folds"]) <= 1e-6
    assert rows["Noisy", 32]["true"]["all"] > 1e-3
    for size in (16, 32):
        assert rows["Noisy", size]["true"] == rows["Noisy too", size]["true"]
        assert rows["Noisy", size]["windows"] == 5
    assert rows["Small", 16]["true"]["all"] <= 1e-6
    assert ("Small", 32) not in rows
    assert rows["Oracle", 32]["about"] == "a test"
    assert before["model", 32]["true"]["all"] != rows["model", 32]["true"]["all"]  # 16 frames, not 12
    run(report, *REPORT, "--out", "index.html")
    text = Page((folder / "index.html").read_text()).text
    assert "Noisy too" in text and "not FVD" in text


@pytest.mark.parametrize(
    ("array", "path", "said"),
    [
        (np.zeros((3, 9, 32, 32, 3), np.uint8), "a.npy", "16 frames, or of the 12 predicted ones; it has 9"),
        (np.zeros((3, 16, 32, 30, 3), np.uint8), "a.npy", "must hold square videos"),
        (np.zeros((3, 16, 32, 32, 3), np.float32), "a.npy", "must be uint8 of 5 axes"),
        (np.zeros((3, 16, 32, 32, 3), np.uint8), "b.npy", "b.npy of 'GAN' does not exist"),
        (np.zeros((3, 16, 32, 32, 3), np.uint8), "../clips.parquet", "must lie in systems"),
    ],
)
def test_predictions_that_cannot_be_judged_are_refused_before_any_work(array, path, said, folder):
    (folder / "systems").mkdir()
    np.save(folder / "systems/a.npy", array)
    write_params(folder, evaluate={"systems": [{"name": "GAN", "path": path, "about": ""}]})
    with pytest.raises(VqcastError, match=said):
        run(evaluate, *EVALUATE, "--out", "evaluate.json")
    assert not (folder / ".vqcast/scratch/evaluate").exists()


def test_as_many_windows_are_predicted_and_judged_as_are_asked_for(folder):
    whole = pq.read_table("windows.parquet")["window"].to_pylist()
    write_params(folder, sample={"windows": 4, "samples_per_window": 1})
    run(sample, *CLIPS, *CODES, *PRIORS, "--out", "samples")
    run(evaluate, *EVALUATE, "--out", "evaluate.json")
    some = pq.read_table("windows.parquet")["window"].to_pylist()
    assert len(some) == figures(folder)["windows"] == rows_of(folder)["model", 32]["windows"] == 4
    assert [name for name in whole if name in some] == some
    assert np.load(folder / "features/random_i3d/32/model.npy").shape == (4, 1, 400)
    assert np.load(folder / "features/transnet/32/model.npy").shape == (4, 1, 448)
    run(report, *REPORT, "--out", "index.html")
    write_params(folder, sample={"windows": 7})
    with pytest.raises(VqcastError, match=r"sample\.windows is 7, and there are 6 validation windows"):
        run(sample, *CLIPS, *CODES, *PRIORS, "--out", "samples")


def test_samples_of_other_windows_are_refused_in_one_sentence(folder):
    params = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("stride: 16", "stride: 8"))
    with pytest.raises(VqcastError, match="not those of the clips' 9 validation windows"):
        run(evaluate, *EVALUATE, "--out", "evaluate.json")
