"""The file of answers: what is asked of whom, what is kept, and what is refused."""

import sqlite3
import threading
from collections import Counter

import pytest

from vqcast.errors import VqcastError
from vqcast.rating.store import AnswerFile, RefusedError

PAIRS = [(f"video {number}", None) for number in range(30)]


def make(tmp_path, pairs=PAIRS, fingerprint="these") -> AnswerFile:
    return AnswerFile(tmp_path / "answers.sqlite", fingerprint, pairs)


def judge_all(answers, rater, needed, answer="left"):
    """Judge what the rater is shown until there is no more; the pairs, in order."""
    pairs = []
    while (showing := answers.showing(rater, needed)) is not None:
        answers.judge(rater, showing.token, answer)
        pairs.append(showing.pair)
    return pairs


def test_each_pair_is_judged_as_often_as_it_needs_and_never_twice_by_one_rater(tmp_path):
    answers = make(tmp_path)
    raters = answers.raters(15)
    orders = [judge_all(answers, rater, 13) for rater in raters]
    assert answers.counts() == [13] * 30
    assert all(len(set(order)) == len(order) for order in orders)
    assert sum(map(len, orders)) == 390
    assert answers.showing(answers.raters(16)[-1], 13) is None


def test_order_differs_from_rater_to_rater(tmp_path):
    answers = make(tmp_path)
    orders = [tuple(judge_all(answers, rater, 6)) for rater in answers.raters(6)]
    assert len(set(orders)) == 6
    assert all(order != tuple(sorted(order)) for order in orders)


def test_sides_are_balanced_for_every_pair_and_every_rater_and_do_not_alternate(tmp_path):
    answers = make(tmp_path)
    for rater in answers.raters(14):
        judge_all(answers, rater, 14)
    judgements = answers.judgements()
    for key in ("window", "rater"):
        left, of = Counter(), Counter()
        for judgement in judgements:
            of[getattr(judgement, key)] += 1
            left[getattr(judgement, key)] += judgement.a_side == "left"
        assert set(of.values()) == {14 if key == "window" else 30}
        if key == "window":
            assert set(left.values()) == {7}
        else:
            assert all(8 <= count <= 22 for count in left.values()), left
    first = [judgement.a_side for judgement in judgements[:30]]
    assert first != ["left", "right"] * 15 and first != ["right", "left"] * 15


def test_answer_is_of_the_system_that_stood_on_that_side(tmp_path):
    answers = make(tmp_path)
    (rater,) = answers.raters(1)
    judge_all(answers, rater, 1, "right")
    for judgement in answers.judgements():
        assert judgement.answer == ("b" if judgement.a_side == "left" else "a")


def test_what_was_shown_and_not_judged_is_shown_again_after_a_restart(tmp_path):
    answers = make(tmp_path)
    (rater,) = answers.raters(1)
    shown = answers.showing(rater, 13)
    assert answers.showing(rater, 13) == shown
    again = make(tmp_path)
    assert again.raters() == [rater]
    assert again.showing(rater, 13) == shown
    assert again.key == answers.key


def test_replayed_answer_changes_nothing_and_another_one_is_refused(tmp_path):
    answers = make(tmp_path)
    (rater,) = answers.raters(1)
    shown = answers.showing(rater, 13)
    answers.judge(rater, shown.token, "left")
    before = answers.judgements()
    answers.judge(rater, shown.token, "left")
    with pytest.raises(RefusedError, match="already"):
        answers.judge(rater, shown.token, "right")
    assert answers.judgements() == before and len(before) == 1


@pytest.mark.parametrize(("answer", "says"), [("up", "no such answer"), ("left", "not shown to you")])
def test_foreign_answers_are_refused(tmp_path, answer, says):
    answers = make(tmp_path)
    one, other = answers.raters(2)
    token = answers.showing(one, 13).token
    for rater, its in ((other, token), (one, "made up"), ("' OR 1=1 --", token)):
        with pytest.raises(RefusedError, match=says):
            answers.judge(rater, its, answer)
    assert answers.judgements() == []


def test_raters_at_once_lose_no_answer_and_never_judge_a_pair_twice(tmp_path):
    """Each thread has a connection of its own, as two servers of one file would."""
    raters = make(tmp_path).raters(4)
    orders = {}

    def work(rater):
        orders[rater] = judge_all(make(tmp_path), rater, 4)

    threads = [threading.Thread(target=work, args=[rater]) for rater in raters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = make(tmp_path)
    assert {rater: sorted(order) for rater, order in orders.items()} == {r: list(range(30)) for r in raters}
    assert answers.counts() == [4] * 30
    assert len(answers.judgements()) == 120


def test_file_of_another_comparison_is_refused_and_unchanged(tmp_path):
    answers = make(tmp_path)
    (rater,) = answers.raters(1)
    judge_all(answers, rater, 1)
    content = answers.path.read_bytes()
    with pytest.raises(VqcastError, match=r"answers\.sqlite holds the answers to another comparison"):
        make(tmp_path, fingerprint="others")
    assert answers.path.read_bytes() == content


@pytest.mark.parametrize("content", [b"PK\x03\x04 something else entirely" * 50, None])
def test_file_that_is_none_of_answers_is_refused_and_unchanged(tmp_path, content):
    path = tmp_path / "answers.sqlite"
    if content is None:
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE cakes (name)")
        database.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(VqcastError, match=r"answers\.sqlite is no file of answers"):
        make(tmp_path)
    assert path.read_bytes() == before
