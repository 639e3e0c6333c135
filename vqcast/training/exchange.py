"""What ranks show each other in every step: through memory where they share one, else through torch."""

import itertools
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vqcast.training.ranks import common_folder, rank, ranks

_numbers = itertools.count()  # every rank makes its exchanges in the same order


def shares_memory(device: torch.device) -> bool:
    """Whether the ranks are processes that a stage started itself on a CPU."""
    return common_folder() is not None and device.type == "cpu"


class Exchange:
    """A row of `length` elements for every rank, which all ranks see after they met.

    Ranks that a stage started itself on a CPU map one file; gloo's sockets take three times as long. There
    are two sets of rows, used in turn: whoever comes to a meeting has read the rows of the one before, so
    that these may be filled in again after it.
    """

    def __init__(self, length: int, dtype: torch.dtype, device: torch.device):
        self.shared = shares_memory(device)
        shape = (2 if self.shared else 1, ranks(), length)
        if self.shared:
            self._sets = _in_file(Path(common_folder(), f"exchange-{next(_numbers)}"), shape, dtype)
        else:
            self._sets = torch.zeros(shape, dtype=dtype, device=device)
        self._turn = 0

    @property
    def own(self) -> Tensor:
        """This rank's row (length,) of the next meeting."""
        return self._sets[self._turn, rank()]

    def meet(self) -> Tensor:
        """All rows (ranks, length), once every rank has filled in its own; good until the next meeting."""
        rows = self._sets[self._turn]
        self._turn = (self._turn + 1) % len(self._sets)
        if self.shared:
            dist.barrier()
        elif ranks() > 1:
            dist.all_gather(list(rows), rows[rank()].clone())
        return rows


def _in_file(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    size = torch.Size(shape).numel()
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here; later it would be the process's end
        with open(path, "ab") as file:
            os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype).view(shape)
