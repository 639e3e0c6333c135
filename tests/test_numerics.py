"""Every layer of every network that convolves, against itself in float64: on a CPU some of torch's are wrong.

A layer is compared as it stands in its network, with its channels, kernel, stride, padding and slices, on
a few rows and columns. In float64 torch convolves with plain matrix products, in float32 and bfloat16 with
oneDNN, which takes other ways for other sizes, and for other kinds of CPU.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import ROOT
from vqcast.features.i3d import I3D, Logits, Unit
from vqcast.networks.bottom_prior import BottomPriorNetwork, PastConv3d
from vqcast.networks.convolution import Conv3d
from vqcast.networks.grids import Grids
from vqcast.networks.masked import MaskedConv3d
from vqcast.networks.replicated import ReplicatedConvTranspose3d
from vqcast.networks.sighted import vqvae_of
from vqcast.networks.strided import StridedConv3d
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.settings.params import Settings, load_settings

LAYERS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d, MaskedConv3d, PastConv3d, Unit, Logits)
ROWS, COLUMNS = 8, 16  # of a layer's input, at most
MANY, FEW_ROWS = 200, 2  # channels with more than which so few rows must do

# Root mean square of the error over that of what is right. Inputs, weights and gradients are numbers that
# bfloat16 holds, so that only what a layer rounds itself is counted: one rounding to 8 bits is 0.0017, and no
# layer has more than a few. In float32, thousands of products add up to some 1e-6. What was wrong was off by
# 0.05 and more.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 0.008}


@dataclasses.dataclass(frozen=True)
class Case:
    layer: nn.Module
    size: tuple[int, ...]  # of its input

    def __str__(self) -> str:
        shapes = ", ".join(f"{name} {list(p.shape)}" for name, p in self.layer.named_parameters())
        how = [getattr(self.layer, name, None) for name in ("stride", "padding", "offsets")]
        return f"{type(self.layer).__name__}({shapes}) {how} of {list(self.size)}"


def preset(path: str, **changes: dict) -> Settings:
    settings = load_settings(ROOT / path)
    return dataclasses.replace(
        settings,
        **{name: dataclasses.replace(getattr(settings, name), **keys) for name, keys in changes.items()},
    )


def layers_of(settings: Settings) -> list[Case]:
    window, codes = settings.window, settings.vqvae.codes
    size = min(settings.clip.resolution, 64)  # the rest of larger clips is cut off below
    video = torch.zeros(1, 3, window.frames, size, size)
    vqvae = vqvae_of(settings.vqvae, settings.expectation, window.given, window.frames)
    found = cases(vqvae, lambda: (vqvae(video), vqvae.encode_given(video[:, :, : window.given])))

    grids = Grids.of(window, size, settings.vqvae)
    with torch.device("meta"):
        levels = ("prefix_top", "prefix_bottom", "top", "bottom")
        prefix_top, prefix_bottom, top, bottom = (
            torch.empty(1, *grids.shape(level), dtype=torch.int64) for level in levels
        )
        top_prior = TopPriorNetwork(settings.top_prior, codes, grids)
        found += cases(top_prior, lambda: top_prior(prefix_top, prefix_bottom, top))
        bottom_prior = BottomPriorNetwork(settings.bottom_prior, codes, grids)
        found += cases(bottom_prior, lambda: bottom_prior(top, bottom, torch.zeros(1, 1, dtype=torch.int64)))
    return found


def layers_of_i3d() -> list[Case]:
    with torch.device("meta"):
        network, video = I3D(), torch.empty(1, 3, 16, 112, 112)
        return cases(network, lambda: network(video))


def layers_of_other_settings() -> Iterator[Case]:
    """Layers that no preset has, of channels and slices that a user may ask for."""
    for channels in (3, 8, 12, 16, 64):
        yield Case(Conv3d(channels, 64, (1, 8, 8), (1, 4, 4), (0, 2, 2)), (1, channels, 4, 8, 16))
        yield Case(Conv3d(channels, 64, (1, 8, 8), (1, 8, 8)), (1, channels, 4, 8, 16))
        layer = ReplicatedConvTranspose3d(64, channels, (2, 8, 8), (1, 2, 2), (0, 3, 3))
        yield Case(layer, (1, 64, 4, 8, 8))
    for channels in (256, 320, 512, 1024):
        yield Case(Conv3d(channels, 512, (1, 3, 3), padding=(0, 1, 1)), (1, channels, 1, 16, 16))
        yield Case(MaskedConv3d(channels, 128, (1, 5, 5), "rows so far"), (1, 1, 8, 16, channels))
    # The bottom grid of clips of 256 pixels.
    yield Case(Conv3d(64, 32, (3, 3, 3), padding=(1, 1, 1)), (1, 64, 2, 64, 64))
    yield Case(Conv3d(192, 64, (1, 1, 1)), (1, 192, 1, 64, 64))
    for filters, stride in (((4, 4, 4), (2, 2, 2)), ((6, 4, 4), (2, 2, 2)), ((8, 4, 4), (4, 2, 2))):
        padding = tuple((size - step) // 2 for size, step in zip(filters, stride, strict=True))
        for slices in range(1, 6):
            yield Case(ReplicatedConvTranspose3d(32, 32, filters, stride, padding), (1, 32, slices, 4, 4))
    for columns in (1, 2):  # of the top codes of clips of 8 and 16 pixels
        yield Case(ReplicatedConvTranspose3d(64, 64, (4, 4, 4), (2, 2, 2), (1, 1, 1)), (1, 64, 4, 3, columns))
        yield Case(StridedConv3d(64, 64, (4, 4, 4), (2, 2, 2), (1, 1, 1)), (1, 64, 4, 6, 2 * columns))


def cases(network: nn.Module, call: Callable[[], object]) -> list[Case]:
    """The layers of `network` that differ, with the size of what each is given when it is called."""
    seen: dict[str, Case] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        _, *size = inputs[0].shape
        channels, row = (size[-1], 1) if isinstance(layer, MaskedConv3d) else (size[0], len(size) - 2)
        rows = FEW_ROWS if channels > MANY else ROWS
        size[row], size[row + 1] = min(size[row], rows), min(size[row + 1], COLUMNS)
        case = Case(layer, (1, *size))
        seen.setdefault(str(case), case)

    layers = [module for module in network.modules() if isinstance(module, LAYERS)]
    layers = [layer for layer in layers if not any(layer in other.children() for other in layers)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    network.eval()
    with torch.no_grad():
        call()
    compared = {id(weight) for layer in layers for weight in layer.parameters()}
    assert all(id(weight) in compared for weight in network.parameters() if weight.dim() > 3)
    for hook in hooks:
        hook.remove()
    return list(seen.values())


def results(layer: nn.Module, x: Tensor, gradient: Tensor | None, dtype: torch.dtype) -> dict[str, Tensor]:
    """What the layer makes of `x`, and the gradients; of I3D, which never learns, there are none."""
    learned = {name: weight for name, weight in layer.named_parameters() if weight.requires_grad}
    inputs = {"input": x.requires_grad_(), **learned} if learned else {}
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = layer(x)
    gradients = torch.autograd.grad(y, list(inputs.values()), gradient.to(y.dtype)) if inputs else ()
    return {"output": y.detach(), **dict(zip(inputs, gradients, strict=True))}


def error(value: Tensor, right: Tensor) -> float:
    return ((value - right).square().mean().sqrt() / right.square().mean().sqrt()).item()


def drawn(case: Case) -> nn.Module:
    """The layer with random weights in memory."""
    layer = copy.deepcopy(case.layer).to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in layer.state_dict(keep_vars=True).items():
            fan_in = tensor[0].numel() if tensor.dim() > 3 else 1
            tensor.copy_(held(torch.randn_like(tensor) * fan_in**-0.5))
            if name.endswith("variance"):
                tensor.fill_(1.0)
        if isinstance(layer, MaskedConv3d):
            layer.mask.zero_()
            for offset in layer.offsets:
                layer.mask[tuple(place - low for place, low in zip(offset, layer.lows, strict=True))] = 1
    return layer


def held(tensor: Tensor) -> Tensor:
    """`tensor` rounded to what bfloat16 holds."""
    return tensor.bfloat16().to(tensor.dtype)


def wrong(case: Case) -> Iterator[str]:
    torch.manual_seed(0)
    layer, x = drawn(case), held(torch.randn(case.size))
    reference = copy.deepcopy(layer).double()
    with torch.no_grad():
        gradient = held(torch.randn(reference(x.double()).shape))
    right = results(reference, x.double(), gradient.double(), torch.float64)
    for dtype, tolerance in TOLERANCES.items():
        for name, value in results(layer, x, gradient, dtype).items():
            off = error(value.double(), right[name])
            if not off < tolerance:
                yield f"{dtype}: {name} is off by {off:.2g}: {case}"


def eight_frames() -> Settings:
    return preset("params.yaml", window=dict(frames=8), train_bottom_prior=dict(slices_per_window=1))


def long_stride() -> Settings:
    return preset(
        "params.yaml",
        window=dict(given=8),
        vqvae=dict(first_filter=(4, 8, 8), first_stride=(4, 4, 4)),
        train_bottom_prior=dict(slices_per_window=1),
    )


def few_channels() -> Settings:
    return preset("params.yaml", vqvae=dict(hidden=12, second_filter=(2, 8, 8), second_stride=(2, 4, 4)))


PLACES = {
    "params.yaml": lambda: layers_of(preset("params.yaml")),
    "folder.yaml": lambda: layers_of(preset("presets/folder.yaml")),
    "kinetics600.yaml": lambda: layers_of(preset("presets/kinetics600.yaml")),
    "kinetics600-sees-given.yaml": lambda: layers_of(preset("presets/kinetics600-sees-given.yaml")),
    "window.frames 8": lambda: layers_of(eight_frames()),
    "vqvae.first_stride 4, 4, 4": lambda: layers_of(long_stride()),
    "vqvae.hidden 12": lambda: layers_of(few_channels()),
    "other settings": layers_of_other_settings,
    "I3D": layers_of_i3d,
}


@pytest.mark.parametrize("place", PLACES)
def test_values_and_gradients_of_every_layer_are_those_in_float64(place):
    told = [line for case in PLACES[place]() for line in wrong(case)]
    assert not told, "\n".join(told)
