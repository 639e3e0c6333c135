"""Odd videos, of which the folder's videos.csv says what a full decode gives: so does the clip stage."""

import csv
import os

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.videos import WINDOW, Workspace, from_folder
from vqcast.clips.shards import Shard
from vqcast.media.decoding import decode

LUMA = (0.299, 0.587, 0.114)
TURNED = {"nasa_13013_rotated.mp4"}  # by its container; videos.csv looked at its frames alone


def listed() -> list[dict]:
    """The rows of videos.csv; none, and the tests are skipped, where VQCAST_EDGE names no folder."""
    if not os.environ.get("VQCAST_EDGE"):
        return []
    with open(ROOT / os.environ["VQCAST_EDGE"] / "videos.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory, edge_videos):
    place = Workspace(tmp_path_factory.mktemp("edge"))
    folder = place.folder / "collection"
    folder.mkdir()
    (folder / "odd").symlink_to(edge_videos / "videos")
    place.download(from_folder(folder, val_share=0))
    place.rows = place.clip(resolution=64, seconds=2.0)
    return place


def rows_of(place, video):
    return [row for row in place.rows if row["video"] == f"odd/{video}"]


def pixels_of(place, video):
    """The frames of a video's first clip, (T, H, W, 3)."""
    row = rows_of(place, video)[0]
    _, mp4 = Shard(place.clips / row["shard"])[row["row"]]
    return decode(mp4, range(row["frames"]))


@pytest.mark.parametrize("stated", listed(), ids=lambda row: row["video"])
def test_video_gives_the_frames_rate_and_size_of_a_full_decode(place, stated):
    rows = rows_of(place, stated["video"])
    assert sum(row["frames"] for row in rows) == int(stated["frames"])
    size = (int(stated["width"]), int(stated["height"]))
    turned = abs(int(stated["rotation"])) == 90 or stated["video"] in TURNED
    displayed = size[::-1] if turned else size
    for row in rows:
        assert (row["width"], row["height"]) == displayed
        assert row["fps"] == pytest.approx(float(stated["fps"]), abs=0.001)
        enough = row["frames"] >= WINDOW.frames
        assert row["status"] == ("ok" if enough else "rejected")
        assert enough or row["reason"].startswith(f"{row['frames']} frames, a window needs 16")


def test_only_the_video_that_breaks_off_is_not_what_it_says(place):
    noted = {row["video"]: row["note"] for row in place.rows if row["note"]}
    assert noted == {"odd/corrupted.mp4": "breaks off after 28 frames: Invalid NAL unit size (-1 > 551)."}


def test_range_that_a_video_states_is_the_one_it_is_read_in(place):
    """The two hold nearly the same samples, from 16 to 235: in full range, neither black nor white."""
    full, limited = (pixels_of(place, f"bt601_{span}_range.mp4") @ LUMA for span in ("full", "limited"))
    stretched = np.clip((full - 16) * 255 / 219, 0, 255)
    assert np.abs(stretched - limited).mean() < 6 < np.abs(full - limited).mean()
