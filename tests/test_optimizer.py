import dataclasses

import pytest
import torch

from tests.networks import top_prior, vqvae, window_codes
from tests.test_loop import SETTINGS
from vqcast.training.muon import Muon
from vqcast.training.optimizer import Optimizer

MUON = dataclasses.replace(SETTINGS, optimizer="muon")


def prior() -> torch.nn.Module:
    return top_prior().to(memory_format=torch.channels_last_3d).train()


def step(network: torch.nn.Module, optimizer: Optimizer, seed: int) -> None:
    codes = window_codes(2, seed)
    optimizer.gradient.zero_()
    network(codes["prefix_top"], codes["prefix_bottom"], codes["top"]).square().mean().backward()
    optimizer.step(0.01)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_weight_with_a_gradient_moves(name):
    network = prior()
    optimizer = Optimizer(network, dataclasses.replace(SETTINGS, optimizer=name, weight_decay=0.0))
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    step(network, optimizer, 0)
    for name, weight in network.named_parameters():
        moved = weight.grad.abs().max() > 0
        assert torch.equal(weight, before[name]) != moved, name


def test_muon_steps_along_an_orthogonal_matrix():
    network = vqvae().to(memory_format=torch.channels_last_3d)
    weight = network.encode_bottom[0].weight
    optimizer = Optimizer(network, MUON)
    weight.grad.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    optimizer.step(0.01)
    moved = (weight.detach() - before).flatten(1)
    # The iteration is in bfloat16 and stops when singular values lie between about 0.7 and 1.2.
    values = torch.linalg.svdvals(moved)
    assert values.max() / values.min() < 2
    assert moved.square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.3)


def test_the_next_step_after_save_and_load_is_bit_equal(tmp_path):
    network = prior()
    optimizer = Optimizer(network, MUON)
    step(network, optimizer, 0)
    torch.save((network.state_dict(), optimizer.state_dict()), tmp_path / "state.pt")
    loaded = prior()
    weights, state = torch.load(tmp_path / "state.pt", weights_only=True)
    loaded.load_state_dict(weights)
    resumed = Optimizer(loaded, MUON)
    resumed.load_state_dict(state)
    step(network, optimizer, 1)
    step(loaded, resumed, 1)
    for (name, weight), other in zip(network.named_parameters(), loaded.parameters(), strict=True):
        assert torch.equal(weight, other), name


def test_muon_takes_the_steps_of_torch_s_own():
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 10), (10, 6), (6, 10), (8, 8)]
    weights = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    ours = [weight.detach().clone() for weight in weights]
    options = dict(lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    theirs, muon = torch.optim.Muon(weights, **options), Muon(ours, 0.1, torch.device("cpu"))
    for _ in range(5):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        theirs.step()
        muon.step(torch.cat([weights[number].grad.flatten() for number in muon.order]), 0.02)
    # Both iterate in bfloat16, which has 8 bits: what they round differently is a part of a step of 0.02.
    for weight, other in zip(weights, ours, strict=True):
        torch.testing.assert_close(other, weight.detach(), rtol=0, atol=2e-3)
