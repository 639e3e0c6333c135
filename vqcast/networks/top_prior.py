"""The top prior: a 3D gated PixelCNN over the predicted top slices (Table 4 left, Table 5).

Shapes: B batch; (t, h, w) the top grid of a window, (u, v, x) the bottom one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcast.networks.convolution import Conv3d
from vqcast.networks.grids import Grids
from vqcast.networks.pixelcnn import Kernels
from vqcast.networks.prior import PriorNetwork, pixelcnn_of
from vqcast.networks.strided import StridedConv3d, StridedConvTranspose3d
from vqcast.networks.vqvae import ResidualBlock
from vqcast.settings.networks import TopPrior


class TopCondition(nn.Module):
    """Table 5: the prefix codes of both levels become one conditioning vector a top position.

    The top prefix slice is upsampled to the bottom grid and joined with the bottom prefix slices; a
    convolution brings them back to one slice of the top grid, which is tiled over the predicted slices.
    """

    def __init__(self, codes: int, grids: Grids, hidden: int, residual: int, layers: int):
        super().__init__()
        self.slices = grids.predicted_top[0]
        half = max(hidden // 2, 1)
        strides = grids.ratio
        up = dict(kernel_size=[s + 2 for s in strides], stride=strides, padding=1)
        self.embed_top = nn.Embedding(codes, half)
        self.embed_bottom = nn.Embedding(codes, half)
        self.upsample = StridedConvTranspose3d(half, half, **up)
        self.downsample = StridedConv3d(hidden if hidden > 1 else 2, half, **up)
        self.widen = Conv3d(half, hidden, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(hidden, residual) for _ in range(layers)))

    def forward(self, prefix_top: Tensor, prefix_bottom: Tensor) -> Tensor:
        """Codes (B, 1, h, w) and (B, 2, v, x) to (B, predicted slices, h, w, hidden)."""
        top = self.upsample(self.embed_top(prefix_top).movedim(-1, 1))
        bottom = self.embed_bottom(prefix_bottom).movedim(-1, 1)
        joined = F.relu(self.downsample(F.relu(torch.cat([top, bottom.to(top.dtype)], 1))))
        tiled = joined[:, :, -1:].expand(-1, -1, self.slices, -1, -1)
        return self.blocks(self.widen(tiled)).movedim(1, -1)


class TopPriorNetwork(PriorNetwork):
    """p(predicted top slices | prefix codes)."""

    def __init__(self, settings: TopPrior, codes: int, grids: Grids):
        super().__init__()
        s = settings
        self.grids = grids
        self.conditioning = TopCondition(
            codes, grids, s.condition_hidden, s.condition_residual, s.condition_layers
        )
        self.pixelcnn = pixelcnn_of(s, codes, grids.predicted_top, Kernels.over_time(s.kernel))

    def forward(self, prefix_top: Tensor, prefix_bottom: Tensor, top: Tensor) -> Tensor:
        """Logits (B, 3, h, w, K) of the predicted slices of `top` (B, 4, h, w), the whole window's codes."""
        condition = self.conditioning(prefix_top, prefix_bottom)
        return self.pixelcnn(top[:, self.grids.prefix_top :], condition)
