"""Continue the given frames of the validation windows: codes first, then the predicted frames."""

from vqcast.codes.latents import Latents
from vqcast.codes.models import check_same_vqvae
from vqcast.sampling.windows import Sampling, chosen_windows, sample_windows
from vqcast.settings.params import load_settings
from vqcast.work.files import clear_scratch, open_scratch, publish_directory
from vqcast.work.stage import run_stage, stage_parser


def main() -> None:
    arguments = stage_parser(
        "sample",
        __doc__,
        "clips",
        "manifest",
        "latents",
        "vqvae",
        "top_prior",
        "bottom_prior",
        out="folder of samples to write",
    ).parse_args()
    settings = load_settings()
    models = (arguments.vqvae, arguments.top_prior, arguments.bottom_prior)
    inputs = [arguments.manifest, f"{arguments.latents}/manifest.json"]
    inputs += [f"{folder}/config.json" for folder in models]
    scratch = open_scratch("sample", [settings.window, settings.sample], inputs)

    latents = Latents(arguments.latents, "val")
    check_same_vqvae(latents.manifest, *models)
    places = (arguments.clips, arguments.manifest, arguments.latents, *models)
    sampling = Sampling(*places, settings.window, settings.sample)
    windows = chosen_windows(list(latents.window_ids()), settings.sample.windows)
    folder = sample_windows(sampling, windows, scratch)
    publish_directory(folder, arguments.out)
    clear_scratch("sample")


if __name__ == "__main__":
    run_stage(main)
