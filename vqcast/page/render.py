"""The page: figures, curves and pictures put into a template that escapes whatever it is given."""

from pathlib import Path
from urllib.parse import urlsplit

import jinja2
import numpy as np

from vqcast.metrics.codes import slice_counts
from vqcast.metrics.scores import ValidationWindows
from vqcast.page.charts import Series, frequency_chart, line_chart
from vqcast.page.curves import read_curves
from vqcast.page.gallery import Shown, pictures
from vqcast.page.strips import strip_uri
from vqcast.page.verdict import headline, saving, sentences

NETWORKS = {"vqvae": "VQ-VAE", "top_prior": "Top prior", "bottom_prior": "Bottom prior"}
METRICS = {"fvd": "FVD"}  # names that stand for a protocol
SYSTEMS = {
    "model": "Prediction",
    "reconstruction": "Reconstruction",
    "repeat_last_frame": "Last frame repeated",
}


def render_page(
    template: str | Path,
    figures: dict,
    curves: str | Path,
    windows: ValidationWindows,
    shown: list[Shown],
    rule: str,
) -> str:
    """The whole page as HTML; equal inputs give equal bytes."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = _figure
    counts = slice_counts(windows.latents)
    page = environment.from_string(Path(template).read_text())
    return page.render(
        figures=figures,
        metric=figures["protocol"]["frechet"]["metric"],
        metric_name=METRICS.get(figures["protocol"]["frechet"]["metric"], "Fréchet distance"),
        headline=headline(figures),
        sentences=sentences(figures),
        savings={level: saving(prior) for level, prior in figures["priors"].items()},
        systems=SYSTEMS,
        groups=_groups(figures),
        codebook=windows.latents.manifest.codes,
        window=windows.window,
        gallery=[_entry(windows, one) for one in shown],
        rule=rule,
        frame_charts=[(name, _frame_chart(name, group)) for name, group in _groups(figures)],
        code_charts={level: _code_chart(level, of_level.sum(0)) for level, of_level in counts.items()},
        curves=[(name, _curve_charts(Path(curves) / folder, name)) for folder, name in NETWORKS.items()],
    )


def _groups(figures: dict) -> list[tuple[str, dict]]:
    """The windows that figures are given over: all, and those that move where that is another set."""
    moving, below = figures["moving"], figures["protocol"]["moving_below_psnr"]
    groups = [(f"All {figures['windows']} windows", figures)]
    if 0 < moving["windows"] < figures["windows"]:
        groups.append((f"The {moving['windows']} that move (repeated frame under {below:g} dB)", moving))
    return groups


def _entry(windows: ValidationWindows, shown: Shown) -> dict:
    """One window of the gallery: its pictures, scores, label, licence and where it comes from."""
    ref = windows.refs[shown.number]
    row = windows.clips.row(ref.clip)
    frames = pictures(windows, shown.number)
    return {
        "rank": shown.rank,
        "psnr": shown.psnr,
        "id": ref.id,
        "label": ref.label or "no label",
        "licence": row["licence"],
        "attribution": row["attribution"],
        "url": _web_address(row["url"]),
        "strips": {
            "predicted": strip_uri(frames.predicted),
            "true": strip_uri(frames.true),
            "reconstructed": strip_uri(frames.reconstructed),
        },
    }


def _web_address(url: str | None) -> str | None:
    """`url` if it is one that a page may link to."""
    return url if url and urlsplit(url).scheme in ("http", "https") else None


def _frame_chart(name: str, figures: dict) -> str:

    lines = []
    for system, label in SYSTEMS.items():
        values = figures[system]["psnr_by_frame"]
        lines.append(Series(label, f"s-{system}", range(1, len(values) + 1), values))
    return line_chart(lines, f"PSNR of each predicted frame, {name}", "predicted frame", "PSNR, dB")


def _code_chart(level: str, counts: np.ndarray) -> str:
    return frequency_chart((counts / counts.sum()).tolist(), "s-model", f"Use of the {level} codes")


def _curve_charts(folder: Path, network: str) -> list[tuple[str, list[Series], str]]:
    charts = read_curves(folder)
    return [
        (name.replace("_", " "), lines, line_chart(lines, f"{network}: {name.replace('_', ' ')}", "step", ""))
        for name, lines in charts.items()
    ]


def _figure(value: float | None, form: str = ".2f") -> str:
    """A number for a reader, a dash where there is none."""
    return "–" if value is None else format(value, form)
