"""Small networks for tests, with every weight random so that no path is silent."""

import dataclasses

import torch
from torch import nn

from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import VQVAE
from vqcast.settings.data import Window
from vqcast.settings.networks import BottomPrior, Expectation, TopPrior, Vqvae

CODES = 11
VQVAE_SETTINGS = Vqvae(
    hidden=12,
    residual=8,
    residual_layers=1,
    codes=CODES,
    code_dim=6,
    first_filter=(4, 8, 8),
    first_stride=(2, 4, 4),
    second_filter=(4, 4, 4),
    second_stride=(2, 2, 2),
    commitment=0.25,
    decay=0.9,
    bottom_mask_prob=0.3,
    sees_given=False,
)
SIGHTED_SETTINGS = dataclasses.replace(VQVAE_SETTINGS, sees_given=True)
EXPECTATION = Expectation(hidden=8, layers=3, flows=2, last_kernel=3, bit_price=0.1)
WINDOW = Window(frames=16, given=4, stride=16)
GRIDS = Grids.of(WINDOW, 24, VQVAE_SETTINGS)  # top 4 x 3 x 3, bottom 8 x 6 x 6
TOP = TopPrior(
    hidden=12,
    residual=16,
    layers=4,
    kernel=3,
    attention_every=2,
    heads=3,
    dropout=0.0,
    condition_hidden=8,
    condition_residual=6,
    condition_layers=1,
)
BOTTOM = BottomPrior(**{**dataclasses.asdict(TOP), "kernel": 5}, past_slices=4)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """`network` in eval mode with every parameter drawn at random, those that start at zero too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return network.eval()


def vqvae() -> VQVAE:
    torch.manual_seed(0)
    return VQVAE(VQVAE_SETTINGS)


def top_prior() -> TopPriorNetwork:
    return randomised(TopPriorNetwork(TOP, CODES, GRIDS))


def bottom_prior() -> BottomPriorNetwork:
    return randomised(BottomPriorNetwork(BOTTOM, CODES, GRIDS))


def window_codes(windows: int, seed: int = 1) -> dict[str, torch.Tensor]:
    """Random codes of `windows` windows, as a latent shard holds them."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "prefix_top": (GRIDS.prefix_top, *GRIDS.top[1:]),
        "prefix_bottom": (GRIDS.prefix_bottom, *GRIDS.bottom[1:]),
        "top": GRIDS.top,
        "bottom": GRIDS.bottom,
    }
    return {
        level: torch.randint(CODES, (windows, *shape), generator=generator) for level, shape in shapes.items()
    }
