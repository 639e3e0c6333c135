"""Training the priors on latent shards alone: negative log-likelihood of the predicted codes, in bits."""

import copy
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Dataset, Subset

from vqcast.codes.latents import Latents
from vqcast.codes.likelihood import (
    Batch,
    bottom_nll_bits,
    predicted_slices,
    to_device,
    top_nll_bits,
    validation_nll_bits,
)
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.settings.networks import BottomPrior, TopPrior
from vqcast.settings.training import BottomTraining, PriorTraining
from vqcast.training.loop import Task
from vqcast.training.ranks import own_share, sum_over_ranks
from vqcast.work.environment import device, reading_threads

VALIDATION_WINDOWS = 64  # spread evenly over the validation windows; `evaluate` uses all


@torch.no_grad()
def start_from_codebooks(prior: TopPriorNetwork | BottomPriorNetwork, codebooks: dict[str, Tensor]) -> None:
    """Let alike codes start out alike: embeddings and logits begin as random projections of code vectors."""
    level = "top" if isinstance(prior, TopPriorNetwork) else "bottom"
    for weight, codebook, gain in (
        (prior.conditioning.embed_top.weight, codebooks["top"], 1.0),
        (prior.conditioning.embed_bottom.weight, codebooks["bottom"], 1.0),
        (prior.pixelcnn.embedding.weight, codebooks[level], 1.0),
        (prior.pixelcnn.head[-1].weight, codebooks[level], 0.1),
    ):
        spread = (codebook - codebook.mean(0)) / codebook.std().clamp(min=1e-6)
        projection = torch.randn(spread.shape[1], weight.shape[1]) / math.sqrt(spread.shape[1])
        weight.copy_(gain * spread @ projection)


class PriorTask(Task):
    """A network, the exponential average of its weights, and what is kept: the average that validated best.

    Priors overfit before they have seen a small collection often enough; the last weights are then not
    the best ones.
    """

    def __init__(self, network: nn.Module, training: PriorTraining, latents: Latents, validation: Dataset):
        super().__init__()
        start_from_codebooks(network, latents.codebooks)
        self.network = network
        self.averaged = AveragedModel(network, multi_avg_fn=partial(_average, training.average_decay))
        self.trained = copy.deepcopy(network)
        self.register_buffer("lowest_nll_bits", torch.tensor(math.inf))
        self.windows, self.readers = latents, reading_threads()
        every = max(len(validation) // VALIDATION_WINDOWS, 1)
        self.validation = Subset(validation, range(0, len(validation), every))

    def after_step(self, accepted: bool) -> None:
        if accepted:
            self.averaged.update_parameters(self.network)

    def validate(self) -> dict[str, float]:
        """Bits a predicted code; the averaged weights are kept where these are the fewest so far."""
        averaged = self.averaged.module
        share = Subset(self.validation, own_share(len(self.validation)))
        total = torch.tensor(validation_nll_bits(averaged, share, 16).sum(), device=device())
        sum_over_ranks([total])
        bits = float(total) / len(self.validation)
        if bits < self.lowest_nll_bits:
            self.lowest_nll_bits.fill_(bits)
            self.trained.load_state_dict(averaged.state_dict())
        return {"nll_bits": bits}


def _average(decay: float, averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
    """One step of an exponential average whose memory grows with the steps behind it, up to `decay`."""
    decay = min(decay, (1 + int(updates)) / (10 + int(updates)))
    torch._foreach_lerp_(averaged, current, 1 - decay)


class TopPriorTask(PriorTask):
    """Bits a predicted top code."""

    uniforms = 0

    def __init__(self, settings: TopPrior, training: PriorTraining, latents: Latents, validation: Dataset):
        torch.manual_seed(training.seed)
        network = TopPriorNetwork(settings, latents.manifest.codes, latents.manifest.grids)
        super().__init__(network, training, latents, validation)

    def loss(self, batch: Batch, uniforms: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        bits = top_nll_bits(self.network, to_device(batch)).mean()
        return bits, {"nll_bits": bits}


class BottomPriorTask(PriorTask):
    """Bits a bottom code of `slices_per_window` predicted slices of each window, drawn at random."""

    def __init__(
        self, settings: BottomPrior, training: BottomTraining, latents: Latents, validation: Dataset
    ):
        torch.manual_seed(training.seed)
        network = BottomPriorNetwork(settings, latents.manifest.codes, latents.manifest.grids)
        super().__init__(network, training, latents, validation)
        self.uniforms = network.grids.predicted_bottom[0]
        self.slices_per_window = training.slices_per_window

    def loss(self, batch: Batch, uniforms: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        batch = to_device(batch)
        slices = predicted_slices(self.network.grids, len(batch["top"]))
        if self.slices_per_window < slices.shape[1]:
            slices = slices.gather(1, uniforms.argsort(1)[:, : self.slices_per_window])
        bits = bottom_nll_bits(self.network, batch, slices).mean()
        return bits, {"nll_bits": bits}
