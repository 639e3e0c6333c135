"""Whether a new model may take the place of the promoted one."""

import math
from dataclasses import dataclass

from vqcast.errors import VqcastError
from vqcast.measures.known import MEASURES
from vqcast.metrics.figures import numbers

CODEBOOK_USED = "usage"  # the last part of the name of a figure of which more is better, and no measure


@dataclass(frozen=True)
class Verdict:
    promote: bool
    sentence: str
    details: str  # Markdown: the sentence, and all figures of both side by side


def compare(new: dict, promoted: dict, metric: str | None, margin: float) -> Verdict:
    """Judge by `metric`, the dotted name of a figure in reports/evaluate.json, of both models.

    The default is the Frechet distance of the model, by the name that the protocol gives it. The new model
    may be worse by `margin`, a share of the promoted one's figure. Raises VqcastError where the figures
    cannot be compared: other windows, or another protocol.
    """
    metric = metric or _frechet(new)
    if new.get("protocol") != promoted.get("protocol") or new.get("windows") != promoted.get("windows"):
        raise VqcastError("the new model and the promoted one were not judged by the same protocol")
    figures = {"new": numbers(new), "promoted": numbers(promoted)}
    values = {}
    for which, found in figures.items():
        if metric not in found:
            raise VqcastError(f"the evaluation of the {which} model has no figure {metric}")
        values[which] = float(found[metric])
    higher = _higher_is_better(metric)
    allowed = margin * abs(values["promoted"])
    loss = values["promoted"] - values["new"] if higher else values["new"] - values["promoted"]
    promote = math.isfinite(loss) and loss <= allowed
    sentence = (
        f"{'promoted' if promote else 'not promoted'}: on the same {new.get('windows', 0)} validation "
        f"windows, {metric} of the new model is {values['new']:g}, of the promoted one "
        f"{values['promoted']:g}; {'higher' if higher else 'lower'} is better, and {margin:.1%} worse is "
        "allowed"
    )
    rows = [
        f"| {name} | {figures['new'][name]:g} | {figures['promoted'][name]:g} |"
        for name in figures["new"]
        if name in figures["promoted"]
    ]
    table = "\n".join(["| figure | new | promoted |", "|---|---|---|", *rows])
    return Verdict(promote, sentence, f"{sentence}\n\n{table}\n")


def _frechet(figures: dict) -> str:
    try:
        return f"model.{figures['protocol']['frechet']['metric']}"
    except KeyError:
        raise VqcastError("the evaluation does not say what its Frechet distance is called") from None


def _higher_is_better(metric: str) -> bool:
    """Whether more of a figure is better; of all that is no measure of videos, but for usage, less is."""
    name = metric.rpartition(".")[2]
    measure = MEASURES.get(name)
    if measure and measure.higher_is_better is None:
        raise VqcastError(f"a model is not better by more or by less of {metric}")
    return measure.higher_is_better if measure else name == CODEBOOK_USED
