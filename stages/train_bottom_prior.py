"""Train the bottom prior on latent shards alone."""

import argparse
from pathlib import Path

from vqcast.codes.latents import Latents
from vqcast.codes.models import save_prior
from vqcast.settings.params import load_settings
from vqcast.training.priors import BottomPriorTask
from vqcast.training.publish import train_and_publish
from vqcast.training.ranks import on_all_ranks
from vqcast.work.files import open_scratch
from vqcast.work.stage import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.train_bottom_prior", description=__doc__)
    parser.add_argument("--latents", required=True, help="folder of latent shards")
    parser.add_argument("--out", required=True, help="model folder to write")
    parser.add_argument("--curves", required=True, help="folder of learning curves to write")
    arguments = parser.parse_args()
    settings = load_settings()
    sections = [settings.bottom_prior, settings.train_bottom_prior]
    scratch = open_scratch("train_bottom_prior", sections, [f"{arguments.latents}/manifest.json"])

    def train() -> None:
        latents, validation = (Latents(arguments.latents, split) for split in ("train", "val"))
        task = BottomPriorTask(settings.bottom_prior, settings.train_bottom_prior, latents, validation)

        def save(model: Path) -> None:
            save_prior(model, task.trained, "bottom_prior", settings.bottom_prior, latents.manifest)

        train_and_publish(
            "train_bottom_prior",
            task,
            settings.train_bottom_prior,
            scratch,
            save,
            arguments.out,
            arguments.curves,
        )

    on_all_ranks("train_bottom_prior", settings.train_bottom_prior, train)


if __name__ == "__main__":
    run_stage(main)
