"""Annotation files of Kinetics as they are: genuine ones, every trap in them, and the parts one may want."""

import itertools
import random

import pytest

from vqcast.errors import VqcastError
from vqcast.settings.data import KineticsSelection
from vqcast.sources.annotations import Segment, parse, select

HEADER = "label,youtube_id,time_start,time_end,split\n"


def selected(files, splits=("train", "val"), labels=None, max_per_label=None):
    """What is selected of `files`, texts by name."""
    settings = KineticsSelection(tuple(files), tuple(splits), labels, max_per_label)
    return select(settings, files.__getitem__)


def line(number, split, label="juggling", start=0):
    return f"{label},{number:011d},{start},{start + 10},{split}\n"


def ids(segments):
    return [segment.id for segment in segments]


@pytest.mark.parametrize(
    ("file", "count", "labels", "licences"),
    [
        ("kinetics-400_val.csv", 19906, 400, {"CC-BY": 519, "YouTube standard licence": 19387}),
        ("kinetics-600_val.csv", 30000, 600, {None: 30000}),
        ("kinetics-600_test.csv", 72924, 1, {None: 72924}),
    ],
)
def test_genuine_file_is_read_whole(kinetics, file, count, labels, licences):
    segments = parse(file, (kinetics / file).read_text())
    assert len(segments) == count
    assert len({segment.label for segment in segments}) == labels
    assert {
        licence: sum(one.licence == licence for one in segments)
        for licence in {one.licence for one in segments}
    } == licences
    assert {segment.end - segment.start for segment in segments} == {10}
    assert any(segment.id.startswith("-") for segment in segments)


def test_genuine_ids_in_val_and_test_are_both_held_out(kinetics):
    files = {name: (kinetics / f"kinetics-600_{name}.csv").read_text() for name in ("val", "test")}
    videos = {name: {segment.youtube_id for segment in parse(name, text)} for name, text in files.items()}
    assert len(videos["val"] & videos["test"]) == 28
    assert selected(files, ("val", "test")).in_two_splits == {}


def test_genuine_validation_video_that_is_trained_on_too_is_kept_out_of_training(kinetics):
    text = (kinetics / "kinetics-600_val.csv").read_text()
    leak = parse("val", text)[7]
    train = HEADER + line(1, "train") + f"{leak.label},{leak.youtube_id},200,210,train\n"
    chosen = selected({"train": train, "val": text})
    assert len(chosen.wanted) == 30001
    assert [(one.youtube_id, split) for one, split in chosen.in_two_splits.items()] == [
        (leak.youtube_id, "val")
    ]


def test_genuine_id_that_occurs_twice_in_a_file_is_two_segments(kinetics):
    chosen = selected({"val": (kinetics / "kinetics-600_val.csv").read_text()})
    twice = [one for one in chosen.wanted if one.youtube_id == "c9ZWYpxefXQ"]
    assert [(one.label, one.start) for one in twice] == [("peeling apples", 14), ("cutting apple", 64)]


def test_genuine_labels_that_differ_in_case_alone_are_one_label(kinetics):
    files = {name: (kinetics / name).read_text() for name in ("kinetics-400_val.csv", "kinetics-600_val.csv")}
    label = "passing american football (not in game)"
    chosen = selected(files, labels=(label,))
    spellings = {one.label for one in chosen.wanted}
    assert len(spellings) == 1
    alone = [
        one.id for name, text in files.items() for one in parse(name, text) if one.label.lower() == label
    ]
    assert set(ids(chosen.wanted)) == set(alone)


def test_segment_is_named_as_its_file_in_an_archive():
    assert Segment("-aaaaaaaaa_", 7, 17, None, "val").id == "-aaaaaaaaa__000007_000017"


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("massaging person's head", "massaging person's head"),
        ('"massaging person\'s head"', "massaging person's head"),
        ('"jumping, high ""up"" (sport)"', 'jumping, high "up" (sport)'),
        ("cutting/slicing", "cutting/slicing"),
        ("", None),
    ],
)
def test_label_may_hold_anything(cell, label):
    (segment,) = parse("a.csv", HEADER + f"{cell},-aaaaaaaaa_,1,11,val\n")
    assert segment.label == label


@pytest.mark.parametrize(
    "text",
    [
        "youtube_id,time_start,time_end,split\n-aaaaaaaaa_,1,11,validate\n",
        "\ufefflabel,youtube_id,time_start,time_end,split,is_cc\r\n,-aaaaaaaaa_,1.0,11.0,val,\r\n\r\n",
        "# Label,YouTube_ID,Time Start,Time End,Split\n,-aaaaaaaaa_,1,11,val\n",
    ],
)
def test_header_and_times_come_in_several_forms(text):
    assert parse("a.csv", text) == [Segment("-aaaaaaaaa_", 1, 11, None, "val")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<html>\n", "a.csv is no annotation file: it lacks the column youtube_id"),
        ("", "a.csv is no annotation file: it lacks the column youtube_id"),
        (HEADER + "x,short,1,11,val\n", "a.csv, line 2: 'short' is no YouTube id"),
        (HEADER + "x,../../../aa,1,11,val\n", "a.csv, line 2: '../../../aa' is no YouTube id"),
        (HEADER + "x,-aaaaaaaaa_,1,11,dev\n", "line 2: the split must be train, val or test, not 'dev'"),
        (HEADER + "x,-aaaaaaaaa_,1,11\n", "line 2: the split must be train, val or test, not None"),
        (HEADER + "x,-aaaaaaaaa_,11,1,val\n", "line 2: '11' to '1' is no span of seconds"),
        (HEADER + "x,-aaaaaaaaa_,inf,1,val\n", "line 2: 'inf' to '1' is no span of seconds"),
        (HEADER + "x,-aaaaaaaaa_,,1,val\n", "line 2: '' to '1' is no span of seconds"),
    ],
)
def test_file_that_makes_no_sense_is_one_sentence(text, sentence):
    with pytest.raises(VqcastError, match=sentence):
        parse("a.csv", text)


def test_selection_does_not_depend_on_the_order_of_lines_or_files():
    lines = [line(number, split, label) for number in range(40) for split, label in (("train", "a"),)]
    lines += [line(number, "val", label) for number in range(35, 60) for label in ("b", "B", "b")]
    wanted = None
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        half = random.Random(seed).randrange(len(lines))
        files = {"1": HEADER + "".join(lines[:half]), "2": HEADER + "".join(lines[half:])}
        chosen = selected(files, max_per_label=12)
        assert wanted in (None, (chosen.wanted, list(chosen.in_two_splits.items())))
        wanted = (chosen.wanted, list(chosen.in_two_splits.items()))


def test_maximum_is_of_a_label_in_a_split_and_a_lower_one_takes_a_part_of_a_higher():
    lines = [
        line(100 * number + index, split, label)
        for number, (split, label) in enumerate(itertools.product(("train", "val"), ("a", "b")))
        for index in range(20)
    ]
    files = {"all": HEADER + "".join(lines)}
    taken = {count: set(ids(selected(files, max_per_label=count).wanted)) for count in (3, 7, 30)}
    assert {count: len(some) for count, some in taken.items()} == {3: 12, 7: 28, 30: 80}
    assert taken[3] < taken[7] < taken[30]


def test_only_wanted_splits_are_taken_but_any_split_keeps_its_videos_out_of_training():
    files = {
        "train": HEADER + line(1, "train") + line(2, "train"),
        "test": HEADER + line(2, "test", "", start=50) + line(3, "test", ""),
    }
    chosen = selected(files, ("train",))
    assert [one.youtube_id for one in chosen.wanted] == ["00000000001"]
    assert [(one.youtube_id, split) for one, split in chosen.in_two_splits.items()] == [
        ("00000000002", "test")
    ]


def test_segment_that_two_splits_share_is_held_out_once():
    chosen = selected({"all": HEADER + line(1, "train") + line(1, "val") + line(1, "val")})
    assert [(one.id, one.split) for one in chosen.wanted] == [("00000000001_000000_000010", "val")]
    assert chosen.in_two_splits == {}


def test_labels_are_found_whatever_their_case_and_an_unknown_one_is_named():
    files = {"all": HEADER + line(1, "val", "Juggling (Balls)") + line(2, "val", "jumping")}
    assert ids(selected(files, labels=("juggling (balls)",)).wanted) == ["00000000001_000000_000010"]
    with pytest.raises(
        VqcastError, match="no annotation file has the label 'jugling'; did you mean 'jumping'"
    ):
        selected(files, labels=("jugling",))


def test_selection_of_nothing_is_one_sentence():
    with pytest.raises(VqcastError, match=r"download\.kinetics selects no segment"):
        selected({"all": HEADER + line(1, "test")})
