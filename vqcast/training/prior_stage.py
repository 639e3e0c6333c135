"""What the two stages that train a prior do: they train it on latent shards alone."""

import argparse
from pathlib import Path

import numpy as np
from torch.utils.data import Subset

from vqcast.clips.tuning import chosen_on
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
    tuning_share: float,
) -> None:
    """Train the prior `kind` as `task_of` says, on every rank; resumable.

    What is best on the `tuning_share` of the validation videos is kept.
    """
    stage = f"train_{kind}"
    inputs = [f"{arguments.latents}/manifest.json"]
    scratch = open_scratch(stage, [settings, training, tuning_share], inputs)

    def train() -> None:
        latents, validation = (Latents(arguments.latents, split) for split in ("train", "val"))
        tuning = np.flatnonzero(chosen_on(validation.window_ids(), tuning_share))
        some = Subset(validation, tuning.tolist()) if len(tuning) else validation
        task = task_of(settings, training, latents, some)

        def save(model: Path) -> None:
            save_prior(model, task.trained, kind, settings, latents.manifest)

        train_and_publish(stage, task, training, scratch, save, arguments.out, arguments.curves)

    on_all_ranks(stage, training, train)
