"""A VQ-VAE that codes the predicted frames in sight of the given ones, and of what these let expect.

Beyond the paper; `vqvae.sees_given`. The given frames are encoded alone, as in the paper, and stand in front
as prefix codes. The predicted ones are encoded beside what is expected of them and beside the last given
frame, and decoded from codes with the same two in view: a code says how the future differs. Nothing after the
given frames conditions a prediction but codes that are drawn.

Shapes: B batch; G given, P predicted frames; H, W of the video; (t, h, w) of a code grid.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqcast.networks.expectation import REACH, ExpectationNetwork, warped
from vqcast.networks.quantizer import Quantized
from vqcast.networks.replicated import ReplicatedConv3d
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.settings.networks import Expectation, Vqvae

RGB = 3
RARELY_NEW = -4.0  # what is added to the logit of the mask for new pixels


class Sight(NamedTuple):
    """What is in view beside the frames that are coded, each (B, 3, T, H, W)."""

    expected: Tensor
    last: Tensor  # the last given frame, repeated

    @classmethod
    def nothing(cls, frames: Tensor) -> "Sight":
        """What is in view beside given frames: nothing, which is grey."""
        grey = torch.zeros_like(frames)
        return cls(grey, grey)


class SightedReconstruction(NamedTuple):
    given: Tensor  # (B, 3, G, H, W) in [-1, 1], of the prefix codes alone
    expected: Tensor  # (B, 3, P, H, W), without codes
    predicted: Tensor  # (B, 3, P, H, W)
    quantized: tuple[Quantized, ...]  # top and bottom of the given frames, then of the predicted ones


class SightedVQVAE(VQVAE):
    """Codes of what the given frames do not show, and the predicted frames of these codes."""

    def __init__(self, settings: Vqvae, expectation: Expectation, given: int, predicted: int):
        """given, predicted: frames of a window."""
        price = expectation.bit_price
        super().__init__(settings, inputs=3 * RGB, outputs=RGB + 1 + 2, seen=settings.hidden, bit_price=price)
        s = settings
        self.expectation_settings = e = expectation
        self.expectation = ExpectationNetwork(given, predicted, e.hidden, e.layers, e.flows, e.last_kernel)
        self.see = ReplicatedConv3d(2 * RGB, s.hidden, s.first_filter, **self.first)
        nn.init.normal_(self.output.weight, std=1e-3)

    def forward(self, video: Tensor, use_bottom: Tensor | None = None) -> SightedReconstruction:
        """Reconstruct windows `video` (B, 3, G + P, H, W) in [-1, 1].

        use_bottom: bool (B,), for each example whether the decoder sees the bottom level of the predicted
        frames; by default, it does.
        """
        given, future = video[:, :, : self.expectation.given], video[:, :, self.expectation.given :]
        expected = self.expectation(given)
        # What is expected is learned for its own sake: codes must not move it to where they are easier.
        sight = Sight(expected.detach(), _repeated(given, future.shape[2]))
        nothing = Sight.nothing(given)
        # The predicted frames first: they are more, and the codebooks begin with vectors of what comes first.
        top, bottom, upsampled = self._quantize(self._beside(future, sight))
        prefix_top, prefix_bottom, prefix_upsampled = self._quantize(self._beside(given, nothing))
        values = bottom.values
        if use_bottom is not None:
            values = values * use_bottom.view(-1, 1, 1, 1, 1)
        return SightedReconstruction(
            self._blended(prefix_upsampled, prefix_bottom.values, nothing),
            expected,
            self._blended(upsampled, values, sight),
            (prefix_top, prefix_bottom, top, bottom),
        )

    def encode_given(self, given: Tensor) -> Codes:
        """Prefix codes of `given` (B, 3, G, H, W) in [-1, 1]."""
        return self.encode(self._beside(given, Sight.nothing(given)))

    def encode_window(self, video: Tensor, given: int) -> Codes:
        """Codes of windows `video` (B, 3, T, H, W): of the first `given` frames alone, then of the rest."""
        before, future = video[:, :, :given], video[:, :, given:]
        prefix = self.encode_given(before)
        rest = self.encode(self._beside(future, self._sight(before)))
        return Codes(*(torch.cat(levels, 1) for levels in zip(prefix, rest, strict=True)))

    def decode_predicted(self, codes: Codes, given: Tensor, use_bottom: bool = True) -> Tensor:
        """Predicted frames (B, 3, P, H, W) in [-1, 1] of windows' `codes`, behind `given` (B, 3, G, H, W)."""
        prefix_bottom = given.shape[2] // self.settings.first_stride[0]
        prefix_top = prefix_bottom // self.settings.second_stride[0]
        upsampled = self.upsample_top(self.quantize_top.lookup(codes.top[:, prefix_top:]))
        values = self.quantize_bottom.lookup(codes.bottom[:, prefix_bottom:])
        values = values if use_bottom else torch.zeros_like(values)
        return self._blended(upsampled, values, self._sight(given)).clamp(-1, 1)

    def _sight(self, given: Tensor) -> Sight:
        return Sight(self.expectation(given), _repeated(given, self.expectation.predicted))

    def _beside(self, frames: Tensor, sight: Sight) -> Tensor:
        """Frames (B, 9, T, H, W) as the encoder takes them: how they differ, themselves, the last one."""
        return torch.cat([frames - sight.expected, frames, sight.last], 1)

    def _blended(self, upsampled: Tensor, bottom: Tensor, sight: Sight) -> Tensor:
        """The expected frames, moved a little, and new pixels where the mask says so: (B, 3, T, H, W)."""
        seen = self.see(torch.cat(sight, 1).contiguous(memory_format=torch.channels_last_3d))
        decoded = self.decode_both(torch.cat([upsampled, bottom, seen.to(upsampled.dtype)], 1)).float()
        new, mask, flow = decoded.split([RGB, 1, 2], 1)
        flow, share = REACH * flow, torch.sigmoid(mask + RARELY_NEW)
        frames = sight.expected.transpose(1, 2).flatten(0, 1), flow.transpose(1, 2).flatten(0, 1)
        moved = warped(*frames).unflatten(0, (len(flow), -1)).transpose(1, 2)
        return torch.lerp(moved, new, share)


def vqvae_of(settings: Vqvae, expectation: Expectation, given: int, frames: int) -> VQVAE:
    """The VQ-VAE that the settings describe, for windows of `frames` frames of which `given` are given."""
    if settings.sees_given:
        return SightedVQVAE(settings, expectation, given, frames - given)
    return VQVAE(settings)


def _repeated(given: Tensor, frames: int) -> Tensor:
    return given[:, :, -1:].expand(-1, -1, frames, -1, -1)
