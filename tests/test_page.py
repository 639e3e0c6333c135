"""The parts of the page: what it says, what it picks, what its charts draw."""

import base64
import io
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import ROOT
from vqcast.metrics.table import read_positions, write_positions
from vqcast.page.charts import Axis, Series, frequency_chart, line_chart
from vqcast.page.credits import may_be_shown, web_address
from vqcast.page.gallery import pick_typical, pick_windows, rule
from vqcast.page.strips import heat_uri
from vqcast.page.verdict import headline, sentences
from vqcast.settings.params import load_settings


def group(
    model: float, frozen: float, windows: int = 10, frechet: float | None = 6.0, sure: float = 1.0
) -> dict:
    """Figures whose PSNR differs from the repeated frame's by what is sure to within `sure` dB."""
    lead = {
        "psnr": {"difference": model - frozen, "interval": [model - frozen - sure, model - frozen + sure]}
    }
    if frechet is not None:
        lead["frechet_random_i3d"] = {
            "difference": frechet - 12.0,
            "interval": [frechet - 13.0, frechet - 11.0],
        }
    return {
        "windows": windows,
        "videos": windows,
        "lead": lead,
        "model": {"psnr": model, "frechet_random_i3d": frechet},
        "repeat_last_frame": {"psnr": frozen, "frechet_random_i3d": 12.0},
        "reconstruction": {"psnr": 30.0, "frechet_random_i3d": 1.0},
        "codes": {"bits_per_code": 8.2, "share_of_pixel_bits": 0.013},
        "priors": {level: {"nll_bits": 3.0, "unigram_entropy_bits": 6.0} for level in ("top", "bottom")},
    }


def evaluated(everywhere: dict, moving: dict) -> dict:
    protocol = {"frechet": {"metric": "frechet_random_i3d"}, "moving_below_psnr": 25.0}
    return {**everywhere, "moving": moving, "protocol": protocol}


def test_the_verdict_says_that_predictions_win():
    figures = evaluated(group(26.0, 23.5), group(24.0, 20.0, windows=4))
    assert headline(figures) == "The predictions beat the repeated last frame by 2.5 dB."
    text = " ".join(sentences(figures))
    assert "Over all 10 validation windows" in text and "0.50 of the repeated frame's" in text
    assert "PSNR and Fréchet (random I3D) say that the predictions are better." in text
    assert "Over the 4 windows that move (repeated last frame under 25 dB)" in text
    assert "4.0 dB under it" in text and "the top prior 50% and the bottom prior 50%" in text


def test_the_verdict_says_that_they_win_only_where_something_moves():
    figures = evaluated(group(26.0, 31.0, frechet=None), group(22.0, 20.0, windows=4))
    assert headline(figures).startswith("Where the picture moves") and "2.0 dB" in headline(figures)


def test_the_verdict_does_not_hide_that_they_lose():
    figures = evaluated(group(20.0, 23.0, frechet=14.0), group(18.0, 20.0, windows=1, frechet=None))
    assert "do not beat" in headline(figures) and "3.0 dB less" in headline(figures)
    assert "None" not in " ".join(sentences(figures))


def test_the_verdict_names_the_measures_that_do_not_agree():
    figures = evaluated(group(20.0, 23.0), group(18.0, 20.0, windows=4))
    assert "do not agree" in headline(figures)
    said = "Fréchet (random I3D) says that the predictions are better; PSNR says that they are worse."
    assert said in " ".join(sentences(figures))


def test_no_verdict_rests_on_a_difference_within_its_interval():
    figures = evaluated(group(26.0, 23.5, sure=3.0, frechet=None), group(24.0, 20.0, 4, None, sure=5.0))
    assert "cannot be told" in headline(figures)
    assert "PSNR does not tell them apart." in " ".join(sentences(figures))
    few = group(26.0, 23.5, windows=3)
    few["lead"] = {name: {**one, "interval": None} for name, one in few["lead"].items()}
    assert headline(evaluated(few, few)).startswith("3 videos are too few")


def test_a_codebook_of_which_one_code_is_used_leaves_nothing_to_save():
    figures = evaluated(group(26.0, 23.5), group(24.0, 20.0, windows=4))
    figures["priors"]["top"] = {"nll_bits": 0.01, "unigram_entropy_bits": 0.0}
    assert "the top prior 0%" in " ".join(sentences(figures))


def scored(moving: list[bool], psnr: list[float]) -> list[dict]:
    """Rows of the table of windows."""
    return [
        {
            "window": f"clip@{number:05d}",
            "moving": moves,
            "tuning": False,
            "reconstruction_psnr": 30.0,
            "model_psnr": [score, 0.0],
            "repeat_last_frame_psnr": 20.0,
        }
        for number, (moves, score) in enumerate(zip(moving, psnr, strict=True))
    ]


def test_windows_on_which_settings_were_chosen_are_not_ranked_while_there_are_others():
    rows = scored([True] * 4, [20.0, 21.0, 22.0, 23.0])
    rows[3]["tuning"] = True
    assert pick(rows, 1)[0] == ("Best", 1, 2)
    for row in rows:
        row["tuning"] = True
    assert pick(rows, 1)[0] == ("Best", 1, 3)


def pick(rows: list[dict], each: int, videos: str | None = None, allowed: list[bool] | None = None) -> list:
    """(kind, rank, number) of the windows that are shown; by default each is of a video of its own."""
    names = list(videos or map(str, range(len(rows))))
    choice = pick_windows(rows, names, allowed or [True] * len(rows), each)
    return [(one.kind, one.rank, one.number) for one in choice.shown]


def test_best_typical_and_worst_of_the_windows_that_move_are_shown():
    rows = scored([False, *[True] * 9], [50.0, *range(20, 29)])
    assert pick(rows, 1) == [("Best", 1, 9), ("Typical", 5, 5), ("Worst", 9, 1)]
    assert pick(rows, 2) == [
        ("Best", 1, 9),
        ("Best", 2, 8),
        ("Typical", 4, 6),
        ("Typical", 5, 5),
        ("Worst", 8, 2),
        ("Worst", 9, 1),
    ]


def test_all_windows_are_ranked_where_none_moves():
    assert pick(scored([False] * 3, [20.0, 22.0, 21.0]), 1) == [
        ("Best", 1, 1),
        ("Typical", 2, 2),
        ("Worst", 3, 0),
    ]


def test_no_video_is_shown_twice():
    rows = scored([True] * 6, [26.0, 25.0, 24.0, 23.0, 22.0, 21.0])
    assert pick(rows, 1, videos="aaabbb") == [("Best", 1, 0), ("Worst", 6, 5)]
    assert pick(rows, 2, videos="aabbcc") == [("Best", 1, 0), ("Typical", 3, 2), ("Worst", 6, 5)]
    assert pick(rows, 9, videos="aaaaaa") == [("Best", 1, 0)]


def test_windows_that_may_not_be_shown_are_not_ranked():
    rows = scored([True] * 4, [26.0, 25.0, 24.0, 23.0])
    allowed = [False, True, True, False]
    assert pick(rows, 1, allowed=allowed) == [("Best", 1, 1), ("Worst", 2, 2)]
    choice = pick_windows(rows, "abcd", allowed, 1)
    assert (choice.ranked, choice.withheld, choice.windows) == (2, 2, 4)
    said = " ".join(rule(choice, ["CC0", "CC-BY"]))
    assert "The 2 windows that move and that may be shown" in said
    assert "2 of all 4 validation windows may not be shown" in said and "(CC0, CC-BY)" in said
    assert pick(rows, 1, allowed=[False] * 4) == []


def test_typical_window_is_the_median_of_those_that_move():
    assert pick_typical(scored([True] * 5, [20.0, 24.0, 21.0, 23.0, 22.0])) == 4
    assert pick_typical(scored([False, True], [20.0, 24.0])) == 1


OPEN = load_settings(ROOT / "params.yaml").report.licences


@pytest.mark.parametrize(
    "licence",
    [
        "CC0-1.0",
        "cc0",
        "Public domain",
        "CC BY 4.0",
        "CC-BY-2.0",
        "cc_by_3.0",
        "CC-BY-SA-4.0",
        "CC BY-SA 3.0 DE",
        "Creative Commons Attribution license (reuse allowed)",
    ],
)
def test_open_licence_is_known_in_its_usual_spellings(licence):
    assert may_be_shown(licence, OPEN)


@pytest.mark.parametrize(
    "licence",
    [
        None,
        "",
        "CC-BY-NC-4.0",
        "CC BY-ND 4.0",
        "CC-BY-NC-SA 2.0",
        "YouTube standard licence",
        "MIT (repo; clips collected from YouTube)",
        "not CC-BY",
        "CC-BYE",
        "All rights reserved",
    ],
)
def test_unknown_or_other_licence_is_not_taken_for_an_open_one(licence):
    assert not may_be_shown(licence, OPEN)
    assert not may_be_shown(licence, [])


def test_licence_of_ones_own_is_named_whole():
    assert may_be_shown("MIT (self-recorded)", ["MIT (self-recorded)"])
    assert not may_be_shown("MIT (self-recorded)", ["MIT"])
    assert may_be_shown("MIT", ["mit"])


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://[/", "data:text/html,x", "//host", "", None])
def test_page_links_to_no_address_but_those_of_the_web(url):
    assert web_address(url) is None
    assert web_address("https://example.org/a") == "https://example.org/a"


def test_map_of_a_prior_that_needs_as_much_everywhere_is_drawn():
    encoded = heat_uri(np.ones((2, 3, 3))).removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (6, 3)


def test_positions_are_read_as_they_were_written(tmp_path):
    bits = {"top": np.arange(12.0).reshape(3, 2, 2), "bottom": np.ones((1, 4, 4))}
    rank = {level: np.full(of_level.shape, 0.5) for level, of_level in bits.items()}
    write_positions(tmp_path / "p.parquet", bits, rank, {"top": 1, "bottom": 2})
    found = read_positions(tmp_path / "p.parquet")
    assert found.keys() == bits.keys()
    for level in bits:
        np.testing.assert_array_equal(found[level], bits[level])
    table = pq.read_table(tmp_path / "p.parquet")
    assert table["slice"].to_pylist()[:5] == [1, 1, 1, 1, 2] and set(table["rank"].to_pylist()) == {0.5}


def test_a_chart_places_values_between_its_axes():
    axis = Axis(0.0, 10.0, 40, 240)
    assert [axis.place(value) for value in (0, 5, 10)] == [40, 140, 240]
    assert axis.ticks() == [0, 5, 10]
    logarithmic = Axis(0.1, 1000.0, 0, 400, logarithmic=True)
    assert logarithmic.place(10) == pytest.approx(200)
    assert logarithmic.ticks() == pytest.approx([0.1, 1, 10, 100, 1000])


def test_a_chart_skips_values_that_are_not_finite_and_escapes_its_title():
    chart = line_chart(
        [Series("a", "s-train", [0, 1, 2, 3], [1.0, math.nan, 2.0, math.inf])], 'a <b> "c"', "x", "y"
    )
    assert "nan" not in chart and "inf" not in chart
    assert "a &lt;b&gt; &#34;c&#34;" in chart


def test_charts_of_constant_or_absent_values_are_drawn_or_left_out():
    assert "<path" in line_chart([Series("a", "s-train", [0, 1], [0.0, 0.0])], "t", "x", "y")
    assert "<circle" in line_chart([Series("a", "s-train", [5], [0.5])], "t", "x", "y")
    assert line_chart([Series("a", "s-train", [], [])], "t", "x", "y") == ""


def test_code_frequencies_are_drawn_most_frequent_first():
    frequencies = np.array([0.1, 0.6, 0.3])
    assert frequency_chart(frequencies.tolist(), "s-model", "t") == frequency_chart(
        sorted(frequencies.tolist()), "s-model", "t"
    )
