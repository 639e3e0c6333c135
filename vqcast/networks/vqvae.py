"""The hierarchical 3D VQ-VAE of section 3.1 and Table 3.

Shapes: B batch, C channels, D code dimension; T, H, W of the video; (t, h, w) of a code grid.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcast.networks.convolution import Conv3d
from vqcast.networks.quantizer import Quantized, Quantizer
from vqcast.networks.replicated import ReplicatedConv3d, ReplicatedConvTranspose3d
from vqcast.settings.networks import Vqvae


class Codes(NamedTuple):
    """Codes of both levels, int64: top (B, T/4, H/8, W/8), bottom (B, T/2, H/4, W/4) in Table 3."""

    top: Tensor
    bottom: Tensor


class Reconstruction(NamedTuple):
    video: Tensor  # (B, 3, T, H, W) in [-1, 1]
    top: Quantized
    bottom: Quantized


class ResidualBlock(nn.Module):
    """Leaky ReLU, convolution to `residual` channels, leaky ReLU, pointwise one back, added to the input."""

    def __init__(
        self,
        hidden: int,
        residual: int,
        kernel: tuple[int, int, int] = (3, 3, 3),
        conv: type[Conv3d] = Conv3d,
    ):
        super().__init__()
        self.mix = conv(hidden, residual, kernel, padding=tuple(size // 2 for size in kernel))
        self.expand = Conv3d(residual, hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(F.leaky_relu(self.mix(F.leaky_relu(x))))


def residual_stack(hidden: int, residual: int, layers: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(hidden, residual, conv=ReplicatedConv3d) for _ in range(layers)))


def _padding(filters: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Padding with which a strided convolution divides, and a transposed one multiplies, sizes exactly."""
    return tuple((size - stride) // 2 for size, stride in zip(filters, strides, strict=True))


class VQVAE(nn.Module):
    """Two levels of codes for a video, and the video back from them.

    The bottom level is quantized with the upsampled top codes in view, as in VQ-VAE-2. Any T, H, W that
    the total strides divide will do: the given frames alone are encoded just so.
    """

    def __init__(
        self, settings: Vqvae, inputs: int = 3, outputs: int = 3, seen: int = 0, bit_price: float = 0.0
    ):
        """inputs, outputs: channels of what is encoded and decoded; seen: of what the decoder sees beside.

        bit_price: of the quantizers.
        """
        super().__init__()
        self.settings = s = settings
        self.first = first = dict(stride=s.first_stride, padding=_padding(s.first_filter, s.first_stride))
        second = dict(stride=s.second_stride, padding=_padding(s.second_filter, s.second_stride))
        stack = (s.hidden, s.residual, s.residual_layers)

        self.encode_bottom = nn.Sequential(
            ReplicatedConv3d(inputs, s.hidden, s.first_filter, **first),
            residual_stack(*stack),
        )
        self.encode_top = nn.Sequential(
            ReplicatedConv3d(s.hidden, s.hidden, s.second_filter, **second),
            residual_stack(*stack),
        )
        self.project_top = Conv3d(s.hidden, s.code_dim, 1)
        self.project_bottom = Conv3d(2 * s.hidden, s.code_dim, 1)
        self.quantize_top = Quantizer(s.codes, s.code_dim, s.decay, bit_price)
        self.quantize_bottom = Quantizer(s.codes, s.code_dim, s.decay, bit_price)
        self.upsample_top = nn.Sequential(
            ReplicatedConv3d(s.code_dim, s.hidden, 3, padding=1),
            residual_stack(*stack),
            ReplicatedConvTranspose3d(s.hidden, s.hidden, s.second_filter, **second),
        )
        self.decode_both = nn.Sequential(
            Conv3d(s.hidden + s.code_dim + seen, s.hidden, 1),
            residual_stack(*stack),
            ReplicatedConvTranspose3d(s.hidden, outputs, s.first_filter, **first),
        )

    def forward(self, video: Tensor, use_bottom: Tensor | None = None) -> Reconstruction:
        """Reconstruct `video` (B, 3, T, H, W) in [-1, 1] through both levels of codes.

        use_bottom: bool (B,), for each example whether the decoder sees its bottom level, which training
        masks at times (section 3.1); by default, it does.
        """
        top, bottom, upsampled = self._quantize(video)
        values = bottom.values
        if use_bottom is not None:
            values = values * use_bottom.view(-1, 1, 1, 1, 1)
        return Reconstruction(self._decode(upsampled, values), top, bottom)

    @property
    def output(self) -> nn.Module:
        """The last layer, which some optimizers treat apart."""
        return self.decode_both[-1]

    def encode(self, video: Tensor) -> Codes:
        """Codes of `video` (B, 3, T, H, W) in [-1, 1]."""
        top, bottom, _ = self._quantize(video)
        return Codes(top.codes, bottom.codes)

    def decode(self, codes: Codes, use_bottom: bool = True) -> Tensor:
        """Video (B, 3, T, H, W) in [-1, 1] of `codes`; of the top codes alone if not `use_bottom`."""
        upsampled = self.upsample_top(self.quantize_top.lookup(codes.top))
        values = self.quantize_bottom.lookup(codes.bottom)
        return self._decode(upsampled, values if use_bottom else torch.zeros_like(values)).clamp(-1, 1)

    def encode_given(self, given: Tensor) -> Codes:
        """Prefix codes of `given` (B, 3, G, H, W) in [-1, 1]: its codes, alone."""
        return self.encode(given)

    def encode_window(self, video: Tensor, given: int) -> Codes:
        """Codes of windows `video` (B, 3, T, H, W), of which `given` frames are given."""
        return self.encode(video)

    def decode_predicted(self, codes: Codes, given: Tensor, use_bottom: bool = True) -> Tensor:
        """Predicted frames (B, 3, P, H, W) in [-1, 1] of windows' `codes`, behind `given` (B, 3, G, H, W)."""
        return self.decode(codes, use_bottom)[:, :, given.shape[2] :]

    def _quantize(self, video: Tensor) -> tuple[Quantized, Quantized, Tensor]:
        features = self.encode_bottom(video.contiguous(memory_format=torch.channels_last_3d))
        top = self.quantize_top(self.project_top(self.encode_top(features)))
        upsampled = self.upsample_top(top.values)
        bottom = self.quantize_bottom(self.project_bottom(torch.cat([features, upsampled], 1)))
        return top, bottom, upsampled

    def _decode(self, upsampled: Tensor, bottom: Tensor) -> Tensor:
        return self.decode_both(torch.cat([upsampled, bottom], 1)).float()
