"""An excluded id excludes its content; every line of the table says what it took out, if anything."""

import os
import shutil
import unicodedata

import pytest

from tests.test_exclude import exclude
from tests.videos import from_folder, from_sample, make_video
from vqcast.errors import VqcastError
from vqcast.sources.exclusions import read_exclusions
from vqcast.sources.manifest import read_notes

NFC = unicodedata.normalize("NFC", "Köln.mp4")
NFD = unicodedata.normalize("NFD", "Köln.mp4")


@pytest.fixture
def folder(place):
    """Two different videos, and a copy of the first under another label and name."""
    root = place.folder / "videos"
    make_video(root / "cats/a.mp4")
    make_video(root / "cats/b.mp4", frames=19)
    (root / "dogs").mkdir()
    shutil.copyfile(root / "cats/a.mp4", root / "dogs/copy.mp4")
    return root


def status(place, folder):
    return {row["video"]: row["status"] for row in place.download(from_folder(folder))}


def test_copy_of_an_excluded_video_is_excluded_under_any_name(place, folder):
    exclude(place, "cats/a.mp4,asked for,2026-02-03")
    rows = {row["video"]: row for row in place.download(from_folder(folder))}
    assert {video: row["status"] for video, row in rows.items()} == {
        "cats/a.mp4": "excluded",
        "cats/b.mp4": "ok",
        "dogs/copy.mp4": "excluded",
    }
    assert rows["cats/a.mp4"]["reason"] == "excluded on 2026-02-03: asked for"
    copy = "excluded on 2026-02-03: asked for; its content is that of 'cats/a.mp4'"
    assert rows["dogs/copy.mp4"]["reason"] == copy
    assert rows["dogs/copy.mp4"]["sha256"] is None
    assert read_notes(place.raw) == ["'cats/a.mp4' took out 'cats/a.mp4', 'dogs/copy.mp4'"]


def test_content_is_excluded_by_its_sha256_wherever_it_lies(place, folder):
    content = {row["video"]: row["sha256"] for row in place.download(from_folder(folder))}["cats/a.mp4"]
    exclude(place, f"sha256:{content.upper()},asked for,2026-02-03")
    assert [video for video, said in status(place, folder).items() if said == "excluded"] == [
        "cats/a.mp4",
        "dogs/copy.mp4",
    ]


def test_clip_leaves_out_copies_too_where_the_table_came_after_the_download(place, folder):
    place.download(from_folder(folder))
    exclude(place, "dogs/copy.mp4,asked for,2026-02-03")
    assert [row["video"] for row in place.clip()] == ["cats/b.mp4"]


def test_youtube_id_is_excluded_with_and_without_its_kind(place):
    root = place.folder / "videos"
    make_video(root / "cats/-aaaaaaaaa__000001_000011.mp4")
    make_video(root / "cats/b.mp4", frames=19)
    exclude(place, "youtube:-aaaaaaaaa_,asked for,2026-02-03")
    assert status(place, root) == {"cats/-aaaaaaaaa__000001_000011.mp4": "excluded", "cats/b.mp4": "ok"}


def test_name_that_ends_in_a_blank_can_be_excluded(place):
    root = place.folder / "videos"
    make_video(root / "cats/a.mp4")
    os.rename(root / "cats/a.mp4", root / "cats/a.mp4 ")
    make_video(root / "cats/b.mp4", frames=19)
    exclude(place, '"cats/a.mp4 ",asked for,2026-02-03')
    assert status(place, root) == {"cats/a.mp4 ": "excluded", "cats/b.mp4": "ok"}


@pytest.mark.parametrize(
    ("id", "hint"),
    [
        ("cats/c.mp4", ""),
        ("Cats/A.MP4", "; there is 'cats/a.mp4'"),
        ("./cats/a.mp4", "; there is 'cats/a.mp4'"),
        ("cats//a.mp4", "; there is 'cats/a.mp4'"),
        (" cats/a.mp4", "; there is 'cats/a.mp4'"),
        ("cats/a.mp4#000", "; it is a clip's id, of the video 'cats/a.mp4'"),
        ("A" * 64, f"; a content is excluded by sha256:{'a' * 64}"),
        ("sha256:" + "0" * 64, ""),
        ("youtube:aaaaaaaaaaa", ""),
        ("cats", ""),
    ],
)
def test_id_that_fits_nothing_is_said_with_what_may_be_meant(place, folder, capsys, id, hint):
    exclude(place, f"{id},asked for,2026-02-03", "cats/b.mp4,asked for,2026-02-03")
    place.download(from_folder(folder))
    sentence = f"{id!r} took out nothing{hint}"
    assert f"exclusions: {sentence}\n" in capsys.readouterr().err
    assert read_notes(place.raw) == [sentence, "'cats/b.mp4' took out 'cats/b.mp4'"]


@pytest.mark.parametrize(("there", "asked"), [(NFC, NFD), (NFD, NFC)])
def test_name_whose_accents_are_written_otherwise_is_said(place, capsys, there, asked):
    make_video(place.folder / "videos/cats" / there)
    exclude(place, f"cats/{asked},asked for,2026-02-03")
    place.download(from_folder(place.folder / "videos"))
    said = capsys.readouterr().err
    assert f"took out nothing; there is 'cats/{there}' ({'cats/' + there!a})" in said


def test_id_of_many_videos_says_how_many(place):
    ids = [f"train-{index:05d}" for index in range(6)]
    rows = place.download(from_sample(train_videos=6))
    assert {row["video"] for row in rows} >= set(ids)
    taken = dict.fromkeys(ids, "x")
    took, _ = read_exclusions(place.exclude).account(taken, ids)
    assert took[0].endswith("'train-00004' and 1 more")


def test_table_without_ids_leaves_the_manifest_as_it_was(place):
    place.download(from_sample())
    assert read_notes(place.raw) == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sha256:abc,x,2026-02-03", "line 2: sha256: must be followed by 64 hex digits, not 'abc'"),
        ("youtube:abc,x,2026-02-03", "line 2: youtube: must be followed by a YouTube id of 11 characters"),
        ("a,x,2026-02-03,near,more", "line 2: it has more than the columns id,reason,date"),
        ('" ",x,2026-02-03', "line 2: the id is missing"),
    ],
)
def test_line_that_makes_no_sense_is_refused_by_number(place, line, sentence):
    exclude(place, line)
    with pytest.raises(VqcastError, match=sentence):
        place.download(from_sample())
