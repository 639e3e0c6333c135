"""Continuing windows: top codes first, then the bottom slices one after another, then pixels.

Conditioning and pixels are computed window by window, so that on CPU a window's are the same bits in any
batch; `incremental.py` says how that holds for its codes.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.sampling.draw import draw, uniforms
from vqcast.sampling.incremental import Choose, Sampler
from vqcast.settings.params import Sample


def random_numbers(windows: list[tuple[str, int]], count: int, seed: int) -> Tensor:
    """Random numbers (B, count) of every (window, sample number)."""
    rows = [uniforms(seed, window, sample, count) for window, sample in windows]
    return torch.from_numpy(np.stack(rows))


@torch.inference_mode()
def sample_codes(
    top_prior: TopPriorNetwork,
    bottom_prior: BottomPriorNetwork,
    prefix: Codes,
    numbers: Tensor,
    settings: Sample,
    done: Callable[[int], object] = lambda codes: None,
) -> Codes:
    """Draw the codes of whole windows from the prefix codes of their given frames.

    prefix: top (B, 1, h, w), bottom (B, 2, v, x). numbers: one random number for each code drawn, in the
    order of generation, (B, top positions + bottom positions). The result starts with the prefix codes.
    `done` is told, row by row, how many codes of each window were drawn. In bfloat16 the conditioning is
    computed under autocast.
    On CPU, with one number of threads, a window's codes are the same in any batch and any order.
    """
    dtype = getattr(torch, settings.precision)
    grids = top_prior.grids
    top_count = int(np.prod(grids.predicted_top))
    slice_count = int(np.prod(grids.bottom[1:]))
    numbers = numbers.to(prefix.top.device)

    def choose_from(first: int) -> Choose:
        return lambda number, logits: draw(logits, numbers.index_select(1, first + number)[:, 0], settings)

    def conditioned(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        with torch.autocast(prefix.top.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return _window_by_window(function, *inputs)

    condition = conditioned(top_prior.conditioning, prefix.top, prefix.bottom)
    predicted = Sampler(top_prior.pixelcnn, dtype).generate(condition, choose_from(0), done)
    top = torch.cat([prefix.top, predicted], 1)

    sampler = Sampler(bottom_prior.pixelcnn, dtype)
    upsampled = conditioned(bottom_prior.conditioning.upsample, top)
    shape = (len(top), *grids.bottom)
    bottom = torch.zeros(shape, dtype=torch.int64, device=top.device)
    bottom[:, : grids.prefix_bottom] = prefix.bottom
    for index in range(grids.prefix_bottom, grids.bottom[0]):
        slices = torch.full((len(top), 1), index, device=top.device)
        condition = conditioned(bottom_prior.condition, upsampled, bottom, slices)
        first = top_count + (index - grids.prefix_bottom) * slice_count
        bottom[:, index] = sampler.generate(condition, choose_from(first), done)[:, 0]
    return Codes(top, bottom)


@torch.inference_mode()
def decode_predicted(vqvae: VQVAE, codes: Codes, given: Tensor, use_bottom: bool = True) -> Tensor:
    """The predicted frames of windows of `codes` behind `given` frames (B, 3, G, H, W): (B, 3, P, H, W).

    Both are in [-1, 1]. Of the top codes alone if not `use_bottom`.
    """
    return _window_by_window(
        lambda top, bottom, frames: vqvae.decode_predicted(Codes(top, bottom), frames, use_bottom),
        *codes,
        given,
    )


def numbers_a_window(prior: TopPriorNetwork) -> int:
    """How many codes of a window are drawn."""
    return int(np.prod(prior.grids.predicted_top) + np.prod(prior.grids.predicted_bottom))


def _window_by_window(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function(*inputs)`, called with one window at a time."""
    return torch.cat([function(*window) for window in zip(*(x.split(1) for x in inputs), strict=True)])
