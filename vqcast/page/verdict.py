"""What the figures say, in plain sentences."""

from vqcast.measures.intervals import LEAST_UNITS
from vqcast.measures.known import verdict


def headline(figures: dict) -> str:
    """Whether predicting beats freezing, the one thing a reader wants to know first."""
    groups = ((figures, "The"), (figures["moving"], "Where the picture moves, the"))
    found = [(group, start, verdict(group.get("lead", {}))) for group, start in groups if group["windows"]]
    for group, start, said in found:
        if said["better"] and not said["worse"]:
            lead = f" by {_lead(group):.1f} dB" if "PSNR" in said["better"] else ""
            return f"{start} predictions beat the repeated last frame{lead}."
    if any(said["better"] for _, _, said in found):
        return "The measures do not agree whether the predictions beat the repeated last frame."
    if any(said["worse"] for _, _, said in found):
        return (
            f"The predictions do not beat the repeated last frame: they score {-_lead(figures):.1f} dB less."
        )
    if figures["videos"] < LEAST_UNITS:
        return (
            f"{figures['videos']} videos are too few to tell whether the predictions beat the repeated frame."
        )
    return "The predictions cannot be told from the repeated last frame by how good they are."


def sentences(figures: dict) -> list[str]:
    """What stands behind the headline."""
    metric = figures["protocol"]["frechet"]["metric"]
    moving = figures["moving"]
    below = figures["protocol"]["moving_below_psnr"]
    said = [f"Over all {figures['windows']} validation windows, {_comparison(figures, metric)}."]
    if 0 < moving["windows"] < figures["windows"]:
        said.append(
            f"Over the {moving['windows']} windows that move (repeated last frame under {below:g} dB), "
            f"{_comparison(moving, metric)}."
        )
    if "expectation" in figures:
        said.append(_beside_expectation(figures, metric))
    said.append(_limit(figures))
    savings = [f"the {level} prior {saving(prior):.0%}" for level, prior in figures["priors"].items()]
    said.append(
        "Against the frequencies of the codes alone, knowing the given frames and earlier codes saves "
        f"{' and '.join(savings)} of the bits."
    )
    said.append(
        f"A code takes {figures['codes']['bits_per_code']:.2f} bits on disk, a window's codes "
        f"{figures['codes']['share_of_pixel_bits']:.2%} of the bits of its pixels."
    )
    return said


def saving(prior: dict) -> float:
    """Share of the unigram entropy's bits that a prior saves; 0 where one code is all there is."""
    entropy = prior["unigram_entropy_bits"]
    return 1 - prior["nll_bits"] / entropy if entropy else 0.0


def _lead(figures: dict) -> float:
    return figures["model"]["psnr"] - figures["repeat_last_frame"]["psnr"]


def _comparison(figures: dict, metric: str) -> str:
    model, frozen = figures["model"], figures["repeat_last_frame"]
    text = (
        f"the predicted frames score {model['psnr']:.1f} dB PSNR, the repeated last frame "
        f"{frozen['psnr']:.1f} dB"
    )
    if model[metric] is not None and frozen[metric]:
        text += f"; their Fréchet distance is {model[metric] / frozen[metric]:.2f} of the repeated frame's"
    return text + _agreement(verdict(figures.get("lead", {})))


def _agreement(said: dict[str, list[str]]) -> str:
    """Which of the trusted measures say that the predictions are better, and which do not."""
    parts = [
        f"{_listed(names)} {verb if len(names) > 1 else verb_of_one} {what}"
        for names, verb_of_one, verb, what in (
            (said["better"], "says", "say", "that the predictions are better"),
            (said["worse"], "says", "say", "that they are worse"),
            (said["undecided"], "does", "do", "not tell them apart"),
        )
        if names
    ]
    return f". {'; '.join(parts)}" if parts else ""


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _beside_expectation(figures: dict, metric: str) -> str:
    """What the codes add to what the given frames alone let expect."""
    model, expected = figures["model"], figures["expectation"]
    text = f"What the given frames alone let expect, without codes, scores {expected['psnr']:.1f} dB"
    if model[metric] is not None and expected[metric]:
        text += f"; the predictions' Fréchet distance is {model[metric] / expected[metric]:.2f} of its"
    return f"{text}."


def _limit(figures: dict) -> str:
    """How far prediction lies under what the codes can say at all."""
    best = figures["reconstruction"]["psnr"]
    gap = best - figures["model"]["psnr"]
    if gap <= 0:
        return f"The predictions score as much as the true codes decoded ({best:.1f} dB): the VQ-VAE's limit."
    return (
        f"The VQ-VAE sets the limit: the true codes decoded score {best:.1f} dB, and the predictions lie "
        f"{gap:.1f} dB under it."
    )
