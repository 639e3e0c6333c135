"""The measures of predicted frames: what each is called, which way is better, and whether it may be trusted.

Trusted is a measure that told how badly real windows were damaged, in at least six of eight ways:
`python -m benchmarks.judges` tries them, docs/evaluation.md has its table. FVD, which needs weights that are
not part of vqcast, is trusted as the field trusts it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    name: str
    higher_is_better: bool | None  # None: neither is
    trusted: bool
    form: str = "#.3g"  # how a reader sees it


MEASURES = {
    "psnr": Measure("PSNR, dB", True, True, ".2f"),
    "ssim": Measure("SSIM", True, True, ".3f"),
    "st_lpips": Measure("ST-LPIPS", False, True, ".4f"),
    "fvd": Measure("FVD", False, True),
    "mmd_i3d": Measure("MMD (I3D)", False, False),  # not tried: that takes the weights
    "frechet_random_i3d": Measure("Fréchet (random I3D)", False, True),
    "mmd_random_i3d": Measure("MMD (random I3D)", False, False),
    "frechet_transnet": Measure("Fréchet (TransNet)", False, True),
    "mmd_transnet": Measure("MMD (TransNet)", False, True),
    "motion_distance": Measure("motion (distance to the true one)", False, True),
    "motion_overlap": Measure("motion (overlap with the true one)", True, False, ".3f"),
    "motion_amount": Measure("motion (amount over the true one's)", None, False),
    "motion_jerk": Measure("motion (jerk over the true one's)", None, False),
    "psnr_best": Measure("PSNR of the best sample, dB", True, False, ".2f"),
    "ssim_best": Measure("SSIM of the best sample", True, False, ".3f"),
    "st_lpips_best": Measure("ST-LPIPS of the best sample", False, False, ".4f"),
    "difference": Measure("difference between samples, grey levels", None, False),
}


def verdict(lead: dict) -> dict[str, list[str]]:
    """What the trusted measures say of the model against the repeated frame, by their names.

    lead: the figures of that name in reports/evaluate.json. "better", "worse", and "undecided" where the
    difference lies within its interval, or there is none because there are too few videos.
    """
    said: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    for key, measure in MEASURES.items():
        if measure.trusted and key in lead:
            said[_of(lead[key]["interval"], measure)].append(measure.name.removesuffix(", dB"))
    return said


def _of(interval: list[float] | None, measure: Measure) -> str:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "undecided"
    return "better" if (interval[0] > 0) == measure.higher_is_better else "worse"
