"""Train the bottom prior on latent shards alone."""

from vqcast.settings.params import load_settings
from vqcast.training.prior_stage import prior_arguments, train_prior
from vqcast.training.priors import BottomPriorTask
from vqcast.work.stage import run_stage


def main() -> None:
    arguments = prior_arguments("bottom_prior", __doc__)
    settings = load_settings()
    train_prior(
        "bottom_prior", arguments, BottomPriorTask, settings.bottom_prior, settings.train_bottom_prior
    )


if __name__ == "__main__":
    run_stage(main)
