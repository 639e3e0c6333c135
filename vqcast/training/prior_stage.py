"""What the two stages that train a prior do: they train it on latent shards alone."""

import argparse
from pathlib import Path

from vqcast.codes.latents import Latents
from vqcast.codes.models import save_prior
from vqcast.settings.networks import Prior
from vqcast.settings.training import PriorTraining
from vqcast.training.priors import PriorTask
from vqcast.training.publish import train_and_publish
from vqcast.training.ranks import on_all_ranks
from vqcast.work.files import open_scratch
from vqcast.work.stage import stage_parser


def prior_arguments(kind: str, about: str) -> argparse.Namespace:
    """The command line of the stage that trains the prior `kind`: top_prior or bottom_prior."""
    return stage_parser(
        f"train_{kind}",
        about,
        "latents",
        out="model folder to write",
        curves="folder of learning curves to write",
    ).parse_args()


def train_prior(
    kind: str,
    arguments: argparse.Namespace,
    task_of: type[PriorTask],
    settings: Prior,
    training: PriorTraining,
) -> None:
    """Train the prior `kind` as `task_of` says, on every rank; resumable. What validated best is kept."""
    stage = f"train_{kind}"
    scratch = open_scratch(stage, [settings, training], [f"{arguments.latents}/manifest.json"])

    def train() -> None:
        latents, validation = (Latents(arguments.latents, split) for split in ("train", "val"))
        task = task_of(settings, training, latents, validation)

        def save(model: Path) -> None:
            save_prior(model, task.trained, kind, settings, latents.manifest)

        train_and_publish(stage, task, training, scratch, save, arguments.out, arguments.curves)

    on_all_ranks(stage, training, train)
