"""Score predictions, other systems', reconstructions and the repeated last frame; the codes; the priors."""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from vqcast.codes.latents import LatentManifest
from vqcast.codes.models import check_same_vqvae
from vqcast.metrics.comparison import FeatureFolder, table_2
from vqcast.metrics.features import open_features
from vqcast.metrics.scores import SUMS, Scoring, score_windows, scores_by_system, sizes_of
from vqcast.metrics.summary import Evaluation, protocol, rounded
from vqcast.metrics.table import write_positions, write_table
from vqcast.settings.params import load_settings
from vqcast.work.files import appearing, clear_scratch, open_scratch, publish_directory
from vqcast.work.stage import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--clips", required=True, help="folder of clip shards")
    parser.add_argument("--manifest", required=True, help="table of the clips")
    parser.add_argument("--latents", required=True, help="folder of latent shards")
    parser.add_argument("--vqvae", required=True, help="model folder of the VQ-VAE")
    parser.add_argument("--top-prior", required=True, help="model folder of the top prior")
    parser.add_argument("--bottom-prior", required=True, help="model folder of the bottom prior")
    parser.add_argument("--samples", required=True, help="folder of samples")
    parser.add_argument("--systems", required=True, help="folder of other systems' predictions")
    parser.add_argument("--features", required=True, help="folder of I3D features to write")
    parser.add_argument("--out", required=True, help="JSON file of figures to write")
    parser.add_argument("--windows", required=True, help="table to write: a row a window, its scores")
    parser.add_argument("--positions", required=True, help="table to write: a row a position, its codes' NLL")
    arguments = parser.parse_args()
    settings = load_settings()

    models = (arguments.vqvae, arguments.top_prior, arguments.bottom_prior)
    places = (
        arguments.clips,
        arguments.manifest,
        arguments.latents,
        *models,
        arguments.samples,
        arguments.systems,
    )
    scoring = Scoring(*places, settings.window, settings.evaluate)
    check_same_vqvae(LatentManifest.read(arguments.latents), *models)
    windows = scoring.open_windows()
    inputs = [arguments.manifest, f"{arguments.latents}/manifest.json"]
    inputs += [f"{folder}/config.json" for folder in models]
    inputs += sorted(Path(arguments.samples).glob("samples-*.arrow"))
    others = scoring.open_others()
    identity = [name_and_hash for other in others for name_and_hash in other.identity()]
    evaluate = settings.evaluate
    features = open_features(evaluate)
    scratch = open_scratch("evaluate", [settings.window, evaluate, identity, features.weights_sha256], inputs)

    start = time.perf_counter()
    scored, folder = score_windows(scoring, len(windows), scratch)
    scored_after = time.perf_counter() - start
    scores = scores_by_system(scored)
    nll_bits = {level: scored[f"{level}.nll_bits"] for level in ("top", "bottom")}
    size = windows.samples.video_shape[1]
    evaluation = Evaluation(
        FeatureFolder(folder),
        scores,
        windows.latents,
        windows.rows,
        nll_bits,
        features.metric,
        settings.window.frames,
        size,
    )
    moving = evaluation.moving(evaluate.moving_below_psnr)
    figures = evaluation.figures(np.ones(len(windows), bool))
    figures["moving"] = evaluation.figures(moving)
    about = {system.name: system.about for system in evaluate.systems}
    figures["table_2"] = table_2(evaluation.features, windows.refs, evaluate.folds, about)
    samples_per_window, sizes = windows.samples.samples_per_window, sizes_of(size, evaluate.sizes)
    figures["protocol"] = protocol(evaluate, settings.window, samples_per_window, sizes, features)
    taken = time.perf_counter() - start - scored_after
    print(
        f"{len(windows)} windows: {scored_after:.0f} s for scores and features, {taken:.0f} s for distances",
        file=sys.stderr,
    )

    publish_directory(folder, arguments.features)
    write_table(arguments.windows, windows.refs, scores, moving)
    grids = windows.latents.manifest.grids
    by_position = {level: scored[f"{SUMS}/{level}.nll_bits"] / len(windows) for level in nll_bits}
    prefix = {level: getattr(grids, f"prefix_{level}") for level in nll_bits}
    write_positions(arguments.positions, by_position, prefix)
    with appearing(arguments.out) as partial:
        partial.write_text(json.dumps(rounded(figures), indent=1, sort_keys=True) + "\n")
    clear_scratch("evaluate")


if __name__ == "__main__":
    run_stage(main)
