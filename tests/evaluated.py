"""A small collection on which everything up to evaluate has run, with untrained networks."""

import csv
import sys
from pathlib import Path

import pytest
import torch
import yaml

from stages import encode, evaluate, sample
from tests.conftest import ROOT
from tests.videos import Workspace, from_folder, make_brightening_video, make_video
from vqcast.codes.latents import Latents
from vqcast.codes.models import save_prior, save_vqvae
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.sighted import vqvae_of
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.settings.params import load_settings

HOSTILE = '<script>alert(1)<\u2044script> it\'s "quoted" (really)'
HOSTILE_PERSON = "<img src=x onerror=document.title='owned'>"
HOSTILE_LICENCE = "</style><b>All</b> rights reserved"
SMALL = {
    "window": {"stride": 16},
    "clip": {"resolution": 32},
    "vqvae": {
        "hidden": 8,
        "residual": 4,
        "residual_layers": 1,
        "codes": 16,
        "code_dim": 4,
        "sees_given": False,  # tests/test_sighted.py goes the same way where it is true
    },
    "top_prior": {"hidden": 8, "residual": 8, "layers": 1, "attention_every": 1, "heads": 2},
    "bottom_prior": {"hidden": 8, "residual": 8, "layers": 1, "attention_every": 1, "heads": 2},
    "sample": {"samples_per_window": 2},
    "evaluate": {
        "resolution": 32,
        "batch_size": 2,
        "sizes": [16],
        "moving_below_psnr": 25.0,
        "tuning_share": 0.0,
    },
    "report": {"windows": 1, "predictions": 3},
}
CLIPS = ["--clips", "clips", "--manifest", "clips.parquet"]
PRIORS = ["--top-prior", "models/top", "--bottom-prior", "models/bottom"]
CODES = ["--latents", "latents", "--vqvae", "models/vqvae"]
EVALUATE = [*CLIPS, *CODES, *PRIORS, "--samples", "samples", "--windows", "windows.parquet"]
EVALUATE += ["--systems", "systems", "--features", "features", "--positions", "positions.parquet"]
REPORT = [*CLIPS, *CODES, *PRIORS, "--samples", "samples", "--windows", "windows.parquet"]
REPORT += ["--positions", "positions.parquet", "--curves", "curves", "--evaluate", "evaluate.json"]
REPORT += ["--templates", str(ROOT / "vqcast/page/templates")]


def run(stage, *arguments: str) -> None:
    """Run a stage's main with these arguments, in the current folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [stage.__name__, *arguments])
        stage.main()


def write_params(folder: Path, **more: dict) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for changed in (SMALL, more):
        for section, changes in changed.items():
            params[section].update(changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def save_untrained_models(folder: Path) -> None:
    """Random networks, saved as the training stages save them, and the latents they go with."""
    settings = load_settings(folder / "params.yaml")
    torch.manual_seed(0)
    vqvae = vqvae_of(settings.vqvae, settings.expectation, settings.window.given, settings.window.frames)
    for quantizer in (vqvae.quantize_top, vqvae.quantize_bottom):
        quantizer.codebook.data.normal_(std=0.05)
    save_vqvae(folder / "models/vqvae", vqvae, settings.clip.resolution)
    run(encode, *CLIPS, "--vqvae", "models/vqvae", "--out", "latents")
    latents = Latents("latents", "train").manifest
    for name, build in (("top", TopPriorNetwork), ("bottom", BottomPriorNetwork)):
        kind = f"{name}_prior"
        prior = build(getattr(settings, kind), latents.codes, latents.grids)
        save_prior(folder / "models" / name, prior, kind, getattr(settings, kind), latents)


def write_curves(folder: Path) -> None:
    for network in ("vqvae", "top_prior", "bottom_prior"):
        for group in ("train", "validation"):
            path = folder / network / "plots/metrics" / group / "loss.tsv"
            path.parent.mkdir(parents=True)
            path.write_text("step\tloss\n10\t3.5\n20\t1.25\n")


def make_evaluated(folder: Path) -> Path:
    """Run everything up to evaluate in `folder`.

    Of its 6 validation windows, 4 move; they are of two videos, which may be shown. Labels, attributions, one
    address and the licence of the third video are hostile.
    """
    videos = folder / "videos"
    make_video(videos / HOSTILE / "pattern.mp4", frames=32)
    make_brightening_video(videos / HOSTILE / "one.mp4", frames=32)
    make_brightening_video(videos / HOSTILE / "two.mp4", frames=33)
    make_video(videos / "train" / "pattern.mp4", frames=16)
    rows = [
        ("video", "split", "licence", "attribution", "url"),
        (f"{HOSTILE}/pattern.mp4", "val", HOSTILE_LICENCE, "", "http://[/"),
        (f"{HOSTILE}/one.mp4", "val", "CC BY 4.0", HOSTILE_PERSON, "javascript:alert(1)"),
        (f"{HOSTILE}/two.mp4", "val", "cc-by-sa-3.0", "Ada", "https://example.org/video"),
        ("train/pattern.mp4", "train", "", "", ""),
    ]
    with open(videos / "videos.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    workspace = Workspace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        workspace.download(from_folder(videos))
        workspace.clip()
        write_params(folder)
        save_untrained_models(folder)
        write_curves(folder / "curves")
        run(sample, *CLIPS, *CODES, *PRIORS, "--out", "samples")
        run(evaluate, *EVALUATE, "--out", "evaluate.json")
    return folder
