"""The incremental sampler against full forward passes and against the speed of memory, on CPU.

    python -m benchmarks.sampling

top_speedup, bottom_speedup   codes/s of the incremental sampler over those of a sampler that runs the whole
                              network for every code; the paper's grids, batch 16, smaller networks
bandwidth_share               codes/s at batch 1 times the bytes of all weights in float32, over the bytes/s
                              of a large float32 matrix-vector product; beyond 1 is possible, because weights
                              of the vertical stack are read once a row
bandwidth_share_bf16          the same with the sampler and its weights in bfloat16
codes_per_s                   by batch size, in float32 where it does not say bf16
batch16_share                 codes/s at batch 16 over 1600, in proportion to a machine of 27 GB/s
batch16_share_bf16            the same in bfloat16

The incremental sampler is timed on rows in the middle of the grid, drawing included. Times are medians of
interleaved repeats.
"""

import json
import os

import torch

from benchmarks.measure import MATRIX_BYTES, interleaved_medians, matrix_vector_product
from vqcast.networks.pixelcnn import Kernels, PixelCNN
from vqcast.sampling.draw import draw
from vqcast.sampling.incremental import Generation, Sampler
from vqcast.settings.params import load_settings
from vqcast.work.environment import cores, prepare_networks

CODES = 512
SMALL = dict(hidden=64, residual=128, layers=5, attention_every=5, heads=4, dropout=0.0)
TOP_GRID, BOTTOM_GRID = (3, 32, 32), (1, 64, 64)  # of 16 frames of 256 pixels
LARGE = dict(hidden=256, residual=512, layers=12, attention_every=5, heads=8, dropout=0.0)
LARGE_GRID = (3, 16, 16)  # the top grid at 128 pixels
REPEATS = 15


def network(grid: tuple[int, int, int], kernels: Kernels, sizes: dict) -> PixelCNN:
    torch.manual_seed(0)
    return PixelCNN(CODES, grid, kernels, sizes["hidden"], **sizes).eval()


class MiddleRow:
    """Draws a row in the middle of the grid."""

    def __init__(self, prior: PixelCNN, batch: int, dtype: torch.dtype = torch.float32):
        time, height, width = prior.grid
        device = prior.row.device
        condition = torch.randn(batch, *prior.grid, prior.row.shape[1], device=device)
        uniforms = torch.rand(batch, dtype=torch.float64, device=device)
        settings = load_settings("presets/kinetics600.yaml").sample
        self.generation = Generation(
            Sampler(prior, dtype), condition, lambda number, logits: draw(logits, uniforms, settings)
        )
        self.codes, self.place = batch * width, (time // 2, height // 2)

    def __call__(self) -> None:
        self.generation.row(*self.place)


def speedup(prior: PixelCNN, batch: int = 16) -> float:
    row = MiddleRow(prior, batch)
    codes = torch.randint(CODES, (batch, *prior.grid))
    condition = torch.randn(*codes.shape, prior.row.shape[1])

    @torch.inference_mode()
    def full() -> None:
        prior(codes, condition)

    seconds = interleaved_medians({"incremental": row, "full": full}, REPEATS)
    return seconds["full"] / batch / (seconds["incremental"] / row.codes)


def large_prior() -> dict[str, object]:
    prior = network(LARGE_GRID, Kernels.over_time(3), LARGE)
    parameters = sum(parameter.numel() for parameter in prior.parameters())
    rows = {
        "1": MiddleRow(prior, 1),
        "16": MiddleRow(prior, 16),
        "64": MiddleRow(prior, 64),
        "1 bf16": MiddleRow(prior, 1, torch.bfloat16),
        "16 bf16": MiddleRow(prior, 16, torch.bfloat16),
    }
    seconds = interleaved_medians({"memory": matrix_vector_product(), **rows}, REPEATS)
    rate = MATRIX_BYTES / seconds["memory"]
    codes_per_s = {name: row.codes / seconds[name] for name, row in rows.items()}
    shares = {name: codes / (1600 * rate / 27e9) for name, codes in codes_per_s.items()}
    return {
        "bandwidth_share": codes_per_s["1"] * parameters * 4 / rate,
        "bandwidth_share_bf16": codes_per_s["1 bf16"] * parameters * 2 / rate,
        "codes_per_s": codes_per_s,
        "batch16_share": shares["16"],
        "batch16_share_bf16": shares["16 bf16"],
        "matrix_vector_gb_per_s": rate / 1e9,
        "parameters": parameters,
    }


def main() -> None:
    os.environ["VQCAST_THREADS"] = str(cores())
    prepare_networks()
    print(f"speedups: {SMALL}, {TOP_GRID} and {BOTTOM_GRID}, batch 16", flush=True)
    print(f"large prior: {LARGE}, {LARGE_GRID}", flush=True)
    figures = {
        "top_speedup": speedup(network(TOP_GRID, Kernels.over_time(3), SMALL)),
        "bottom_speedup": speedup(network(BOTTOM_GRID, Kernels.one_slice(5), SMALL)),
        **large_prior(),
    }
    print(json.dumps(figures, default=float))


if __name__ == "__main__":
    main()
