"""Training the VQ-VAE on windows of pixels (equation 2)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vqcast.clips.pixels import to_pixels, to_unit_range
from vqcast.clips.windows import WindowDataset
from vqcast.networks.vqvae import VQVAE
from vqcast.settings.networks import Vqvae
from vqcast.training.loop import Task
from vqcast.training.ranks import own_share, sum_over_ranks
from vqcast.work.environment import device

VALIDATION_WINDOWS = 64  # spread evenly over the validation windows


class VqvaeTask(Task):
    """Mean squared error, and beta times the commitment losses of both levels."""

    uniforms = 1  # whether the bottom level is masked

    def __init__(
        self, settings: Vqvae, seed: int, windows: WindowDataset, validation: WindowDataset, readers: int
    ):
        super().__init__()
        torch.manual_seed(seed)
        self.network = VQVAE(settings)
        self.settings = settings
        self.windows, self.readers = windows, readers
        every = max(len(validation) // VALIDATION_WINDOWS, 1)
        self.validation = Subset(validation, range(0, len(validation), every))

    def loss(self, batch: Tensor, uniforms: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 2 of a batch of pixels (B, 3, T, H, W), uint8."""
        video = to_unit_range(batch)
        result = self.network(video, use_bottom=uniforms[:, 0] >= self.settings.bottom_mask_prob)
        error = F.mse_loss(result.video, video)
        commitment = result.top.commitment_loss + result.bottom.commitment_loss
        figures = {"mean_squared_error": error, "commitment_loss": commitment}
        return error + self.settings.commitment * commitment, figures

    def after_step(self, accepted: bool) -> None:
        for quantizer in (self.network.quantize_top, self.network.quantize_bottom):
            quantizer.learn() if accepted else quantizer.forget()

    def validate(self) -> dict[str, float]:
        """PSNR (dB, over all frames) of the reconstructions, and the share of each codebook in use."""
        share = Subset(self.validation, own_share(len(self.validation)))
        psnr, windows = torch.zeros((), device=device()), torch.zeros((), device=device())
        codebook = len(self.network.quantize_top.codebook)
        used = {level: torch.zeros(codebook, device=device()) for level in ("top", "bottom")}
        for batch in DataLoader(share, batch_size=16):
            video = to_unit_range(batch)
            codes = self.network.encode(video)
            decoded = to_pixels(self.network.decode(codes)).float()
            error = (decoded - batch.to(decoded.device)).square().mean((1, 2, 3, 4))
            psnr += (10 * torch.log10(255**2 / error.clamp(min=0.065))).sum()  # 60 dB at the most
            windows += len(batch)
            for level, values in codes._asdict().items():
                used[level][values.flatten()] = 1.0
        sum_over_ranks([psnr, windows, *used.values()])
        usage = {f"{level}_usage": (codes > 0).float().mean().item() for level, codes in used.items()}
        return {"psnr": (psnr / windows).item(), **usage}
