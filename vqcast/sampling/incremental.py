"""Sampling a PixelCNN one position at a time, everything that earlier positions need kept in caches.

A row's vertical stack, its conditioning and the taps on earlier slices are computed before the row
starts; a position is left with the taps in its own row, the gate and attention. So a code costs one
position's work, where a full forward pass costs the whole grid's.

On CPU, with one number of threads, a window's codes are the same bits in any batch and any order.
Products over several windows are `RowwiseLinear`, which tries that its rows do not depend on each other;
normalisation and embedding are computed row by row, nonlinearities in whole vectors (elementwise.py), and
attention window by window. On CUDA all windows of a tile are computed at once, tiles have one size, and
that a product of so many rows treats them alike is what tests/test_cuda.py tries.

Shapes: B batch, G tile (windows computed at once), L layers, A attention layers, C and R channels of
`hidden` and `residual`, N positions of the grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcast.networks.masked import Offset
from vqcast.networks.pixelcnn import PixelCNN
from vqcast.sampling.attention import attend, attend_up_to
from vqcast.sampling.elementwise import glu, silu
from vqcast.sampling.weights import TILE_BLOCK, Weights

# Position number (), logits (B, K) -> codes (B,). On CUDA this is captured in a graph: called in two
# positions only and replayed in all later ones, it must do its work on the device.
Choose = Callable[[Tensor, Tensor], Tensor]

TILE_CPU = 64  # windows; with more, products take as long for each
TILE_CUDA = 64  # windows; with fewer, a position takes hardly less: its many small kernels in turn


class Cache:
    """Features (..., slices, rows, columns, windows, C) of the slices that taps still reach.

    Zero-padded, so that no tap needs a bounds check; the present slice is the last. A row lies in one piece,
    so that a product reads it there.
    """

    def __init__(self, weights: Weights, windows: int, *leading: int):
        _, height, self.width = weights.grid
        self.time, self.above, self.left = weights.margins
        shape = (self.time + 1, height + 2 * self.above, self.width + 2 * self.left, windows)
        self.values = weights.embedding.new_zeros(*leading, *shape, weights.hidden)

    def row(self, y: int, offset: Offset = (0, 0, 0)) -> Tensor:
        """The row (..., W, windows, C) of the present slice at `y`, or the one that a tap there reads."""
        dt, dy, dx = offset
        left = self.left + dx
        return self.values[..., self.time + dt, self.above + y + dy, left : left + self.width, :, :]

    def next_slice(self) -> None:
        if self.time:
            self.values[..., :-1, :, :, :, :] = self.values[..., 1:, :, :, :, :].clone()


@dataclass(frozen=True)
class Place:
    """Where in the grid the sampler is, on the device; all tiles read it."""

    number: Tensor  # (1,), of the position in raster order
    column: Tensor  # (1,)

    @classmethod
    def first(cls, device: torch.device) -> "Place":
        number, column = torch.zeros(2, 1, dtype=torch.int64, device=device)
        return cls(number, column)

    def advance(self) -> None:
        self.number.add_(1)
        self.column.add_(1)


class Tile:
    """The caches of `tile` windows, of which the first `windows` are not empty."""

    def __init__(self, weights: Weights, tile: int, windows: int, place: Place):
        w, self.weights, self.place = weights, weights, place
        layers, width, reach = len(w.layers), w.grid[2], w.margins[2]
        zeros = w.embedding.new_zeros
        # Windows whose rows start, and that attend: on CPU, empty ones do neither.
        self.windows = windows if w.device.type == "cpu" else tile
        self.embedded, self.vertical = Cache(w, self.windows), Cache(w, self.windows, layers)
        self.horizontal = Cache(w, self.windows, layers) if w.layers[0].horizontal_offsets else None
        # What a row's start knows of its positions, and what its positions leave behind.
        self.stem_row = zeros(width, tile, w.hidden)
        self.link_row = zeros(width, layers, tile, w.residual)
        self.embedded_row = zeros(width, tile, w.hidden)
        self.normed_row = zeros(width, layers, tile, w.hidden)
        # The inputs of the taps to the left in the row, leftmost first.
        self.embedded_left = zeros(tile, reach * w.hidden)
        self.normed_left = zeros(layers, tile, reach * w.hidden)
        # Keys and values: the learned start, then one a position; the last position's is never read.
        shape = (len(w.attention), 2, self.windows, w.heads, w.positions + 1, w.hidden // max(w.heads, 1))
        self.key_value = zeros(shape, dtype=w.attention_dtype)
        for kept, attention in zip(self.key_value, w.attention.values(), strict=True):
            kept[..., 0, :] = attention.start.view(2, 1, w.heads, -1)

    def start_slice(self) -> None:
        for cache in (self.embedded, self.vertical, self.horizontal):
            if cache is not None:
                cache.next_slice()

    def start_row(self, y: int, condition: Tensor) -> None:
        """Compute all of row `y` that does not depend on its codes; condition: (W, windows, condition)."""
        w, windows = self.weights, self.windows
        self.embedded_left.zero_()
        self.normed_left.zero_()
        condition = condition.flatten(0, 1)

        def taps(cache: Cache, offsets: list[Offset], *layer: int) -> list[Tensor]:
            return [cache.row(y, offset)[layer].flatten(0, 1) for offset in offsets]

        def by_column(x: Tensor) -> Tensor:
            return x.unflatten(0, (-1, windows))

        vertical = w.vertical_stem(*taps(self.embedded, w.vertical_offsets))
        if w.horizontal_offsets:
            stem = w.stem_on_earlier(*taps(self.embedded, w.horizontal_offsets))
            self.stem_row[:, :windows] = by_column(stem)
        for index, layer in enumerate(w.layers):
            normed = self.vertical.row(y)[index]
            normed.copy_(by_column(layer.vertical_norm(vertical)))
            above = layer.vertical(*taps(self.vertical, layer.vertical_offsets, index), condition)
            earlier = taps(self.horizontal, layer.horizontal_offsets, index)
            self.link_row[:, index, :windows] = by_column(layer.link(above, *earlier, condition))
            if index + 1 < len(w.layers):
                vertical = vertical + glu(layer.vertical_gate(silu(above)))

    def finish_row(self, y: int) -> None:
        self.embedded.row(y).copy_(self.embedded_row[:, : self.windows])
        if self.horizontal is not None:
            self.horizontal.row(y).copy_(self.normed_row[:, :, : self.windows].transpose(0, 1))

    def logits(self, known: int | None) -> Tensor:
        """Logits (G, K) of the position at `place`, all before it known.

        known: how many these are; None where the step must not depend on it, and reads it off the device.
        """
        w = self.weights
        left = w.left(self.normed_left, plus=self._at_place(self.link_row, known))
        horizontal = w.stem(self.embedded_left).add_(self._at_place(self.stem_row, known))
        all_normed, key_values = [], []
        for index, layer in enumerate(w.layers):
            normed = layer.horizontal_norm(horizontal)
            all_normed.append(normed)
            gated = layer.horizontal_gate(silu(layer.horizontal(normed, plus=left[index])))
            horizontal = horizontal + glu(gated)
            if index in w.attention:
                attended, key_value = self._attend(index, len(key_values), horizontal, known)
                horizontal = horizontal + attended
                key_values.append(key_value)
        normed = torch.stack(all_normed)
        _shift_in(self.normed_left, normed)
        if self.horizontal is not None:
            self.normed_row.index_copy_(0, self.place.column, normed[None])
        self.of_features = torch.stack(key_values) if key_values else None
        return w.head_last(silu(w.head_first(w.head_norm(horizontal)))).float()

    def _at_place(self, row: Tensor, known: int | None) -> Tensor:
        """What a row (W, ...) holds for the present column."""
        if known is None:
            return row.index_select(0, self.place.column)[0]
        return row[known % len(row)]

    def _attend(self, index: int, order: int, features: Tensor, known: int | None) -> tuple[Tensor, Tensor]:
        """What attention adds (G, C), and the features' part of the position's key and value (G, 2 C)."""
        w, attention, windows = self.weights, self.weights.attention[index], self.windows
        joined = attention.query_key_value(attention.norm(features))
        query, key_value = joined.split([w.hidden, 2 * w.hidden], -1)
        query = query[:windows].to(w.attention_dtype).view(windows, w.heads, 1, -1)
        cache, attended = self.key_value[order], torch.zeros_like(features)
        if known is None:
            result = attend_up_to(query, cache, self.place.number)
        else:
            result = attend(query, *cache[..., : known + 1, :])
        attended[:windows] = result.flatten(1)
        return attention.out(attended), key_value

    def know(self, codes: Tensor, known: int | None) -> None:
        """The codes (G,) at `place` are known; `known` as for `logits`."""
        w, place, windows = self.weights, self.place, self.windows
        vectors = F.embedding(codes, w.embedding)
        self.embedded_row.index_copy_(0, place.column, vectors[None])
        _shift_in(self.embedded_left, vectors)
        if self.of_features is None:
            return
        new = (self.of_features + w.key_value_of_codes.index_select(1, codes))[:, :windows]
        new = new.to(w.attention_dtype).view(len(new), windows, 2, w.heads, 1, -1).transpose(1, 2)
        if known is None:
            self.key_value.index_copy_(4, place.number + 1, new)
        else:
            self.key_value[..., known + 1 : known + 2, :] = new


def _shift_in(left: Tensor, new: Tensor) -> None:
    """Append `new` (..., C) to the inputs at the left (..., reach * C) and drop the leftmost."""
    kept = torch.cat([left, new], -1)[..., new.shape[-1] :] if left.shape != new.shape else new
    left.copy_(kept)


class Graph:
    """A step of fixed shapes as a CUDA graph: run once to warm up, then captured, then replayed."""

    def __init__(self):
        self.warm = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Callable[[], None]) -> None:
        """Do `step`, the same in every call."""
        if not self.warm:
            self.warm = True
            step()
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                step()
        self.graph.replay()


class Sampler:
    """Draws codes from `network` with weights and caches in `dtype`, float32 or bfloat16.

    With `fixed_shapes`, as on CUDA, a position's work is the same kernels at the same addresses for every
    position and never waits for a value; without, as on CPU, the sampler knows where it is.
    """

    @torch.inference_mode()
    def __init__(self, network: PixelCNN, dtype: torch.dtype = torch.float32):
        self.network, self.weights = network, Weights(network, dtype)
        self.fixed_shapes = self.weights.device.type != "cpu"

    def tile(self, batch: int) -> int:
        """How many windows a tile holds when `batch` are wanted."""
        if self.weights.device.type != "cpu":
            return TILE_CUDA
        return min(-(-batch // TILE_BLOCK) * TILE_BLOCK, TILE_CPU)

    @torch.inference_mode()
    def generate(
        self, condition: Tensor, choose: Choose, done: Callable[[int], object] = lambda codes: None
    ) -> Tensor:
        """Generate codes (B, T, H, W) in raster order, given `condition` (B, T, H, W, C).

        `choose(number, logits)` picks the codes (B,) at position `number`; the logits are those of the full
        forward pass (`tests/test_incremental.py` states the tolerance). `done` is told of each row's codes.
        """
        time, height, width = self.weights.grid
        generation = Generation(self, condition, choose)
        for t in range(time):
            for y in range(height):
                generation.row(t, y)
                done(width)
        return generation.codes.t().reshape(len(condition), *self.weights.grid)


class Generation:
    """Codes (N, B) of `condition`'s windows as they are drawn, row by row in raster order."""

    @torch.inference_mode()
    def __init__(self, sampler: Sampler, condition: Tensor, choose: Choose):
        w, batch = sampler.weights, len(condition)
        self.weights, self.choose, self.fixed_shapes = w, choose, sampler.fixed_shapes
        size = sampler.tile(batch)
        self.padding = (0, -batch % size)
        self.place = Place.first(w.device)
        self.tiles = [Tile(w, size, min(size, batch - first), self.place) for first in range(0, batch, size)]
        condition = sampler.network.place(condition).to(w.dtype).permute(1, 2, 3, 0, 4)
        if w.device.type != "cpu":
            condition = F.pad(condition, (0, 0, *self.padding))
        parts = condition.split([tile.windows for tile in self.tiles], 3)
        self.condition = [part.contiguous() for part in parts]  # (T, H, W, windows, C) of each tile
        self.codes = torch.zeros(w.positions, batch, dtype=torch.int64, device=w.device)
        # Nothing here refers back to this object: its caches, gigabytes at full size, go with it at once.
        self.graph = Graph() if w.device.type == "cuda" else None

    @torch.inference_mode()
    def row(self, t: int, y: int) -> None:
        """Draw the codes of the row after the last, which is number `y` of slice `t`."""
        _, height, width = self.weights.grid
        first = (t * height + y) * width
        self.place.number.fill_(first)
        self.place.column.zero_()
        for tile, condition in zip(self.tiles, self.condition, strict=True):
            if t > 0 and y == 0:
                tile.start_slice()
            tile.start_row(y, condition[t, y])
        for x in range(width):
            if self.graph:
                self.graph(partial(self._position, None))
            else:
                self._position(None if self.fixed_shapes else first + x)
        for tile in self.tiles:
            tile.finish_row(y)

    def _position(self, known: int | None) -> None:
        logits = torch.cat([tile.logits(known) for tile in self.tiles])
        batch = self.codes.shape[1]
        codes = self.choose(self.place.number.view(()), logits[:batch])
        self.codes.index_copy_(0, self.place.number, codes[None])
        parts = F.pad(codes, self.padding).split(len(logits) // len(self.tiles))
        for tile, part in zip(self.tiles, parts, strict=True):
            tile.know(part, known)
        self.place.advance()
