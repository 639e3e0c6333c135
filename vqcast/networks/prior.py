"""What both priors are: a tower over what conditions them, and a gated PixelCNN over the codes (Table 4)."""

from torch import nn

from vqcast.networks.grids import Grids
from vqcast.networks.pixelcnn import Kernels, PixelCNN
from vqcast.settings.networks import Prior


class PriorNetwork(nn.Module):
    """p(codes of a level | conditioning): `conditioning` gives a vector a position, `pixelcnn` the logits."""

    grids: Grids
    conditioning: nn.Module
    pixelcnn: PixelCNN

    @property
    def output(self) -> nn.Module:
        """The last layer, which some optimizers treat apart."""
        return self.pixelcnn.head[-1]


def pixelcnn_of(settings: Prior, codes: int, grid: tuple[int, int, int], kernels: Kernels) -> PixelCNN:
    """The PixelCNN that a prior's settings describe; grid: (T, H, W) of the codes modelled at once."""
    return PixelCNN(
        codes,
        grid,
        kernels,
        settings.condition_hidden,
        hidden=settings.hidden,
        residual=settings.residual,
        layers=settings.layers,
        attention_every=settings.attention_every,
        heads=settings.heads,
        dropout=settings.dropout,
    )
