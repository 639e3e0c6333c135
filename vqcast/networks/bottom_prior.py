"""The bottom prior: a 2D gated PixelCNN a bottom slice, conditioned in 3D (Table 4 right, Table 6).

Shapes: B batch, S slices modelled at once, P past slices; (t, h, w) the top grid, (u, v, x) the bottom one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcast.networks.convolution import Conv3d, conv3d
from vqcast.networks.grids import Grids
from vqcast.networks.pixelcnn import Kernels
from vqcast.networks.prior import PriorNetwork, pixelcnn_of
from vqcast.networks.strided import StridedConv3d, StridedConvTranspose3d
from vqcast.networks.vqvae import ResidualBlock
from vqcast.settings.networks import BottomPrior

PAST_LAYERS = 4  # Table 6: four layers of size (4, 3, 3) and stride (2, 1, 1)


class BottomCondition(nn.Module):
    """Table 6: the upsampled top codes at slice n and the `past_slices` bottom slices before it.

    Past slices before the window's start are masked out: their features are zero.
    """

    def __init__(self, codes: int, grids: Grids, hidden: int, residual: int, layers: int, past_slices: int):
        super().__init__()
        self.past_slices = past_slices
        time, height, width = grids.ratio
        self.embed_top = nn.Embedding(codes, hidden)
        self.embed_bottom = nn.Embedding(codes, hidden)
        self.upsample_top = nn.Sequential(
            StridedConvTranspose3d(hidden, hidden, (time + 2, 3, 3), (time, 1, 1), padding=1),
            nn.ReLU(),
            StridedConvTranspose3d(hidden, hidden, (3, height + 2, width + 2), (1, height, width), padding=1),
            nn.ReLU(),
            Conv3d(hidden, hidden, 3, padding=1),
        )
        self.past = nn.ModuleList(PastConv3d(hidden, hidden) for _ in range(PAST_LAYERS))
        self.join = Conv3d(2 * hidden, hidden, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(hidden, residual, (1, 3, 3)) for _ in range(layers)))

    def forward(self, top: Tensor, bottom: Tensor, slices: Tensor) -> Tensor:
        """Conditioning (B * S, 1, v, x, hidden) of the bottom slices numbered `slices` (B, S).

        `top` (B, t, h, w) and `bottom` (B, u, v, x) are the window's codes, the prefix codes in front.
        Of `bottom`, slices before the one that is modelled are read, and no others.
        """
        return self.combine(self.upsample(top), bottom, slices)

    def upsample(self, top: Tensor) -> Tensor:
        """Top codes (B, t, h, w) to features (B, hidden, u, v, x); computed once a window."""
        return self.upsample_top(self.embed_top(top).movedim(-1, 1))

    def combine(self, upsampled: Tensor, bottom: Tensor, slices: Tensor) -> Tensor:
        batch = torch.arange(len(slices), device=slices.device)[:, None]
        now = upsampled.movedim(1, -1)[batch, slices]  # (B, S, v, x, hidden)

        back = torch.arange(-self.past_slices, 0, device=slices.device)
        wanted = slices[..., None] + back  # (B, S, P)
        past = self.embed_bottom(bottom[batch[..., None], wanted.clamp(min=0)])
        past = past * (wanted >= 0)[..., None, None, None]
        past = past.flatten(0, 1).movedim(-1, 1)  # (B * S, hidden, P, v, x)
        for layer in self.past:
            past = F.relu(layer(past))

        now = now.flatten(0, 1).movedim(-1, 1)[:, :, None]
        joined = self.join(F.relu(torch.cat([now.to(past.dtype), past[:, :, -1:]], 1)))
        return self.blocks(joined).movedim(1, -1)


class PastConv3d(nn.Module):
    """Convolution of size (4, 3, 3) and stride (2, 1, 1) whose output time is half the input's, rounded up.

    With one time step left, all but one of its four time taps would meet padding alone; they are left out.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = StridedConv3d(inputs, outputs, (4, 3, 3), (2, 1, 1), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        time = x.shape[2]
        total = max(((time + 1) // 2 - 1) * 2 + 4 - time, 0)  # TensorFlow's SAME
        before = total // 2
        if time == 1:
            weight = self.conv.weight[:, :, before : before + 1]
            return conv3d(x, weight, self.conv.bias, padding=(0, 1, 1))
        return self.conv(F.pad(x, (0, 0, 0, 0, before, total - before)))


class BottomPriorNetwork(PriorNetwork):
    """p(bottom slice n | top codes, earlier bottom slices)."""

    def __init__(self, settings: BottomPrior, codes: int, grids: Grids):
        super().__init__()
        s = settings
        self.grids = grids
        self.conditioning = BottomCondition(
            codes, grids, s.condition_hidden, s.condition_residual, s.condition_layers, s.past_slices
        )
        self.slice_embedding = nn.Embedding(grids.bottom[0], s.condition_hidden)
        self.pixelcnn = pixelcnn_of(s, codes, (1, *grids.bottom[1:]), Kernels.one_slice(s.kernel))

    def forward(self, top: Tensor, bottom: Tensor, slices: Tensor) -> Tensor:
        """Logits (B, S, v, x, K) of the bottom slices numbered `slices` (B, S).

        `top` (B, t, h, w) and `bottom` (B, u, v, x): the whole window's codes with the prefix codes in
        the place of the given frames' slices.
        """
        condition = self.condition(self.conditioning.upsample(top), bottom, slices)
        batch = torch.arange(len(slices), device=slices.device)[:, None]
        modelled = bottom[batch, slices].flatten(0, 1)[:, None]  # (B * S, 1, v, x)
        return self.pixelcnn(modelled, condition).unflatten(0, slices.shape)[:, :, 0]

    def condition(self, upsampled: Tensor, bottom: Tensor, slices: Tensor) -> Tensor:
        """Conditioning (B * S, 1, v, x, C), with the number of the slice told."""
        tower = self.conditioning.combine(upsampled, bottom, slices)
        return tower + self.slice_embedding(slices).flatten(0, 1)[:, None, None, None]
