"""Shapes and parameters of all networks at the sizes of a parameters file.

python -m benchmarks.sizes                         the paper's own sizes
python -m benchmarks.sizes --params params.yaml    those of the next run

Networks are built and run on the meta device: nothing is computed and nothing allocated. The last line is
everything as JSON. docs/paper.md holds what the first command prints.

Shapes: (T, H, W, C) of one window, whatever the order in the code.
"""

import argparse
import json
import math
import sys

import torch
from torch import Tensor, nn

from vqcast.errors import VqcastError
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.masked import MaskedConv3d
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.settings.params import Settings, load_settings

# The modules whose output is told, by the part of a network that they belong to.
STEPS = {
    "vqvae": (
        *("encode_bottom", "encode_top", "project_top", "project_bottom"),
        *("upsample_top", "decode_both.0", "decode_both"),
    ),
    "top_prior.conditioning": ("upsample", "downsample", "widen", "blocks"),
    "top_prior.pixelcnn": ("vertical_stem", "horizontal_stem", "head"),
    "bottom_prior.conditioning": (
        *("upsample_top.0", "upsample_top.2", "upsample_top.4"),
        *("past.0", "past.1", "past.2", "past.3", "join", "blocks"),
    ),
    "bottom_prior.pixelcnn": ("vertical_stem", "horizontal_stem", "head"),
}


def sizes(settings: Settings) -> dict[str, dict]:
    """`shapes`, `parameters` and `codes`, each by name, of the networks that `settings` describe."""
    grids = Grids.of(settings.window, settings.clip.resolution, settings.vqvae)
    codes = settings.vqvae.codes
    with torch.device("meta"):
        networks = nn.ModuleDict(
            {
                "vqvae": VQVAE(settings.vqvae),
                "top_prior": TopPriorNetwork(settings.top_prior, codes, grids),
                "bottom_prior": BottomPriorNetwork(settings.bottom_prior, codes, grids),
            }
        ).eval()
        shapes = _shapes(networks, settings, grids)
    return {"shapes": shapes, "parameters": _parameters(networks), "codes": _codes(settings, grids)}


def _shapes(networks: nn.ModuleDict, settings: Settings, grids: Grids) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for part, steps in STEPS.items():
        for step in steps:
            name = f"{part}.{step}"
            networks.get_submodule(name).register_forward_hook(_recorder(shapes, name))
    window = (settings.window.frames, settings.clip.resolution, settings.clip.resolution)
    top, bottom = _no_codes(grids.top), _no_codes(grids.bottom)
    prefix_top = _no_codes((grids.prefix_top, *grids.top[1:]))
    prefix_bottom = _no_codes((grids.prefix_bottom, *grids.bottom[1:]))
    vqvae = networks["vqvae"]
    # Not by VQVAE.encode: its quantizers turn autocast off, which the meta device does not know.
    features = vqvae.encode_bottom(torch.zeros(1, 3, *window))
    upsampled = vqvae.upsample_top(vqvae.project_top(vqvae.encode_top(features)))
    vqvae.project_bottom(torch.cat([features, upsampled], 1))
    vqvae.decode(Codes(top, bottom))
    networks["top_prior"](prefix_top, prefix_bottom, top)
    networks["bottom_prior"](top, bottom, torch.zeros(1, 1, dtype=torch.int64))
    return {f"{part}.{step}": shapes[f"{part}.{step}"] for part, steps in STEPS.items() for step in steps}


def _no_codes(grid: tuple[int, ...]) -> Tensor:
    return torch.zeros(1, *grid, dtype=torch.int64)


def _recorder(shapes: dict[str, list[int]], name: str):
    def record(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        channels_last = output if ".pixelcnn." in name else output.movedim(1, -1)
        shapes[name] = list(channels_last.shape[1:])

    return record


def _parameters(networks: nn.ModuleDict) -> dict[str, int]:
    """Parameters of every network and of its parts; codebooks are buffers, which equation 3 learns."""
    counts = {}
    for name, network in networks.items():
        counts[name] = _count(network)
        counts |= {f"{name}.{part}": _count(child) for part, child in network.named_children()}
    for quantizer in ("quantize_top", "quantize_bottom"):
        del counts[f"vqvae.{quantizer}"]
        name = f"vqvae.{quantizer}.codebook"
        counts[name] = networks.get_buffer(name).numel()
    for prior in ("top_prior", "bottom_prior"):
        convolutions = [module for module in networks[prior].modules() if isinstance(module, MaskedConv3d)]
        counts[f"{prior}.masked"] = sum(map(_masked, convolutions))
    return counts


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _masked(conv: MaskedConv3d) -> int:
    """Weights that the mask holds at zero; they are stored, and counted as parameters."""
    taps = conv.mask.numel()
    return conv.weight.numel() // taps * (taps - len(conv.offsets))


def _codes(settings: Settings, grids: Grids) -> dict[str, int | float | list[int]]:
    window = math.prod(grids.top) + math.prod(grids.bottom)
    bits = window * math.log2(settings.vqvae.codes)
    pixels = settings.window.frames * settings.clip.resolution**2
    return {
        "top": list(grids.top),
        "bottom": list(grids.bottom),
        "prefix_top": [grids.prefix_top, *grids.top[1:]],
        "prefix_bottom": [grids.prefix_bottom, *grids.bottom[1:]],
        "a_window": window,
        "bytes_a_window": math.ceil(bits / 8),
        "share_of_pixel_bits": round(bits / (pixels * 24), 4),
        "drawn_top": math.prod(grids.predicted_top),
        "drawn_bottom": math.prod(grids.predicted_bottom),
        "drawn_a_window": math.prod(grids.predicted_top) + math.prod(grids.predicted_bottom),
    }


def shown(value: int | float | list[int]) -> str:
    """How a size is written for a reader: `463,659,520`, `0.0132`, `8 x 64 x 64 x 128`."""
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return f"{value:,}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__.splitlines()[0])
    parser.add_argument("--params", default="presets/kinetics600.yaml", help="parameters file")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.params)
    except VqcastError as error:
        sys.exit(f"sizes: {error}")
    report = sizes(settings)
    window, size = settings.window, settings.clip.resolution
    print(f"{arguments.params}: windows of {window.frames} frames of {size} x {size}, {window.given} given")
    for section, figures in report.items():
        print(f"\n{section}")
        for name, value in figures.items():
            print(f"  {name:<42}{shown(value):>22}")
    print(json.dumps({"params": arguments.params, **report}))


if __name__ == "__main__":
    main()
