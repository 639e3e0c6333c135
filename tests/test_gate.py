"""What the gate makes of two evaluations."""

import pytest

from vqcast.errors import VqcastError
from vqcast.retraining.gate import compare

PROTOCOL = {"frechet": {"metric": "fvd", "weights_sha256": "0"}, "given_frames": 4}


def figures(frechet: float | None, psnr: float = 20.0, windows: int = 5, protocol: dict = PROTOCOL) -> dict:
    return {"windows": windows, "model": {"fvd": frechet, "psnr": psnr}, "protocol": protocol}


@pytest.mark.parametrize(("new", "promote"), [(90, True), (100, True), (102, True), (102.1, False)])
def test_margin_is_a_share_of_the_promoted_figure(new, promote):
    assert compare(figures(new), figures(100), None, 0.02).promote is promote


@pytest.mark.parametrize(("new", "promote"), [(21, True), (19.8, True), (19.7, False)])
def test_of_some_figures_more_is_better(new, promote):
    verdict = compare(figures(1, psnr=new), figures(1, psnr=20), "model.psnr", 0.01)
    assert verdict.promote is promote
    assert "higher is better" in verdict.sentence


def test_verdict_says_both_figures_the_margin_and_lists_all_others():
    verdict = compare(figures(110, psnr=25), figures(100), None, 0.05)
    assert verdict.sentence == (
        "not promoted: on the same 5 validation windows, model.fvd of the new model is 110, of the promoted "
        "one 100; lower is better, and 5.0% worse is allowed"
    )
    assert "| model.psnr | 25 | 20 |" in verdict.details


@pytest.mark.parametrize(
    ("new", "promoted", "reason"),
    [
        (figures(1, windows=4), figures(1), "not judged by the same protocol"),
        (figures(1, protocol={**PROTOCOL, "given_frames": 5}), figures(1), "not judged by the same protocol"),
        (figures(None), figures(1), "the evaluation of the new model has no figure model.fvd"),
        (figures(1), figures(None), "the evaluation of the promoted model has no figure model.fvd"),
        (
            figures(1, protocol={}),
            figures(1, protocol={}),
            "does not say what its Frechet distance is called",
        ),
    ],
)
def test_figures_that_cannot_be_compared_promote_nothing(new, promoted, reason):
    with pytest.raises(VqcastError, match=reason):
        compare(new, promoted, None, 0.02)


def test_figure_that_is_not_a_number_promotes_nothing():
    assert not compare(figures(float("nan")), figures(1), None, 0.02).promote


@pytest.mark.parametrize(("measure", "better"), [("psnr_best", 1), ("motion_overlap", 1), ("st_lpips", -1)])
def test_which_way_is_better_is_known_of_every_measure(measure, better):
    new, promoted = figures(1), figures(1)
    new["model"][measure], promoted["model"][measure] = 0.5 + 0.1 * better, 0.5
    assert compare(new, promoted, f"model.{measure}", 0.0).promote
    assert not compare(promoted, new, f"model.{measure}", 0.0).promote


def test_a_figure_of_which_neither_more_nor_less_is_better_judges_no_model():
    new = figures(1)
    new["model"]["motion_amount"] = 1.0
    with pytest.raises(VqcastError, match=r"not better by more or by less of model\.motion_amount"):
        compare(new, new, "model.motion_amount", 0.0)
