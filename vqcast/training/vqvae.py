"""Training the VQ-VAE on windows of pixels: equation 2, or in sight of the given frames."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vqcast.clips.pixels import to_pixels, to_unit_range
from vqcast.clips.windows import WindowDataset
from vqcast.networks.sighted import vqvae_of
from vqcast.settings.data import Window
from vqcast.settings.networks import Expectation, Vqvae
from vqcast.settings.training import VqvaeTraining
from vqcast.training.loop import Task
from vqcast.training.ranks import own_share, sum_over_ranks
from vqcast.work.environment import device

VALIDATION_WINDOWS = 64  # spread evenly over the validation windows
LEAST_ERROR = 1e-5  # squared, of values in [-1, 1]: 56 dB, beyond which a frame need not come closer


class VqvaeTask(Task):
    """Mean squared error, and beta times the commitment losses of both levels.

    A VQ-VAE that sees the given frames has the logarithm of each predicted frame's error instead, which is
    its PSNR but for a factor: a still scene then counts as much as one that moves, and is copied exactly.
    """

    def __init__(
        self,
        settings: Vqvae,
        expectation: Expectation,
        window: Window,
        training: VqvaeTraining,
        windows: WindowDataset,
        validation: WindowDataset,
        readers: int,
    ):
        super().__init__()
        torch.manual_seed(training.seed)
        self.network = vqvae_of(settings, expectation, window.given, window.frames)
        self.settings, self.given = settings, window.given
        self.flip, self.reverse = training.flip, training.reverse
        self.uniforms = (
            1 + self.flip + self.reverse
        )  # whether the bottom level is masked; for each way to turn
        self.windows, self.readers = windows, readers
        every = max(len(validation) // VALIDATION_WINDOWS, 1)
        self.validation = Subset(validation, range(0, len(validation), every))

    def loss(self, batch: Tensor, uniforms: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of pixels (B, 3, T, H, W), uint8."""
        video = to_unit_range(batch)
        turns = uniforms[:, 1:] < 0.5
        if self.flip:
            video = torch.where(turns[:, 0].view(-1, 1, 1, 1, 1), video.flip(4), video)
        if self.reverse:
            video = torch.where(turns[:, -1].view(-1, 1, 1, 1, 1), video.flip(2), video)
        use_bottom = uniforms[:, 0] >= self.settings.bottom_mask_prob
        return (self._sighted if self.settings.sees_given else self._alone)(video, use_bottom)

    def _alone(self, video: Tensor, use_bottom: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 2."""
        result = self.network(video, use_bottom=use_bottom)
        error = F.mse_loss(result.video, video)
        commitment = result.top.commitment_loss + result.bottom.commitment_loss
        figures = {"mean_squared_error": error, "commitment_loss": commitment}
        return error + self.settings.commitment * commitment, figures

    def _sighted(self, video: Tensor, use_bottom: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        result = self.network(video, use_bottom=use_bottom)
        given, future = video[:, :, : self.given], video[:, :, self.given :]
        expected, predicted = result.expected, result.predicted
        of_given = F.mse_loss(result.given, given)
        commitment = sum(quantized.commitment_loss for quantized in result.quantized)
        figures = {
            "mean_squared_error": F.mse_loss(predicted, future),
            "expectation_error": F.mse_loss(expected, future),
            "commitment_loss": commitment,
        }
        logs = _log_error(expected, future) + _log_error(predicted, future)
        return logs + of_given + self.settings.commitment * commitment, figures

    def after_step(self, accepted: bool) -> None:
        for quantizer in (self.network.quantize_top, self.network.quantize_bottom):
            quantizer.learn() if accepted else quantizer.forget()

    def validate(self) -> dict[str, float]:
        """PSNR (dB) of what is decoded from true codes, and the share of each codebook in use.

        Over all frames; if the given ones are seen, over the predicted ones, and of what is expected too.
        """
        share = Subset(self.validation, own_share(len(self.validation)))
        sums = {"psnr": torch.zeros((), device=device())}
        if self.settings.sees_given:
            sums["expectation_psnr"] = torch.zeros((), device=device())
        windows = torch.zeros((), device=device())
        codebook = len(self.network.quantize_top.codebook)
        used = {level: torch.zeros(codebook, device=device()) for level in ("top", "bottom")}
        for batch in DataLoader(share, batch_size=16):
            video = to_unit_range(batch)
            codes = self.network.encode_window(video, self.given)
            if self.settings.sees_given:
                given = video[:, :, : self.given]
                sums["psnr"] += _psnr(self.network.decode_predicted(codes, given), batch)
                sums["expectation_psnr"] += _psnr(self.network.expectation(given), batch)
            else:
                sums["psnr"] += _psnr(self.network.decode(codes), batch)
            windows += len(batch)
            for level, values in codes._asdict().items():
                used[level][values.flatten()] = 1.0
        sum_over_ranks([*sums.values(), windows, *used.values()])
        usage = {f"{level}_usage": (codes > 0).float().mean().item() for level, codes in used.items()}
        return {name: (total / windows).item() for name, total in sums.items()} | usage


def _log_error(frames: Tensor, true: Tensor) -> Tensor:
    """Mean over all frames (B, 3, T, H, W) of the logarithm of a frame's squared error."""
    return ((frames - true).square().mean((1, 3, 4)) + LEAST_ERROR).log().mean()


def _psnr(video: Tensor, batch: Tensor) -> Tensor:
    """Summed PSNR (dB) of each `video` against the last frames of `batch` (B, 3, T, H, W), uint8."""
    true = batch[:, :, -video.shape[2] :].to(video.device)
    error = (to_pixels(video).float() - true).square().mean((1, 2, 3, 4))
    return (10 * torch.log10(255**2 / error.clamp(min=0.065))).sum()  # 60 dB at the most
