"""What both priors are: a tower over what conditions them, and a gated PixelCNN over the codes (Table 4)."""

from torch import nn

from vqcast.networks.grids import Grids
from vqcast.networks.pixelcnn import Kernels, PixelCNN
from vqcast.settings.networks import Prior


class PriorNetwork(nn.Module):
    """p(codes of a level | conditioning): `conditioning` gives a vector a position, `pixelcnn` the logits.

    grid: (T, H, W) of the codes that are modelled at once.
    """

    def __init__(
        self,
        settings: Prior,
        codes: int,
        grids: Grids,
        conditioning: nn.Module,
        grid: tuple[int, int, int],
        kernels: Kernels,
    ):
        super().__init__()
        s = settings
        self.grids = grids
        self.conditioning = conditioning
        self.pixelcnn = PixelCNN(
            codes,
            grid,
            kernels,
            s.condition_hidden,
            hidden=s.hidden,
            residual=s.residual,
            layers=s.layers,
            attention_every=s.attention_every,
            heads=s.heads,
            dropout=s.dropout,
        )

    @property
    def output(self) -> nn.Module:
        """The last layer, which some optimizers treat apart."""
        return self.pixelcnn.head[-1]
