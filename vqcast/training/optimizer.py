"""AdamW for every weight, or Muon for the hidden layers and AdamW for the rest."""

import torch
from torch import nn

from vqcast.settings import Training
from vqcast.training.muon import Muon

BETAS = (0.9, 0.98)


class Optimizer:
    """One step for all parameters of a network, at a learning rate that comes with the step.

    Muon takes matrices; a convolution's filters are taken as one matrix, a row an output channel, as in
    Jordan's own use. Both optimizers move a weight by about the learning rate. Embeddings, the network's
    `output` layer, biases and gains are AdamW's; weight decay is for what has more than one axis.
    """

    def __init__(self, network: nn.Module, settings: Training):
        self._hidden = _hidden_weights(network) if settings.optimizer == "muon" else []
        chosen = {id(weight) for weight in self._hidden}
        rest = [weight for weight in network.parameters() if id(weight) not in chosen]
        groups = [
            {"params": [weight for weight in rest if weight.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [weight for weight in rest if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        self._adamw = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)
        # Views, which share their memory with the weights.
        matrices = [_rows(weight.detach()).view(len(weight), -1) for weight in self._hidden]
        self._muon = Muon(matrices, settings.weight_decay)

    def step(self, learning_rate: float) -> None:
        """Step along the gradients that the parameters hold."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._adamw.step()
        gradients = [None if weight.grad is None else _rows(weight.grad) for weight in self._hidden]
        self._muon.step(gradients, learning_rate)

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


def _rows(weight: torch.Tensor) -> torch.Tensor:
    """Axes in the order in which a filter lies in memory: channels last."""
    return weight.movedim(1, -1)
