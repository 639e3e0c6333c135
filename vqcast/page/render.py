"""The page: figures, curves and pictures put into templates that escape whatever they are given."""

from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from vqcast.codes.latents import Latents
from vqcast.measures.codes import slice_counts
from vqcast.measures.known import MEASURES, Measure
from vqcast.page.charts import Series, frequency_chart, line_chart
from vqcast.page.credits import web_address
from vqcast.page.curves import read_curves
from vqcast.page.gallery import Shown
from vqcast.page.pictures import Pictures
from vqcast.page.provenance import Provenance
from vqcast.page.strips import heat_uri, strip_uri
from vqcast.page.verdict import headline, saving, sentences
from vqcast.settings.data import Window

NETWORKS = {"vqvae": "VQ-VAE", "top_prior": "Top prior", "bottom_prior": "Bottom prior"}
METRIC_NAMES = {
    "fvd": "FVD",
    "frechet_random_i3d": "Fréchet distance by I3D with random weights",
    "frechet_transnet": "Fréchet distance by TransNet V2",
}
SYSTEMS = {
    "model": "Prediction",
    "reconstruction": "Reconstruction",
    "repeat_last_frame": "Last frame repeated",
    "expectation": "Expectation, without codes",  # where the VQ-VAE sees the given frames
}

EXPECTED = {
    "frames": "expected of the given frames, without codes",
    "moved": "moved, a colour a direction",
    "new": "white where pixels are new",
    "added": "what the codes of prediction 1 change, four times as strong",
}


@dataclass(frozen=True)
class Entry:
    """A window of the gallery, its frames, and the CREDITS of its clip."""

    shown: Shown
    window: str  # its id
    pictures: Pictures
    credits: dict


@dataclass(frozen=True)
class Content:
    """All that the page shows."""

    figures: dict
    curves: str | Path  # folder of learning curves
    latents: Latents
    rows: np.ndarray  # (N,), of the latents: the windows that were predicted
    nll_bits: dict[str, np.ndarray]  # by level, (T, H, W) of the predicted positions
    window: Window
    rule: list[str]  # how the windows were chosen
    gallery: list[Entry]
    scored: int  # predictions of each window that were scored
    provenance: Provenance


def render_page(templates: str | Path, content: Content) -> str:
    """The whole page as HTML; equal inputs give equal bytes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    figures, window, levels = content.figures, content.window, tuple(content.nll_bits)
    predicted = np.zeros(len(content.latents), bool)
    predicted[content.rows] = True
    counts = slice_counts(content.latents, predicted)
    metric = figures["protocol"]["frechet"]["metric"]
    groups = _groups(figures)
    return environment.get_template("index.html.j2").render(
        figures=figures,
        metric=metric,
        metric_name=METRIC_NAMES[metric],
        metric_names=METRIC_NAMES,
        headline=headline(figures),
        sentences=sentences(figures),
        savings={level: saving(prior) for level, prior in figures["priors"].items()},
        systems=_systems(figures),
        names={**SYSTEMS, "true": "Truth"},
        groups=groups,
        measures=[_measures(group) for _, group in groups],
        tables=_tables(figures["table_2"]),
        calibration={level: _rank_chart(level, figures["priors"][level]["ranks"]) for level in levels},
        levels=levels,
        codebook=content.latents.manifest.codes,
        window=window,
        stills=_stills(window),
        rule=content.rule,
        gallery=[_entry(number, entry, window.given) for number, entry in enumerate(content.gallery, 1)],
        scored=content.scored,
        frame_charts=[(name, _frame_chart(name, group)) for name, group in groups],
        code_charts={level: _code_chart(level, counts[level].sum(0)) for level in levels},
        likelihood={level: _likelihood(level, content) for level in levels},
        curves=[
            (name, _curve_charts(Path(content.curves) / folder, name)) for folder, name in NETWORKS.items()
        ],
        provenance=content.provenance,
    )


def _measures(group: dict) -> list[tuple[Measure, list[tuple[str, str]], tuple[str, str]]]:
    """A row a measure: what it is, each system's figure with its interval, and what the model has more than
    the repeated frame."""
    rows = []
    for key, measure in MEASURES.items():
        if key not in group["model"]:
            continue
        cells = [
            _with_interval(group[system].get(key), group["intervals"][system].get(key), measure.form)
            for system in _systems(group)
        ]
        lead = group["lead"].get(key, {"difference": None, "interval": None})
        form = f"+{measure.form.removeprefix('#')}" if measure.form[0] == "." else "+#.2g"
        rows.append((measure, cells, _with_interval(lead["difference"], lead["interval"], form)))
    return rows


def _with_interval(value: float | None, interval: list[float] | None, form: str) -> tuple[str, str]:
    """A figure, and the interval that it lies in, if there is one."""
    return _figure(value, form), " … ".join(_figure(end, form) for end in interval or [])


def _tables(rows: list[dict]) -> dict[str, list[dict]]:
    """The rows of the paper's Table 2, by what the distance is called."""
    metrics = dict.fromkeys(row["metric"] for row in rows)
    return {metric: [row for row in rows if row["metric"] == metric] for metric in metrics}


def _rank_chart(level: str, shares: list[float]) -> str:
    middles = [(number + 0.5) / len(shares) for number in range(len(shares))]
    lines = [
        Series("True codes", "s-model", middles, shares),
        Series("Calibrated", "s-repeat_last_frame", [0, 1], [1 / max(len(shares), 1)] * 2),
    ]
    return line_chart(lines, f"Rank of the true {level} code", "rank, the likeliest 0", "share")


def _systems(figures: dict) -> dict[str, str]:
    """What each system that there are figures of is called."""
    return {system: label for system, label in SYSTEMS.items() if system in figures}


def _groups(figures: dict) -> list[tuple[str, dict]]:
    """The windows that figures are given over: all, and those that move where that is another set."""
    moving, below = figures["moving"], figures["protocol"]["moving_below_psnr"]
    groups = [(f"All {figures['windows']} windows", figures)]
    if 0 < moving["windows"] < figures["windows"]:
        groups.append((f"The {moving['windows']} that move (repeated frame under {below:g} dB)", moving))
    return groups


def _stills(window: Window) -> list[int]:
    """Predicted frames, from 0, that the paper's figures 1, 4 and 5 show: of 16, the 9th and the 16th."""
    return sorted({max(window.frames // 2, window.given), window.frames - 1})


def _entry(number: int, entry: Entry, given: int) -> dict:
    """One window of the gallery: its pictures, scores, label, licence and where it comes from."""
    pictures, credits = entry.pictures, entry.credits
    strips = {
        "true": pictures.true,
        "reconstructed": pictures.reconstructed,
        "top": pictures.from_top,
        **{f"predicted-{n}": video for n, video in enumerate(pictures.predicted, 1)},
        **{f"expected-{kind}": frames for kind, frames in pictures.expected.items()},
    }
    return {
        "kind": entry.shown.kind,
        "rank": entry.shown.rank,
        "psnr": entry.shown.psnr,
        "predictions": [pictures.psnr(n, given) for n in range(len(pictures.predicted))],
        "id": entry.window,
        "video": credits["video"],
        "label": credits["label"] or "no label",
        "licence": credits["licence"],
        "attribution": credits["attribution"],
        "url": web_address(credits["url"]),
        "css": f"w{number}",
        "expected": {kind: name for kind, name in EXPECTED.items() if kind in pictures.expected},
        "strips": {kind: strip_uri(frames) for kind, frames in strips.items()},
    }


def _frame_chart(name: str, figures: dict) -> str:
    lines = []
    for system, label in _systems(figures).items():
        values = figures[system]["psnr_by_frame"]
        lines.append(Series(label, f"s-{system}", range(1, len(values) + 1), values))
    return line_chart(lines, f"PSNR of each predicted frame, {name}", "predicted frame", "PSNR, dB")


def _code_chart(level: str, counts: np.ndarray) -> str:
    return frequency_chart((counts / counts.sum()).tolist(), "s-model", f"Use of the {level} codes")


def _likelihood(level: str, content: Content) -> dict:
    """NLL over position: a line in the order of generation, row by row, and a map of each slice."""
    bits = content.nll_bits[level]
    slices, rows, _ = bits.shape
    first = getattr(content.latents.manifest.grids, f"prefix_{level}") + 1  # slices are counted from 1
    x = [first + number / rows for number in range(slices * rows)]
    entropy = content.figures["priors"][level]["unigram_entropy_bits"]
    lines = [Series("Prior's NLL", "s-model", x, bits.mean(axis=2).ravel().tolist())]
    if entropy is not None:
        lines.append(Series("Unigram entropy", "s-repeat_last_frame", [x[0], x[-1]], [entropy, entropy]))
    title = f"NLL of the {level} codes, row by row of each predicted slice"
    return {
        "chart": line_chart(lines, title, "slice of the window", "bits a code"),
        "map": heat_uri(bits),
        "slices": list(range(first, first + slices)),
        "lowest": float(bits.min()),
        "highest": float(bits.max()),
    }


def _curve_charts(folder: Path, network: str) -> list[tuple[str, list[Series], str]]:
    charts = read_curves(folder)
    return [
        (name.replace("_", " "), lines, line_chart(lines, f"{network}: {name.replace('_', ' ')}", "step", ""))
        for name, lines in charts.items()
    ]


def _figure(value: float | None, form: str = ".2f") -> str:
    """A number for a reader, a dash where there is none."""
    return "–" if value is None else format(value, form)
