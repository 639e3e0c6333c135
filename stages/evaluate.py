"""Score predictions, reconstructions and the repeated last frame; the codes; the priors."""

import argparse
import json
from pathlib import Path

import numpy as np

from vqcast.files import appearing, clear_scratch, open_scratch
from vqcast.latents import LatentManifest
from vqcast.metrics.features import RandomI3D
from vqcast.metrics.scores import Scoring, score_windows, scores_by_system
from vqcast.metrics.summary import Evaluation, protocol, rounded
from vqcast.metrics.table import write_table
from vqcast.models import check_same_vqvae
from vqcast.settings import load_settings
from vqcast.stage import run_stage


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

    models = (arguments.vqvae, arguments.top_prior, arguments.bottom_prior)
    places = (arguments.clips, arguments.manifest, arguments.latents, *models, arguments.samples)
    scoring = Scoring(*places, settings.window, settings.evaluate)
    check_same_vqvae(LatentManifest.read(arguments.latents), *models)
    windows = scoring.open_windows()
    inputs = [arguments.manifest, f"{arguments.latents}/manifest.json"]
    inputs += [f"{folder}/config.json" for folder in models]
    inputs += sorted(Path(arguments.samples).glob("samples-*.arrow"))
    scratch = open_scratch("evaluate", [settings.window, settings.evaluate], inputs)

    evaluate = settings.evaluate
    scored = score_windows(scoring, len(windows), scratch)
    scores = scores_by_system(scored)
    nll_bits = {level: scored[f"{level}.nll_bits"] for level in ("top", "bottom")}
    features = RandomI3D(evaluate.resolution, evaluate.precision)
    shape = windows.samples.video_shape
    pixels = settings.window.frames * shape[1] * shape[2]
    true_features = scored["true.features"]
    evaluation = Evaluation(true_features, scores, windows.latents, nll_bits, features.metric, pixels)
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
