"""Matrix products of few rows at the speed of memory, each row's result independent of the others."""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class Linear:
    """`x @ weight.T + bias`, the weight laid out as the processor reads it fastest.

    x may come in parts along its inputs: on CPU in float32 these are multiplied where they lie and added up.
    weight: (outputs, inputs), float32 or bfloat16; or (layers, outputs, inputs), for a product of each layer.
    bias: (outputs,) or None. parts: the inputs of each part.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, parts: Sequence[int] | None = None):
        self.bias, self.dtype, self.shape = bias, weight.dtype, weight.shape[:-1]
        self.parts = tuple(parts or weight.shape[-1:])
        self.on_cpu = weight.device.type == "cpu"
        self._adds_up = weight.ndim == 3 or (self.on_cpu and self.dtype == torch.float32)
        self._packs = self.on_cpu and not self._adds_up and _packs_bfloat16()
        self._packed: dict[int, Tensor] = {}
        if self._adds_up:  # inputs before outputs, or BLAS copies the weight into that layout in every call
            self._by_part = [part.mT.contiguous() for part in weight.split(self.parts, -1)]
        else:
            self._weight = weight.contiguous()

    def __call__(self, *x: Tensor, plus: Tensor | None = None) -> Tensor:
        """Parts (..., rows, part) to (..., rows, outputs).

        `plus`, of that shape, takes the bias's place; it may be overwritten.
        """
        if not self._adds_up:
            whole = x[0] if len(x) == 1 else torch.cat(x, -1)
            if plus is not None and not self.on_cpu:
                return plus.addmm_(whole, self._weight.t())
            product = self._of_whole(whole, plus is None)
            return product if plus is None else product.add_(plus)
        added, product = self.bias if plus is None else plus, torch.addmm
        if len(self.shape) == 2:
            product = torch.baddbmm
        first, *others = self._by_part
        out = x[0] @ first if added is None else product(added, x[0], first)
        for part, weight in zip(x[1:], others, strict=True):
            product(out, part, weight, out=out)
        return out

    def _of_whole(self, x: Tensor, with_bias: bool) -> Tensor:
        """The product in one; in bfloat16 a sum of parts would be rounded once for each."""
        bias = self.bias if with_bias else None
        if not self._packs:
            return F.linear(x, self._weight, bias)
        # oneDNN's blocked layout for so many rows, which torch.compile uses too for weights that stay.
        rows = len(x)
        if rows not in self._packed:
            self._packed[rows] = torch.ops.mkldnn._reorder_linear_weight(self._weight, rows)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed[rows], bias, "none", [], "")


class RowwiseLinear(Linear):
    """A `Linear` of which, on CPU, a row's result is the same bits in any place among any number of rows.

    `x` has a multiple of `block` rows; it is multiplied as many rows at once as `rows_at_once` allows.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, block: int, parts: Sequence[int] | None = None):
        super().__init__(weight, bias, parts)
        self.block = block
        self._at_once: dict[int, int] = {}

    def __call__(self, *x: Tensor, plus: Tensor | None = None) -> Tensor:
        rows = x[0].shape[-2]
        if rows not in self._at_once:
            self._at_once[rows] = self._rows_at_once(rows)
        product, at_once = super().__call__, self._at_once[rows]
        if at_once == rows:
            return product(*x, plus=plus)
        pluses = [None] * (rows // at_once) if plus is None else plus.split(at_once, -2)
        parts = zip(*(part.split(at_once, -2) for part in x), strict=True)
        return torch.cat([product(*some, plus=more) for some, more in zip(parts, pluses, strict=True)], -2)

    def _rows_at_once(self, rows: int) -> int:
        if not self.on_cpu:
            return rows
        threads = torch.get_num_threads()
        return rows_at_once(rows, self.block, self.shape, self.parts, self.dtype, threads)


@functools.cache
def rows_at_once(
    rows: int, block: int, shape: tuple[int, ...], parts: tuple[int, ...], dtype: torch.dtype, threads: int
) -> int:
    """How many of `rows` rows to multiply at once on CPU, for the same bits as in any other number of rows.

    A product's order of summation may depend on the number of rows and on a row's place, and no library
    promises otherwise. So it is tried: all rows at once if that gives the bits of products of `block` rows;
    these blocks if they treat their rows alike; else row by row. The terms of every sum cancel each other,
    so that what is compared is rounding alone, which another order changes even in bfloat16.
    """
    generator, inputs, layers = torch.Generator().manual_seed(0), sum(parts), shape[:-1]
    order = torch.randperm(inputs // 2, generator=generator)
    x = torch.randn(*layers, rows, inputs // 2, generator=generator)
    weight = torch.randn(*shape, inputs // 2, generator=generator)
    x = F.pad(torch.cat([x, x[..., order]], -1), (0, inputs % 2)).to(dtype)
    weight = F.pad(torch.cat([weight, -weight[..., order]], -1), (0, inputs % 2)).to(dtype)
    linear = Linear(weight, None, parts)
    zeros = torch.zeros(*layers, rows, shape[-1], dtype=dtype)

    def product(x: Tensor) -> Tensor:
        rows = x.shape[-2]
        return linear(*(part.contiguous() for part in x.split(parts, -1)), plus=zeros[..., :rows, :].clone())

    blocks = torch.cat([product(part) for part in x.split(block, -2)], -2)
    first, its_product = x[..., :block, :], blocks[..., :block, :]
    for shift in range(1, block):
        if not torch.equal(product(first.roll(shift, -2)).roll(-shift, -2), its_product):
            return 1
    return rows if torch.equal(product(x), blocks) else block


def _packs_bfloat16() -> bool:
    """Whether oneDNN takes bfloat16 weights on this processor."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
