"""Train the VQ-VAE that turns a window into two levels of codes."""

from pathlib import Path

from vqcast.clips.windows import Clips, WindowDataset
from vqcast.codes.models import save_vqvae
from vqcast.settings.params import load_settings
from vqcast.training.publish import train_and_publish
from vqcast.training.ranks import on_all_ranks
from vqcast.training.vqvae import VqvaeTask
from vqcast.work.environment import reading_threads
from vqcast.work.files import open_scratch
from vqcast.work.stage import run_stage, stage_parser


def main() -> None:
    arguments = stage_parser(
        "train_vqvae",
        __doc__,
        "clips",
        "manifest",
        out="model folder to write",
        curves="folder of learning curves to write",
    ).parse_args()
    settings = load_settings()
    sections = [settings.clip, settings.window, settings.vqvae, settings.expectation, settings.train_vqvae]
    scratch = open_scratch("train_vqvae", sections, [arguments.manifest])

    def train() -> None:
        clips = Clips(arguments.clips, arguments.manifest)
        train_windows, val_windows = (
            WindowDataset(clips, clips.windows(split, settings.window), settings.window.frames)
            for split in ("train", "val")
        )
        task = VqvaeTask(
            settings.vqvae,
            settings.expectation,
            settings.window,
            settings.train_vqvae,
            train_windows,
            val_windows,
            reading_threads(),
        )

        def save(model: Path) -> None:
            save_vqvae(model, task.network, settings.clip.resolution)

        train_and_publish(
            "train_vqvae",
            task,
            settings.train_vqvae,
            scratch,
            save,
            arguments.out,
            arguments.curves,
        )

    on_all_ranks("train_vqvae", settings.train_vqvae, train)


if __name__ == "__main__":
    run_stage(main)
