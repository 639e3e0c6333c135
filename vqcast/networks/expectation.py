"""What is to be expected of the predicted frames, made of the given ones at once, without codes.

Beyond the paper. A few frames show what stands still and what moves where, and codes need not say it again:
they are left to say how the future differs (`networks/sighted.py`). Every expected frame is the last given
one moved by dense flows, and new pixels, blended by a soft mask.

Shapes: B batch; G given, P predicted frames; S flows; H, W of the video.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELL = 4  # pixels along and up that become one position
DILATIONS = (1, 2, 4)  # of the blocks, in turn: what moves may come from far
REACH = 4.0  # pixels that a unit of the last layer's output moves a frame by
RARELY_NEW = -4.0  # the mask's first logit for new pixels, beside 0 for each flow


class Explained(NamedTuple):
    """Expected frames, and what they are made of."""

    video: Tensor  # (B, 3, P, H, W), not clamped
    flow: Tensor  # (B, 2, P, H, W), pixels to the right and down to where it lies in the last given frame
    new: Tensor  # (B, 1, P, H, W), share of new pixels


class DilatedBlock(nn.Module):
    """Leaky ReLU, dilated convolution, leaky ReLU, pointwise convolution, added to the input."""

    def __init__(self, hidden: int, dilation: int):
        super().__init__()
        self.mix = nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
        self.expand = nn.Conv2d(hidden, hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(F.leaky_relu(self.mix(F.leaky_relu(x))))


class ExpectationNetwork(nn.Module):
    """The predicted frames, of the given ones alone.

    Flows are velocities times the frames since the last given one, and what each frame adds to that.
    """

    def __init__(self, given: int, predicted: int, hidden: int, layers: int, flows: int, last_kernel: int):
        super().__init__()
        self.given, self.predicted, self.flows = given, predicted, flows
        cell = CELL**2
        self.stem = nn.Conv2d(3 * given * cell, hidden, 3, padding=1)
        self.blocks = nn.Sequential(
            *(DilatedBlock(hidden, DILATIONS[index % len(DILATIONS)]) for index in range(layers))
        )
        a_frame = 2 * flows + 3 + 1 + flows
        last = {"kernel_size": last_kernel, "padding": last_kernel // 2}
        self.frames = nn.Conv2d(hidden, predicted * a_frame * cell, **last)
        self.velocities = nn.Conv2d(hidden, 2 * flows * cell, **last)
        for head in (self.frames, self.velocities):
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(head.bias)

    def forward(self, given: Tensor) -> Tensor:
        """What is expected after `given` (B, 3, G, H, W) in [-1, 1]: (B, 3, P, H, W), not clamped."""
        return self.explained(given).video

    def explained(self, given: Tensor) -> Explained:
        """What is expected, and what of it is moved from where, and what is new."""
        cells = F.pixel_unshuffle(given.transpose(1, 2).flatten(1, 2), CELL)
        features = F.leaky_relu(self.blocks(F.leaky_relu(self.stem(cells))))
        frames = self.frames(features).unflatten(1, (self.predicted, -1)).flatten(0, 1)
        frames = F.pixel_shuffle(frames, CELL).float().unflatten(0, (-1, self.predicted))
        moved, new, mask = frames.split([2 * self.flows, 3, 1 + self.flows], 2)
        velocities = F.pixel_shuffle(self.velocities(features), CELL).float()[:, None]
        steps = torch.arange(1, self.predicted + 1, device=given.device).view(-1, 1, 1, 1)
        flows = (REACH * moved + velocities * steps).unflatten(2, (self.flows, 2))
        last = given[:, :, -1].float()
        sources = [new, *(_moved(last, flow) for flow in flows.unbind(2))]
        first = torch.tensor([RARELY_NEW, *[0.0] * self.flows], device=given.device)
        shares = (mask + first.view(-1, 1, 1)).softmax(2)
        video = sum(source * share for source, share in zip(sources, shares.split(1, 2), strict=True))
        mean_flow = (flows * shares[:, :, 1:, None]).sum(2)
        return Explained(*(part.transpose(1, 2) for part in (video, mean_flow, shares[:, :, :1])))


def _moved(last: Tensor, flow: Tensor) -> Tensor:
    """Every predicted frame (B, P, 3, H, W) as the last given one (B, 3, H, W) moved by `flow`."""
    frames = last[:, None].expand(-1, flow.shape[1], -1, -1, -1)
    return warped(frames.flatten(0, 1), flow.flatten(0, 1)).unflatten(0, flow.shape[:2])


def warped(images: Tensor, flow: Tensor) -> Tensor:
    """Images (N, C, H, W) whose pixel at a place is the one that lies `flow` (N, 2, H, W) pixels from there.

    Between pixels it is interpolated; beyond the edge it is the edge's.
    """
    height, width = flow.shape[2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    place = ((x + flow[:, 0]) * (2 / max(width - 1, 1)) - 1, (y + flow[:, 1]) * (2 / max(height - 1, 1)) - 1)
    with torch.autocast(images.device.type, enabled=False):
        return F.grid_sample(
            images.float(), torch.stack(place, -1), padding_mode="border", align_corners=True
        )
