"""Training stages as processes: killed, interrupted, resumed, refused."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, files_below

TINY = {
    "window": {"stride": 16},
    "download": {"sample": {"train_videos": 6, "val_videos": 3, "frames": 34, "seed": 0}},
    "clip": {"resolution": 32, "videos_per_shard": 4},
    "vqvae": {"hidden": 8, "residual": 8, "residual_layers": 1, "codes": 16, "code_dim": 8},
    "train_vqvae": {"steps": 60, "batch_size": 2, "validate_every": 10, "checkpoint_every": 1},
    "top_prior": {"hidden": 8, "residual": 8, "layers": 2, "attention_every": 2, "heads": 2},
    "train_top_prior": {"steps": 100, "batch_size": 2, "validate_every": 10, "checkpoint_every": 1},
    "bottom_prior": {"hidden": 8, "residual": 8, "layers": 2, "attention_every": 2, "heads": 2},
    "train_bottom_prior": {"steps": 10, "batch_size": 2, "validate_every": 5, "checkpoint_every": 1},
    "sample": {"windows_per_shard": 4, "batch_size": 2},
    "evaluate": {"resolution": 32},
}
CLIPS = ["--clips", "data/clips", "--manifest", "data/clips.parquet"]
LATENTS = ["--latents", "data/latents"]
MODELS = [
    "--vqvae",
    "models/vqvae",
    "--top-prior",
    "models/top_prior",
    "--bottom-prior",
    "models/bottom_prior",
]
COMMANDS = {
    "download": [
        *("--kinetics", "data/kinetics", "--exclude", "data/exclude.csv"),
        *("--store", "data/raw", "--out", "data/raw.parquet"),
    ],
    "clip": [
        *("--raw", "data/raw.parquet", "--store", "data/raw", "--exclude", "data/exclude.csv"),
        *("--out", "data/clips", "--manifest", "data/clips.parquet"),
    ],
    "train_vqvae": [*CLIPS, "--out", "models/vqvae", "--curves", "reports/curves/vqvae"],
    "encode": [*CLIPS, "--vqvae", "models/vqvae", "--out", "data/latents"],
    "train_top_prior": [*LATENTS, "--out", "models/top_prior", "--curves", "reports/curves/top_prior"],
    "train_bottom_prior": [
        *(*LATENTS, "--out", "models/bottom_prior", "--curves", "reports/curves/bottom_prior"),
    ],
    "sample": [*CLIPS, *LATENTS, *MODELS, "--out", "data/samples"],
}


def start(stage: str, folder: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}", *COMMANDS[stage]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(stage: str, folder: Path, **environment: str) -> None:
    process = start(stage, folder, **environment)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def refusal(stage: str, folder: Path) -> str:
    """The last line a failing stage says."""
    process = start(stage, folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in errors
    return errors.strip().splitlines()[-1]


def first_file(folder: Path, stage: str, process: subprocess.Popen) -> None:
    """Wait until a stage has put something into its scratch folder, or has ended."""
    while process.poll() is None and not files_below(folder / ".vqcast/scratch" / stage):
        time.sleep(0.02)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """A folder in which every stage up to `sample` has run at tiny sizes."""
    folder = tmp_path_factory.mktemp("pipeline")
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in TINY.items():
        document[section].update(changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    (folder / "data").mkdir()
    (folder / "data/exclude.csv").write_text("id,reason,date\n")
    for stage in COMMANDS:
        finish(stage, folder)
    return folder


@pytest.fixture
def copy(pipeline, tmp_path) -> Path:
    """A copy of that folder to do harm to."""
    subprocess.run(["cp", "-a", f"{pipeline}/.", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "out"),
    [("train_vqvae", "models/vqvae"), ("train_top_prior", "models/top_prior"), ("sample", "data/samples")],
)
def test_killed_stage_resumes_to_the_same_bytes(pipeline, copy, stage, out):
    subprocess.run(["rm", "-rf", str(copy / out)], check=True)
    instants = random.Random(stage)
    began = time.monotonic()
    process = start(stage, copy)
    first_file(copy, stage, process)
    startup = time.monotonic() - began
    for _ in range(10):
        time.sleep(instants.uniform(0.0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        process = start(stage, copy)
        time.sleep(instants.uniform(0.5, 1.1) * startup)
    process.communicate(timeout=300)
    finish(stage, copy)
    assert contents(copy / out) == contents(pipeline / out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_training_stage_saves_its_last_step_and_ends_with_the_same_bytes(
    pipeline, copy, number
):
    subprocess.run(["rm", "-rf", str(copy / "models/top_prior")], check=True)
    process = start("train_top_prior", copy)
    first_file(copy, "train_top_prior", process)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGTERM if number == signal.SIGTERM else 130)
    assert "Traceback" not in errors
    done = int(re.search(r"train_top_prior: interrupted; (\d+) of \d+ steps are saved", errors)[1])
    newest = max((copy / ".vqcast/scratch/train_top_prior").rglob("step-*.pt"))
    assert newest.name == f"step-{done:09d}.pt"
    finish("train_top_prior", copy)
    assert contents(copy / "models/top_prior") == contents(pipeline / "models/top_prior")


def second_rank(process: subprocess.Popen) -> int:
    """The process that a training stage started beside its own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (started := children.read_text().split()):
        time.sleep(0.02)
    return int(started[0])


def running_in(folder: Path) -> list[int]:
    """Processes whose working directory is `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve() == folder:
                found.append(int(process.name))
    return found


def test_a_stage_of_two_processes_goes_on_after_kills_to_the_same_bytes(copy):
    quiet = copy.with_name("quiet")
    subprocess.run(["cp", "-a", str(copy), str(quiet)], check=True)
    finish("train_vqvae", quiet, VQCAST_PROCESSES="2")
    instants = random.Random(2)
    process = start("train_vqvae", copy, VQCAST_PROCESSES="2")
    first_file(copy, "train_vqvae", process)
    for victim in ("all", "second", "first"):
        time.sleep(instants.uniform(0.0, 0.3))
        second = second_rank(process)
        if victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(second if victim == "second" else process.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        if victim == "second":
            assert process.returncode == 1
            assert errors.strip().splitlines()[-1] == (
                "train_vqvae: one of its processes was ended by SIGKILL (out of memory?); "
                "run it again to go on from the last checkpoint"
            )
        assert "Traceback" not in errors
        process = start("train_vqvae", copy, VQCAST_PROCESSES="2")
        time.sleep(2)
    process.communicate(timeout=300)
    finish("train_vqvae", copy, VQCAST_PROCESSES="2")
    assert not running_in(copy), "a rank outlived the one that started it"
    assert contents(copy / "models/vqvae") == contents(quiet / "models/vqvae")


def test_what_stops_every_process_is_said_once(copy):
    flip_a_byte(copy / "data/latents/train-00000.parquet")
    process = start("train_top_prior", copy, VQCAST_PROCESSES="2")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    said = [line for line in errors.splitlines() if line and "step/s" not in line]
    assert said == [
        "train_top_prior: data/latents/train-00000.parquet is damaged: "
        "its content is not what manifest.json states"
    ]


def test_a_finished_stage_leaves_no_scratch_but_links_to_the_shards_it_made(pipeline):
    left = [path for path in (pipeline / ".vqcast/scratch").rglob("*") if path.is_file()]
    made = [*(pipeline / "data/clips").iterdir(), *(pipeline / "data/latents").glob("*-*.parquet")]
    assert {path.stat().st_ino for path in left if path.suffix != ".json"} == {p.stat().st_ino for p in made}
    assert {path.parts[-4] for path in left} == {"clip", "encode"}


def test_learning_curves_hold_no_time_and_no_place(pipeline):
    tables = list((pipeline / "reports/curves").rglob("*.tsv"))
    assert tables
    for table in tables:
        header, *lines = table.read_text().splitlines()
        assert header.split("\t")[0] == "step"
        steps = [int(line.split("\t")[0]) for line in lines]
        assert steps == sorted(set(steps)) and steps


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_in_a_latent_shard_stops_the_prior_and_names_the_shard(copy):
    flip_a_byte(copy / "data/latents/train-00000.parquet")
    assert refusal("train_top_prior", copy) == (
        "train_top_prior: data/latents/train-00000.parquet is damaged: "
        "its content is not what manifest.json states"
    )


def test_a_flipped_byte_in_a_clip_shard_stops_encode_and_names_the_shard(copy):
    flip_a_byte(copy / "data/clips/train-00000.arrow")
    shutil.rmtree(copy / ".vqcast/scratch/encode")  # what was encoded before need not be read again
    said = refusal("encode", copy)
    assert said.startswith("encode: data/clips/train-00000.arrow is damaged")


def test_a_flipped_byte_in_a_model_stops_sample_and_names_the_file(copy):
    flip_a_byte(copy / "models/top_prior/model.safetensors")
    assert refusal("sample", copy).startswith("sample: models/top_prior/model.safetensors is damaged")


def test_a_model_folder_from_other_params_stops_sample(copy):
    path = copy / "params.yaml"
    document = yaml.safe_load(path.read_text())
    document["train_vqvae"]["seed"] = 1
    path.write_text(yaml.safe_dump(document))
    finish("train_vqvae", copy)
    said = refusal("sample", copy)
    assert said == "sample: models/vqvae is not the VQ-VAE that the latent shards were encoded with"


def test_a_wrong_parameter_stops_a_stage_before_any_work(copy):
    path = copy / "params.yaml"
    path.write_text(path.read_text().replace("bottom_mask_prob:", "bottom_mask_probability:"))
    before = contents(copy / "models")
    assert refusal("train_vqvae", copy) == (
        "train_vqvae: params.yaml: vqvae.bottom_mask_probability is not a parameter; "
        "did you mean vqvae.bottom_mask_prob?"
    )
    assert contents(copy / "models") == before
