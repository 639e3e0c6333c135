"""What the training loop promises, mostly on a network of one weight."""

import dataclasses
import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from tests.rank_worker import TRAINING, task_of
from vqcast.errors import VqcastError
from vqcast.networks.pixelcnn import GatedLayer
from vqcast.settings.training import Training
from vqcast.training.loop import Batches, Task, learning_rate, train

SETTINGS = dataclasses.replace(
    Training(**TRAINING), steps=30, batch_size=2, learning_rate=0.1, warmup_steps=5, checkpoint_every=5
)


class Mean(Task):
    """Learns the mean of seven numbers; at `nan_steps`, its loss is not finite."""

    readers = 0
    uniforms = 0

    def __init__(self, nan_steps: range = range(0)):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1, bias=False)
        self.windows = [torch.full((1,), float(number)) for number in range(7)]
        self.nan_steps, self.step = nan_steps, 0

    def loss(self, batch, uniforms):
        loss = (self.network(torch.ones_like(batch)) - batch).square().mean()
        loss = loss * math.nan if self.step in self.nan_steps else loss
        self.step += 1
        return loss, {}

    def validate(self):
        return {"weight": self.network.weight.item()}


def test_every_window_is_seen_once_an_epoch_in_an_order_that_changes():
    settings = dataclasses.replace(SETTINGS, steps=4, batch_size=6)
    batches = list(Batches(12, settings, start=0))
    epochs = np.array(batches).reshape(2, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    assert list(Batches(12, settings, start=3)) == batches[3:]


def test_ranks_and_parts_share_a_step_and_see_what_one_process_sees():
    settings = dataclasses.replace(SETTINGS, steps=4, batch_size=12)
    whole = list(Batches(60, settings, start=0))
    settings = dataclasses.replace(settings, accumulate=3)
    ranks = [list(Batches(60, settings, start=0, rank=rank, ranks=2)) for rank in range(2)]
    for step, windows in enumerate(whole):
        assert [
            window for part in range(3) for rank in range(2) for window in ranks[rank][step * 3 + part]
        ] == windows


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(VqcastError, match=r"batch_size \(2\) cannot be shared by 3 processes"):
        Batches(12, SETTINGS, start=0, rank=0, ranks=3)


def test_learning_rate_warms_up_and_decays_to_nothing():
    rates = [learning_rate(SETTINGS, step) for step in range(SETTINGS.steps)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.01 * SETTINGS.learning_rate


def test_one_step_that_is_not_finite_is_refused_and_training_goes_on(tmp_path, capsys):
    task = Mean(nan_steps=range(3, 5))
    train(task, SETTINGS, tmp_path, "train")
    assert torch.isfinite(task.network.weight).all()
    assert "step 3 refused" in capsys.readouterr().out


def test_losses_that_stay_not_finite_stop_training_at_a_good_checkpoint(tmp_path):
    with pytest.raises(VqcastError, match="not finite 5 times in a row at step 16"):
        train(Mean(nan_steps=range(12, 99)), SETTINGS, tmp_path, "train")
    newest = max((tmp_path / "checkpoints").glob("*.pt"))
    state = torch.load(newest, weights_only=True)
    assert state["step"] < 16
    assert torch.isfinite(state["task"]["network.weight"]).all()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    quiet = Mean()
    train(quiet, SETTINGS, tmp_path / "quiet", "train")
    with pytest.raises(VqcastError):
        train(Mean(nan_steps=range(14, 99)), SETTINGS, tmp_path / "cut", "train")
    checkpoints = sorted((tmp_path / "cut/checkpoints").glob("*.pt"))
    assert len(checkpoints) == 2
    checkpoints[-1].write_bytes(checkpoints[-1].read_bytes()[:100])
    resumed = Mean()
    train(resumed, SETTINGS, tmp_path / "cut", "train")
    assert torch.equal(resumed.network.weight, quiet.network.weight)


def flat(network: nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(Mean(), SETTINGS, tmp_path / "one", "train")
    (tmp_path / "one").rename(tmp_path / "other")
    with pytest.raises(VqcastError, match="belongs to a run with other data, parameters or code"):
        train(Mean(), SETTINGS, tmp_path / "other", "train")


@pytest.mark.parametrize("network", ["top_prior", "bottom_prior"])
def test_a_batch_cut_into_parts_takes_the_same_steps(network, tmp_path):
    weights = []
    for accumulate in (1, 4):
        task, settings = task_of(network)
        settings = dataclasses.replace(settings, steps=5, accumulate=accumulate)
        train(task, settings, tmp_path / str(accumulate), network)
        weights.append(flat(task.network))
    # Sums in another order; Adam's first steps make much of small gradients.
    torch.testing.assert_close(*weights, rtol=0, atol=1e-3)
    assert (weights[0] - weights[1]).square().mean().sqrt() < 1e-5


@pytest.mark.parametrize("network", ["vqvae", "top_prior", "bottom_prior"])
def test_activations_computed_twice_change_no_byte(network, tmp_path):
    states = []
    for again in (False, True):
        task, settings = task_of(network)
        settings = dataclasses.replace(settings, steps=5, activation_checkpointing=again)
        train(task, settings, tmp_path / str(again), network)
        states.append(task.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_learn_the_same(tmp_path):
    weights = []
    for compiled in (False, True):
        task, settings = task_of("top_prior")
        settings = dataclasses.replace(settings, steps=3, compile=compiled)
        train(task, settings, tmp_path / str(compiled), "train")
        blocks = [module for module in task.network.modules() if isinstance(module, GatedLayer)]
        assert all(hasattr(block.forward, "_torchdynamo_orig_callable") == compiled for block in blocks)
        weights.append(flat(task.network))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)


def test_the_averaged_weights_are_near_the_last_ones_and_not_the_same(tmp_path):
    task, settings = task_of("top_prior")
    train(task, settings, tmp_path / "averaged", "train")
    averaged, last = flat(task.averaged.module), flat(task.network)
    assert 0 < (averaged - last).norm() < 0.1 * last.norm()


def test_a_prior_keeps_the_averaged_weights_that_validated_best(tmp_path, monkeypatch):
    task, settings = task_of("top_prior")
    seen = []
    validate = type(task).validate

    def remembering(task):
        figures = validate(task)
        seen.append((figures["nll_bits"], flat(task.averaged.module)))
        return figures

    monkeypatch.setattr(type(task), "validate", remembering)
    settings = dataclasses.replace(settings, steps=60, learning_rate=0.03, validate_every=5)
    train(task, settings, tmp_path / "kept", "train")
    best = min(range(len(seen)), key=lambda index: seen[index][0])
    assert best < len(seen) - 1, "codes are random, so that all it learns is overfitting"
    assert torch.equal(flat(task.trained), seen[best][1])
