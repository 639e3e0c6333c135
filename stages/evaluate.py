"""Score predictions, other systems', reconstructions and the repeated last frame; the codes; the priors."""

import json
import sys

from vqcast.features.features import open_features
from vqcast.metrics.evaluation import evaluate
from vqcast.metrics.scores import Scoring
from vqcast.settings.params import load_settings
from vqcast.work.files import appearing, clear_scratch, open_scratch, publish_directory
from vqcast.work.stage import run_stage, stage_parser


def main() -> None:
    arguments = stage_parser(
        "evaluate",
        __doc__,
        "clips",
        "manifest",
        "latents",
        "vqvae",
        "top_prior",
        "bottom_prior",
        "samples",
        systems="folder of other systems' predictions",
        features="folder of features to write",
        out="JSON file of figures to write",
        windows="table to write: a row a window, its scores",
        positions="table to write: a row a position, its codes' NLL",
    ).parse_args()
    settings = load_settings()
    scoring = Scoring(
        arguments.clips,
        arguments.manifest,
        arguments.latents,
        arguments.vqvae,
        arguments.top_prior,
        arguments.bottom_prior,
        arguments.samples,
        arguments.systems,
        settings.window,
        settings.evaluate,
    )
    spaces = open_features(settings.evaluate)
    identity = [
        settings.window,
        settings.evaluate,
        scoring.check(),
        [space.weights_sha256 for space in spaces],
    ]
    scratch = open_scratch("evaluate", identity, scoring.inputs())
    evaluation = evaluate(scoring, spaces, scratch)
    print(
        f"{len(evaluation.refs)} windows: {evaluation.scoring_seconds:.0f} s for scores and features, "
        f"{evaluation.comparing_seconds:.0f} s for distances",
        file=sys.stderr,
    )
    publish_directory(evaluation.features, arguments.features)
    evaluation.write_tables(arguments.windows, arguments.positions)
    with appearing(arguments.out) as partial:
        partial.write_text(json.dumps(evaluation.figures, indent=1, sort_keys=True) + "\n")
    clear_scratch("evaluate")


if __name__ == "__main__":
    run_stage(main)
