"""Make the page that a person looks at: verdict, figures, curves, and predictions that play."""

import json
from pathlib import Path

from vqcast.clips.windows import Clips
from vqcast.codes.latents import Latents
from vqcast.codes.models import check_same_vqvae, load_vqvae
from vqcast.errors import VqcastError
from vqcast.metrics.table import read_positions, read_windows
from vqcast.metrics.windows import ValidationWindows
from vqcast.page.credits import credits_of, may_be_shown
from vqcast.page.gallery import pick_typical, pick_windows, rule
from vqcast.page.pictures import draw_predictions, pictures
from vqcast.page.provenance import provenance
from vqcast.page.render import Content, Entry, render_page
from vqcast.page.strips import save_filmstrip
from vqcast.sampling.store import Samples
from vqcast.sampling.windows import Sampling
from vqcast.settings.params import load_settings
from vqcast.work.environment import prepare_networks
from vqcast.work.files import appearing, clear_scratch, open_scratch
from vqcast.work.stage import run_stage, stage_parser


def main() -> None:
    parser = stage_parser(
        "report",
        __doc__,
        "clips",
        "manifest",
        "latents",
        "vqvae",
        "top_prior",
        "bottom_prior",
        "samples",
        templates="folder of the page's templates",
        evaluate="JSON file of figures",
        windows="table of the scored windows",
        positions="table of the priors' NLL by position",
        curves="folder of learning curves",
        out="HTML file to write",
    )
    parser.add_argument("--picture", help="also write the typical window's filmstrip as a PNG to this path")
    arguments = parser.parse_args()
    settings = load_settings()
    shown, licences = settings.report, settings.report.licences

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
    figures = read_figures(arguments.evaluate)
    rows = read_windows(arguments.windows)
    if [row["window"] for row in rows] != windows.samples.windows:
        raise VqcastError(f"{arguments.windows} is of other windows than the samples; run evaluate again")
    credits = credits_of(windows.clips, windows.refs)
    allowed = [may_be_shown(credit["licence"], licences) for credit in credits]
    choice = pick_windows(rows, [credit["video"] for credit in credits], allowed, shown.windows)

    tables = [arguments.windows, f"{arguments.latents}/manifest.json"]
    configs = [f"{folder}/config.json" for folder in models]
    scratch = open_scratch("report", [settings.sample, shown], [*tables, *configs])
    places = (arguments.clips, arguments.manifest, arguments.latents, *models)
    sampling = Sampling(*places, settings.window, settings.sample)
    numbers = [one.number for one in choice.shown]
    prepare_networks()
    drawn = draw_predictions(windows, numbers, shown.predictions, sampling, scratch)
    gallery = [
        Entry(one, windows.refs[one.number].id, pictures(windows, one.number, videos), credits[one.number])
        for one, videos in zip(choice.shown, drawn, strict=True)
    ]
    content = Content(
        figures,
        arguments.curves,
        latents,
        windows.rows,
        read_positions(arguments.positions),
        settings.window,
        rule(choice, licences),
        gallery,
        min(windows.samples.samples_per_window, shown.predictions),
        provenance(
            arguments.manifest,
            arguments.latents,
            arguments.samples,
            arguments.evaluate,
            dict(zip(("vqvae", "top_prior", "bottom_prior"), models, strict=True)),
            {
                "train_vqvae": settings.train_vqvae.seed,
                "train_top_prior": settings.train_top_prior.seed,
                "train_bottom_prior": settings.train_bottom_prior.seed,
                "sample": settings.sample.seed,
            },
        ),
    )
    with appearing(arguments.out) as partial:
        partial.write_text(render_page(arguments.templates, content))
    if arguments.picture:
        typical = pick_typical(rows)
        (predictions,) = draw_predictions(windows, [typical], 1, sampling, scratch)
        frames = pictures(windows, typical, predictions)
        save_filmstrip(arguments.picture, [frames.predicted[0], frames.true], settings.window.given)
    clear_scratch("report")


def read_figures(path: str | Path) -> dict:
    """The figures that the evaluate stage wrote."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError):
        raise VqcastError(f"{path} is missing or damaged; run the evaluate stage again") from None


if __name__ == "__main__":
    run_stage(main)
