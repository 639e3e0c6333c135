"""exclude.csv takes videos out of every source, at download and again at clip."""

import pytest
import yaml

from tests.conftest import ROOT
from tests.videos import from_folder, from_sample, make_video
from vqcast.errors import VqcastError
from vqcast.sources.exclusions import read_exclusions


def exclude(place, *lines):
    place.exclude.write_text("\n".join(["id,reason,date", *lines, ""]))


def test_excluded_video_of_the_sample_keeps_a_row_with_the_reason_and_gives_no_clip(place):
    exclude(place, "train-00003,drawn badly,2026-02-03")
    rows = {row["video"]: row for row in place.download(from_sample())}
    assert len(rows) == 8
    row = rows["train-00003"]
    assert (row["status"], row["outcome"], row["file"], row["sha256"]) == ("excluded", "excluded", None, None)
    assert row["reason"] == "excluded on 2026-02-03: drawn badly"
    assert [row["video"] for row in place.clip()] == sorted(rows.keys() - {"train-00003"})


def test_video_excluded_after_it_was_downloaded_gives_no_clip(place):
    place.download(from_sample())
    exclude(place, "train-00003,,2026-02-03")
    assert len(place.clip()) == 7
    assert "train-00003" not in {row["video"] for row in place.clip()}


@pytest.mark.parametrize("id", ['"label ""a"", b/-aaaaaaaaa__000001_000011.mp4"', "-aaaaaaaaa_"])
def test_file_in_a_folder_is_excluded_by_its_path_or_by_its_youtube_id(place, id):
    folder = place.folder / "videos" / 'label "a", b'
    make_video(folder / "-aaaaaaaaa__000001_000011.mp4")
    make_video(folder / "-aaaaaaaaa.mp4", frames=19)
    exclude(place, f"{id},asked for,2026-02-03")
    rows = place.download(from_folder(place.folder / "videos"))
    assert [(row["video"].split("/")[1], row["status"]) for row in rows] == [
        ("-aaaaaaaaa.mp4", "ok"),
        ("-aaaaaaaaa__000001_000011.mp4", "excluded"),
    ]


def test_excluded_videos_do_not_count_as_failed(place):
    exclude(place, *(f"train-{index:05d},,2026-02-03" for index in range(6)))
    assert len(place.download(from_sample())) == 8  # which bears no failure at all


def test_all_videos_excluded_is_one_sentence(place):
    lines = [f"train-{index:05d},,2026-02-03" for index in range(6)]
    exclude(place, *lines, *(f"val-{index:05d},,2026-02-03" for index in range(2)))
    with pytest.raises(VqcastError, match="none of the 8 videos can be had: 8 x excluded on 2026-02-03"):
        place.download(from_sample())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must have the columns id,reason,date"),
        ("id,reason\na,b\n", "must have the columns id,reason,date"),
        ("id,reason,date\n,b,2026-02-03\n", "line 2: the id is missing"),
        ("id,reason,date\na,b,yesterday\n", "line 2: the date must be like 2026-01-31, not 'yesterday'"),
        ("id,reason,date\na,b\n", "line 2: the date must be like 2026-01-31, not ''"),
        ("id,reason,date\na,b, c,2026-02-03\n", "line 2: the date must be like 2026-01-31, not 'c'"),
    ],
)
def test_table_that_makes_no_sense_is_one_sentence(place, text, sentence):
    place.exclude.write_text(text)
    with pytest.raises(VqcastError, match=sentence):
        place.download(from_sample())


def test_table_that_is_missing_is_said_and_excludes_nothing_silently(place):
    place.exclude.unlink()
    with pytest.raises(VqcastError, match=r"exclude\.csv does not exist; a table with the header"):
        place.download(from_sample())


def test_committed_table_is_a_good_one_and_reruns_both_stages():
    assert read_exclusions(ROOT / "data/exclude.csv").reasons == {}
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for stage in ("download", "clip"):
        assert "data/exclude.csv" in stages[stage]["deps"]
