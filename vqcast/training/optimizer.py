"""AdamW for every weight, or Muon for the hidden layers and AdamW for the rest."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vqcast.settings.training import Training
from vqcast.training.exchange import Exchange, shares_memory
from vqcast.training.muon import Muon
from vqcast.training.ranks import ranks

BETAS = (0.9, 0.98)


class Optimizer:
    """One step for all parameters of a network, at a learning rate that comes with the step.

    Muon takes matrices; a convolution's filters are taken as one matrix, a row an output channel, as in
    Jordan's own use. Both optimizers move a weight by about the learning rate. Embeddings, the network's
    `output` layer, biases and gains are AdamW's; weight decay is for what has more than one axis.
    """

    def __init__(self, network: nn.Module, settings: Training):
        hidden = _hidden_weights(network) if settings.optimizer == "muon" else []
        chosen = {id(weight) for weight in hidden}
        rest = [weight for weight in network.parameters() if id(weight) not in chosen]
        groups = [
            {"params": [weight for weight in rest if weight.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [weight for weight in rest if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        self._adamw = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)
        # Views, which share their memory with the weights.
        matrices = [_rows(weight.detach()).view(len(weight), -1) for weight in hidden]
        device = next(network.parameters()).device
        self._muon = Muon(matrices, settings.weight_decay, device)
        # Flat, so that all are averaged and clipped at once; what Muon takes comes first, in its order.
        weights = [*(hidden[number] for number in self._muon.order), *rest]
        sizes = [weight.numel() for weight in weights]
        self.gradient = torch.zeros(sum(sizes), device=device)
        for weight, part in zip(weights, self.gradient.split(sizes), strict=True):
            weight.grad = part.as_strided(weight.shape, weight.stride(), part.storage_offset())
        shared = shares_memory(device)  # else a sum needs no room for the gradients of all ranks
        self._exchange = Exchange(len(self.gradient), torch.float32, device) if shared else None

    gradient: Tensor  # those that backward adds to, of all weights

    def average(self) -> None:
        """Put the mean over all ranks in the place of the gradient."""
        if ranks() == 1:
            return
        if self._exchange:
            self._exchange.own.copy_(self.gradient)
            torch.sum(self._exchange.meet(), 0, out=self.gradient)
        else:
            dist.all_reduce(self.gradient)
        self.gradient.div_(ranks())

    def clip(self, norm: float) -> Tensor:
        """Scale the gradient down to `norm` where it is longer; returns how long it was."""
        length = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((norm / (length + 1e-6)).clamp(max=1.0))
        return length

    def step(self, learning_rate: float) -> None:
        """Step along the gradient."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._adamw.step()
        self._muon.step(self.gradient[: len(self._muon.momentum)], learning_rate)

    def state_dict(self) -> dict:
        return {"adamw": self._adamw.state_dict(), "muon": self._muon.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self._adamw.load_state_dict(state["adamw"])
        self._muon.load_state_dict(state["muon"])


def _hidden_weights(network: nn.Module) -> list[nn.Parameter]:
    """Weights of all linear and convolutional layers but the last."""
    return [
        module.weight
        for module in network.modules()
        if not isinstance(module, nn.Embedding) and module is not network.output
        if isinstance(weight := getattr(module, "weight", None), nn.Parameter) and weight.ndim > 1
    ]


def _rows(weight: Tensor) -> Tensor:
    """Axes in the order in which a filter lies in memory: channels last."""
    return weight.movedim(1, -1)
