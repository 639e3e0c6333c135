"""Several processes under torchrun against one: the same steps, and the same bits on every rank."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import ROOT

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def train(
    launcher: list[str],
    folder: Path,
    network: str,
    optimizer: str = "adamw",
    *deadly_step: str,
    processes: int = 1,
) -> None:
    folder.mkdir()
    finished = subprocess.run(
        [*launcher, "-m", "tests.rank_worker", network, str(folder), optimizer, *deadly_step],
        cwd=ROOT,
        env={
            **os.environ,
            "TORCH_GLOO_LAZY_INIT": "1",
            "VQCAST_THREADS": "1",
            "VQCAST_DEVICE": "cpu",
            "VQCAST_PROCESSES": str(processes),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr


def losses(folder: Path) -> torch.Tensor:
    table = pd.read_csv(folder / "run/curves/plots/metrics/train/loss.tsv", sep="\t")
    assert list(table["step"]) == list(range(1, 21))
    return torch.tensor(table["loss"].to_numpy())


def state(folder: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"rank-{rank}.pt", weights_only=True)


@pytest.mark.parametrize("network", ["vqvae", "top_prior", "bottom_prior"])
def test_two_ranks_take_the_steps_of_one_process_and_end_alike_to_the_bit(network, tmp_path):
    train([sys.executable], tmp_path / "one", network)
    train(TORCHRUN, tmp_path / "two", network)
    # Sums over ranks round differently; the losses themselves are 0.1 to 4.
    torch.testing.assert_close(losses(tmp_path / "one"), losses(tmp_path / "two"), rtol=0, atol=1e-5)
    first, second = (state(tmp_path / "two", rank) for rank in range(2))
    # The first rank alone validates, so it alone knows which weights to keep.
    shared = [name for name in first if not name.startswith(("trained.", "lowest_nll_bits"))]
    assert any(name.startswith("network.") for name in shared)
    assert all(torch.equal(first[name], second[name]) for name in shared)


def test_ranks_that_share_muon_s_work_learn_as_one_process_does_and_end_alike_to_the_bit(tmp_path):
    train([sys.executable], tmp_path / "one", "top_prior", "muon")
    train(TORCHRUN, tmp_path / "two", "top_prior", "muon")
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    # Muon iterates in bfloat16, which makes much of sums that round differently; the loss falls from 3.5.
    torch.testing.assert_close(one, two, rtol=0, atol=0.05)
    assert two[-1] < two[0]
    first, second = (state(tmp_path / "two", rank) for rank in range(2))
    shared = [name for name in first if name.startswith("network.")]
    assert all(torch.equal(first[name], second[name]) for name in shared)


@pytest.mark.parametrize(("network", "optimizer"), [("vqvae", "adamw"), ("bottom_prior", "muon")])
def test_ranks_that_share_memory_end_with_the_bytes_of_ranks_that_do_not(network, optimizer, tmp_path):
    train([sys.executable], tmp_path / "memory", network, optimizer, processes=2)
    train(TORCHRUN, tmp_path / "sockets", network, optimizer)
    for rank in range(2):
        memory, sockets = state(tmp_path / "memory", rank), state(tmp_path / "sockets", rank)
        assert all(torch.equal(value, sockets[name]) for name, value in memory.items())


def test_training_goes_on_after_a_rank_was_killed_and_ends_with_the_bytes_of_a_quiet_run(tmp_path):
    train(TORCHRUN, tmp_path / "quiet", "vqvae")
    train([*TORCHRUN, "--max-restarts", "2"], tmp_path / "killed", "vqvae", "adamw", "11")
    assert (tmp_path / "killed/died").exists()
    quiet, killed = state(tmp_path / "quiet"), state(tmp_path / "killed")
    assert all(torch.equal(value, killed[name]) for name, value in quiet.items())
    assert torch.equal(losses(tmp_path / "quiet"), losses(tmp_path / "killed"))


FAILING = """
import pathlib, sys, tempfile, time
if "--fails" in sys.argv:
    sys.exit("training: sixty is no number")
if "--is-interrupted" in sys.argv:
    sys.exit(130)
from vqcast.training.ranks import _end_when, _failure, _Other
sys.orig_argv[-1] = sys.argv[-1].replace("now-", "--")
others = [_Other(1, {}, pathlib.Path(tempfile.mkdtemp()))]
_end_when(lambda: _failure(others))
others[0].process.wait()
time.sleep(3)  # as a rank that waits for the others in a call of NCCL, or saves a checkpoint
"""


@pytest.mark.parametrize(
    ("how", "code", "said"), [("fails", 1, "training: sixty is no number\n"), ("is-interrupted", 0, "")]
)
def test_a_rank_that_waits_ends_with_what_made_another_one_fail(tmp_path, how, code, said):
    script = tmp_path / "training.py"
    script.write_text(FAILING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, str(script), f"now-{how}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (finished.returncode, finished.stderr) == (code, said)
