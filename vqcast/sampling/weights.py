"""A PixelCNN's weights as the incremental sampler reads them, in as few products as can be."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcast.networks.attention import CausalAttention
from vqcast.networks.masked import MaskedConv3d
from vqcast.networks.pixelcnn import GatedLayer, PixelCNN
from vqcast.sampling.linear import RowwiseLinear

TILE_BLOCK = 4  # windows; on CPU a product of four rows is as fast as one of one


class Norm:
    """Layer normalisation in the sampler's precision."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype):
        self.shape, self.eps = norm.normalized_shape, norm.eps
        self.weight, self.bias = norm.weight.to(dtype), norm.bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class Taps:
    """A masked convolution's weights (outputs, taps * inputs), those on earlier slices apart from the others.

    What is left of a horizontal convolution lies in the row itself, the leftmost tap first.
    """

    def __init__(self, conv: MaskedConv3d):
        self.offsets, self.weight, self.bias = conv.offsets, conv.taps().t(), conv.bias
        self.earlier_offsets = [offset for offset in conv.offsets if offset[0] < 0]
        self.inputs = inputs = conv.weight.shape[1]
        split = len(self.earlier_offsets) * inputs
        self.on_earlier, self.in_slice = self.weight[:, :split], self.weight[:, split:]
        self.parts, self.earlier_parts = [inputs] * len(self.offsets), [inputs] * len(self.earlier_offsets)


class LayerWeights:
    """A gated layer as two products a position and three a row, conditioning among the latter.

    What is left of a position in its row is multiplied for all layers at once (`Weights.left`).
    """

    def __init__(self, layer: GatedLayer, dtype: torch.dtype, width: int):
        vertical, horizontal = Taps(layer.vertical_conv), Taps(layer.horizontal_conv)
        to_vertical, to_horizontal = layer.condition.weight.chunk(2)
        self.vertical_offsets, self.horizontal_offsets = vertical.offsets, horizontal.earlier_offsets
        self.vertical_norm = Norm(layer.vertical_norm, dtype)
        of_row = torch.cat([vertical.weight, to_vertical], 1)
        parts = [*vertical.parts, to_vertical.shape[1]]
        self.vertical = RowwiseLinear(of_row.to(dtype), vertical.bias.to(dtype), width, parts)
        gate = layer.vertical_gate
        self.vertical_gate = RowwiseLinear(gate.weight.to(dtype), gate.bias.to(dtype), width)
        of_row = torch.cat([layer.link.weight, horizontal.on_earlier, to_horizontal], 1)
        parts = [layer.link.in_features, *horizontal.earlier_parts, to_horizontal.shape[1]]
        self.link = RowwiseLinear(of_row.to(dtype), horizontal.bias.to(dtype), width, parts)
        self.horizontal_norm = Norm(layer.horizontal_norm, dtype)
        self.left, here = horizontal.in_slice.to(dtype).tensor_split([-horizontal.inputs], 1)
        self.horizontal = RowwiseLinear(here, None, TILE_BLOCK)
        gate = layer.horizontal_gate
        self.horizontal_gate = RowwiseLinear(gate.weight.to(dtype), gate.bias.to(dtype), TILE_BLOCK)


class AttentionWeights:
    """Attention: scaled query, key and value as one product; what codes add to key and value as a table."""

    def __init__(self, attention: CausalAttention, embedding: Tensor, dtype: torch.dtype):
        of_features, of_codes = attention.key_value.weight.chunk(2, 1)
        scale = (len(attention.query.bias) // attention.heads) ** -0.5  # of scores, once and for all
        weight = torch.cat([attention.query.weight * scale, of_features])
        bias = torch.cat([attention.query.bias * scale, attention.key_value.bias])
        self.norm = Norm(attention.norm, dtype)
        self.query_key_value = RowwiseLinear(weight.to(dtype), bias.to(dtype), TILE_BLOCK)
        self.of_codes = (embedding @ of_codes.t()).to(dtype)  # (K, 2 C)
        self.start = attention.start
        self.out = RowwiseLinear(attention.out.weight.to(dtype), attention.out.bias.to(dtype), TILE_BLOCK)


class Weights:
    """All of a PixelCNN's weights in `dtype`."""

    def __init__(self, network: PixelCNN, dtype: torch.dtype):
        self.grid, self.dtype = network.grid, dtype
        self.positions = self.grid[0] * self.grid[1] * self.grid[2]
        self.embedding = network.embedding.weight.to(dtype)
        self.device, self.hidden = self.embedding.device, self.embedding.shape[1]
        self.residual, width = network.layers[0].link.out_features, self.grid[2]

        vertical, horizontal = Taps(network.vertical_stem), Taps(network.horizontal_stem)
        self.margins = tuple(-low for low in network.vertical_stem.lows)  # (t, y, x) that taps reach
        self.vertical_offsets, self.horizontal_offsets = vertical.offsets, horizontal.earlier_offsets
        self.vertical_stem = RowwiseLinear(
            vertical.weight.to(dtype), vertical.bias.to(dtype), width, vertical.parts
        )
        if self.horizontal_offsets:
            on_earlier = horizontal.on_earlier.to(dtype)
            self.stem_on_earlier = RowwiseLinear(on_earlier, None, width, horizontal.earlier_parts)
        self.stem = RowwiseLinear(horizontal.in_slice.to(dtype), horizontal.bias.to(dtype), TILE_BLOCK)
        self.layers = [LayerWeights(layer, dtype, width) for layer in network.layers]
        self.left = RowwiseLinear(torch.stack([layer.left for layer in self.layers]), None, TILE_BLOCK)

        self.attention = {
            int(index): AttentionWeights(attention, network.embedding.weight, dtype)
            for index, attention in network.attention.items()
        }
        self.heads = next((attention.heads for attention in network.attention.values()), 1)
        # On CPU attention to bfloat16 keys takes several times as long as to float32 ones.
        self.attention_dtype = torch.float32 if self.device.type == "cpu" else dtype
        if self.attention:
            self.key_value_of_codes = torch.stack([layer.of_codes for layer in self.attention.values()])

        norm, first, _, last = network.head
        self.head_norm = Norm(norm, dtype)
        self.head_first = RowwiseLinear(first.weight.to(dtype), first.bias.to(dtype), TILE_BLOCK)
        self.head_last = RowwiseLinear(last.weight.to(dtype), last.bias.to(dtype), TILE_BLOCK)
