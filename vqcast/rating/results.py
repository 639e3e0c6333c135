"""What the judgements say: shares with intervals, agreement between raters, and a table for export.

Judgements of one rater are alike, so they count for less than as many of different raters. The variance of a
share is the sandwich estimate clustered by rater, with the factor G/(G-1) for G raters. The interval is Korn
and Graubard's (Survey Methodology 24, 1998): Clopper and Pearson's, of as many independent judgements as that
variance is worth. It stays within 0..1 and is of use with few raters, too.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import betaincinv, stdtrit  # scipy.stats takes a second to import

from vqcast.rating.store import Judgement

LEVEL = 0.95
CHOICES = ("a", "b", "tie")


@dataclass(frozen=True)
class Share:
    """A share of the judgements, and its interval; None with fewer than two raters."""

    share: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Shares:
    judgements: int
    raters: int
    by_choice: dict[str, Share]
    lead: Share  # of those that prefer A, minus those that prefer B


def shares(judgements: Sequence[Judgement]) -> Shares | None:
    """The three shares of some judgements; None where there is none."""
    if not judgements:
        return None
    raters = np.unique([judgement.rater for judgement in judgements], return_inverse=True)[1]
    chosen = {
        choice: np.array([judgement.answer == choice for judgement in judgements], float)
        for choice in CHOICES
    }
    effects = {choice: _design_effect(values, raters) for choice, values in chosen.items()}
    known = [effect for effect in effects.values() if effect is not None]
    count, clusters = len(raters), int(raters.max()) + 1
    # Where nobody or everybody chose something: as clustered as the other choices, or wholly.
    fallback = max(known) if known else count / clusters
    by_choice = {
        choice: _interval(values.mean(), count, clusters, fallback if effect is None else effect)
        for (choice, values), effect in zip(chosen.items(), effects.values(), strict=True)
    }
    return Shares(count, clusters, by_choice, _lead(chosen["a"] - chosen["b"], raters, by_choice))


def shares_by_label(judgements: Iterable[Judgement]) -> dict[str, Shares]:
    """The shares of each label, most judgements first."""
    groups = defaultdict(list)
    for judgement in judgements:
        groups[judgement.label or "no label"].append(judgement)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return {label: shares(group) for label, group in ordered}


def verdict(result: Shares | None, a: str, b: str) -> str:
    """The first sentence of the results."""
    if result is None:
        return "Nobody has judged yet"
    lead = result.lead
    if lead.low is None:
        return "No verdict yet: that takes two raters"
    if lead.low <= 0 <= lead.high:
        return "Neither is preferred beyond doubt"
    return f"{a if lead.share > 0 else b} is preferred"


def agreement(judgements: Iterable[Judgement]) -> float | None:
    """Krippendorff's alpha of nominal answers, which allows for videos that some have not judged.

    1 is perfect agreement, 0 is that of chance. None where no video has two judgements or all are alike.
    """
    videos = defaultdict(list)
    for judgement in judgements:
        videos[judgement.window].append(judgement.answer)
    together: Counter[tuple[str, str]] = Counter()
    for answers in videos.values():
        if len(answers) < 2:
            continue
        counts = Counter(answers)
        for one, its in counts.items():
            for other, others in counts.items():
                together[one, other] += its * (others - (one == other)) / (len(answers) - 1)
    totals = Counter()
    for (one, _), weight in together.items():
        totals[one] += weight
    count = sum(totals.values())
    expected = count**2 - sum(total**2 for total in totals.values())
    if not expected:
        return None
    observed = sum(weight for (one, other), weight in together.items() if one != other)
    return 1 - (count - 1) * observed / expected


def to_csv(judgements: Iterable[Judgement]) -> str:
    """A row a judgement, in the order in which they came."""
    file = io.StringIO()
    names = [field.name for field in fields(Judgement)]
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([getattr(judgement, name) for name in names] for judgement in judgements)
    return file.getvalue()


def _variance(values: np.ndarray, raters: np.ndarray) -> float | None:
    """Sandwich variance of the mean of `values`, clustered by rater; None with one rater."""
    sums = np.bincount(raters, values - values.mean())
    if len(sums) < 2:
        return None
    return len(sums) / (len(sums) - 1) * float((sums**2).sum()) / len(values) ** 2


def _design_effect(values: np.ndarray, raters: np.ndarray) -> float | None:
    """How many times larger the variance is than that of independent judgements; None if all are alike."""
    share = values.mean()
    variance = _variance(values, raters)
    if variance is None or share in (0, 1):
        return None
    return variance * len(values) / (share * (1 - share))


def _interval(share: float, count: int, clusters: int, effect: float) -> Share:
    if clusters < 2:
        return Share(float(share), None, None)
    tail = (1 - LEVEL) / 2
    factor = stdtrit(count - 1, tail) / stdtrit(clusters - 1, tail)
    worth = min(count / effect if effect else count, count) * factor**2  # independent judgements
    low = 0.0 if share == 0 else betaincinv(share * worth, (1 - share) * worth + 1, tail)
    high = 1.0 if share == 1 else betaincinv(share * worth + 1, (1 - share) * worth, 1 - tail)
    return Share(float(share), float(low), float(high))


def _lead(values: np.ndarray, raters: np.ndarray, by_choice: dict[str, Share]) -> Share:
    """Mean of +1 for A, -1 for B and 0, with Student's interval; as for shares, raters who happen to be
    more alike than chance make it no narrower."""
    mean, variance = float(values.mean()), _variance(values, raters)
    if variance is None:
        return Share(mean, None, None)
    variance = max(variance, float(values.var()) / len(values))
    if not variance:  # all judgements are alike, and tell nothing of how far others may be from them
        a, b = by_choice["a"], by_choice["b"]
        return Share(mean, a.low - b.high, a.high - b.low)
    half = float(-stdtrit(raters.max(), (1 - LEVEL) / 2) * np.sqrt(variance))
    return Share(mean, max(mean - half, -1.0), min(mean + half, 1.0))
