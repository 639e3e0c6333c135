"""Shares with clustered intervals, and agreement: against published examples and direct computation."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from vqcast.rating.results import agreement, shares, shares_by_label, to_csv, verdict
from vqcast.rating.store import Judgement


def judged(rater, window, answer, label=None):
    return Judgement(str(rater), str(window), label, answer, "left", 0.0, 1.0)


def of_raters(*answers: str) -> list[Judgement]:
    """A string of a, b and t for each rater, a letter a video; '.' is none."""
    full = {"a": "a", "b": "b", "t": "tie"}
    return [
        judged(rater, video, full[letter])
        for rater, letters in enumerate(answers)
        for video, letter in enumerate(letters)
        if letter != "."
    ]


def test_shares_are_those_of_the_papers_table():
    answers = ["a"] * 266 + ["b"] * 52 + ["tie"] * 87
    found = shares([judged(number % 15, number // 15, answer) for number, answer in enumerate(answers)])
    assert (found.judgements, found.raters) == (405, 15)
    percent = [round(100 * found.by_choice[choice].share, 1) for choice in ("a", "b", "tie")]
    assert percent == [65.7, 12.8, 21.5]
    assert found.lead.share == pytest.approx((266 - 52) / 405)


def test_interval_is_that_of_as_many_independent_judgements_as_the_clustered_variance_is_worth():
    judgements = of_raters("aaaab", "aabbb", "bbbbt", "aaa")
    share = shares(judgements).by_choice["a"]
    p, n, sums = 9 / 18, 18, [4 - 2.5, 2 - 2.5, 0 - 2.5, 3 - 1.5]
    variance = 4 / 3 * sum(value**2 for value in sums) / n**2
    worth = p * (1 - p) / variance * (stats.t.ppf(0.975, 17) / stats.t.ppf(0.975, 3)) ** 2
    assert worth < n / 4
    assert share.low == pytest.approx(stats.beta.ppf(0.025, p * worth, (1 - p) * worth + 1))
    assert share.high == pytest.approx(stats.beta.ppf(0.975, p * worth + 1, (1 - p) * worth))


def test_intervals_hold_the_truth_as_often_as_they_say_though_raters_differ():
    """Raters' own shares scatter: an interval of independent judgements would hold it too rarely."""
    generator = np.random.default_rng(0)
    held = naive = 0
    for _ in range(200):
        own = generator.beta(3, 2, 15)
        counts = generator.binomial(20, own)
        answers = [
            judged(rater, video, "a" if video < count else "b")
            for rater, count in enumerate(counts)
            for video in range(20)
        ]
        share = shares(answers).by_choice["a"]
        held += share.low <= 0.6 <= share.high
        low, high = stats.binomtest(int(counts.sum()), 300).proportion_ci()
        naive += low <= 0.6 <= high
    assert held / 200 >= 0.93
    assert naive / 200 < 0.75


def test_share_that_nobody_or_everybody_chose_still_has_an_interval():
    few, many = (shares(of_raters(*["aaaa"] * raters)) for raters in (2, 20))
    assert few.by_choice["a"].share == many.by_choice["a"].share == 1
    assert few.by_choice["a"].low < 0.5, "two raters who agree prove little"
    assert few.lead.low < 0
    assert 0.8 < many.by_choice["a"].low < 0.9
    assert many.by_choice["tie"].low == 0 < many.by_choice["tie"].high < 0.2
    assert many.lead.low > 0.5


def test_one_rater_has_shares_and_no_interval():
    found = shares(of_raters("aab"))
    assert found.by_choice["a"].share == pytest.approx(2 / 3)
    assert found.by_choice["a"].low is None and found.lead.low is None
    assert verdict(found, "ours", "theirs") == "No verdict yet: that takes two raters"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["aaaaaaaab", "aaaaaaaaa", "aaaaaabaa", "aaaaaaaat"], "ours is preferred"),
        (["bbbbbbbba", "bbbbbbbbb", "bbbbbbabb", "bbbbbbbbt"], "theirs is preferred"),
        (["aaabbb", "ababab", "bbbaaa"], "Neither is preferred beyond doubt"),
        ([], "Nobody has judged yet"),
    ],
)
def test_verdict_says_no_more_than_the_interval_does(answers, said):
    assert verdict(shares(of_raters(*answers)), "ours", "theirs") == said


def test_shares_of_each_label_are_of_its_videos_alone():
    judgements = [judged(0, 0, "a", "x"), judged(1, 0, "a", "x"), judged(0, 1, "b", "y"), judged(0, 2, "tie")]
    found = shares_by_label(judgements)
    assert list(found) == ["x", "no label", "y"]
    assert found["x"].by_choice["a"].share == 1
    assert found["y"].by_choice["b"].share == 1


def test_alpha_is_that_of_krippendorffs_own_example():
    """From "Computing Krippendorff's Alpha-Reliability" (2011), section C: nominal data, four observers, some
    values missing; alpha = 0.743."""
    table = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    judgements = [
        judged(rater, unit, str(value))
        for rater, values in table.items()
        for unit, value in enumerate(values)
        if value is not None
    ]
    assert agreement(judgements) == pytest.approx(0.743, abs=0.0005)


def test_alpha_is_one_where_all_agree_about_zero_by_chance_and_unknown_without_pairs():
    assert agreement(of_raters("abtab", "abtab", "abtab")) == pytest.approx(1)
    generator = np.random.default_rng(0)
    chance = ["".join(generator.choice(list("abt"), 200)) for _ in range(5)]
    assert abs(agreement(of_raters(*chance))) < 0.05
    assert agreement(of_raters("ab..", "..ab")) is None
    assert agreement(of_raters("aa", "aa")) is None


def test_export_has_a_row_a_judgement_whatever_a_label_holds():
    rows = [judged("x1", 'a,"b"\n/c', "a", '=1+1,"quoted"\nline'), judged("x2", "w", "tie")]
    found = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert [row["window"] for row in found] == ['a,"b"\n/c', "w"]
    assert found[0]["label"] == '=1+1,"quoted"\nline'
    assert [row["answer"] for row in found] == ["a", "tie"]
    assert found[1]["label"] == ""
