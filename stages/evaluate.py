"""Score predictions, reconstructions and the repeated last frame; the codes; the priors."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from vqcast.execution import threads
from vqcast.files import appearing, clear_scratch, open_scratch
from vqcast.latents import Latents
from vqcast.likelihood import validation_nll_bits
from vqcast.metrics.features import RandomI3D
from vqcast.metrics.scores import ValidationWindows, score_windows
from vqcast.metrics.summary import Evaluation, protocol, rounded
from vqcast.metrics.table import write_table
from vqcast.models import check_same_vqvae, load_bottom_prior, load_top_prior, load_vqvae
from vqcast.sampling.store import Samples
from vqcast.settings import load_settings
from vqcast.stage import run_stage
from vqcast.video.windows import Clips


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--clips", required=True, help="folder of clip shards")
    parser.add_argument("--manifest", required=True, help="table of the clips")
    parser.add_argument("--latents", required=True, help="folder of latent shards")
    parser.add_argument("--vqvae", required=True, help="model folder of the VQ-VAE")
    parser.add_argument("--top-prior", required=True, help="model folder of the top prior")
    parser.add_argument("--bottom-prior", required=True, help="model folder of the bottom prior")
    parser.add_argument("--samples", required=True, help="folder of samples")
    parser.add_argument("--out", required=True, help="JSON file of figures to write")
    parser.add_argument("--windows", required=True, help="table to write: a row a window, its scores")
    arguments = parser.parse_args()
    settings = load_settings()
    torch.set_num_threads(threads())

    models = (arguments.vqvae, arguments.top_prior, arguments.bottom_prior)
    latents = Latents(arguments.latents, "val")
    check_same_vqvae(latents.manifest, *models)
    windows = ValidationWindows(
        Clips(arguments.clips, arguments.manifest),
        latents,
        load_vqvae(arguments.vqvae),
        Samples(arguments.samples),
        settings.window,
    )
    inputs = [arguments.manifest, f"{arguments.latents}/manifest.json"]
    inputs += [f"{folder}/config.json" for folder in models]
    inputs += sorted(Path(arguments.samples).glob("samples-*.arrow"))
    scratch = open_scratch("evaluate", [settings.window, settings.evaluate], inputs)

    evaluate, batch_size = settings.evaluate, settings.evaluate.batch_size
    features = RandomI3D(evaluate.resolution, evaluate.precision)
    true_features, scores = score_windows(windows, features, evaluate.frames, batch_size, scratch)
    nll_bits = {
        "top": validation_nll_bits(load_top_prior(arguments.top_prior), latents, batch_size),
        "bottom": validation_nll_bits(load_bottom_prior(arguments.bottom_prior), latents, batch_size),
    }
    shape = windows.samples.video_shape
    pixels = settings.window.frames * shape[1] * shape[2]
    evaluation = Evaluation(true_features, scores, latents, nll_bits, features.metric, pixels)
    moving = evaluation.moving(evaluate.moving_below_psnr)
    figures = evaluation.figures(np.ones(len(windows), bool))
    figures["moving"] = evaluation.figures(moving)
    samples_per_window = windows.samples.samples_per_window
    figures["protocol"] = protocol(evaluate, settings.window, samples_per_window, features)

    write_table(arguments.windows, windows.refs, scores, moving)
    with appearing(arguments.out) as partial:
        partial.write_text(json.dumps(rounded(figures), indent=1, sort_keys=True) + "\n")
    clear_scratch("evaluate")


if __name__ == "__main__":
    run_stage(main)
