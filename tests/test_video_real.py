"""Real videos, of which the folder's videos.csv says how many frames a full decode gives."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.videos import WINDOW, Workspace, from_folder
from vqcast.clips.windows import Clips

LARGEST = 600_000  # bytes: the tests are to stay quick


@pytest.fixture
def some(real_videos):
    """The smallest video of every container and label, as rows of videos.csv."""
    with open(real_videos / "videos.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["bytes"]))
    first = {}
    for row in rows:
        if int(row["bytes"]) < LARGEST:
            first.setdefault((row["label"], Path(row["video"]).suffix), row)
    assert len(first) >= 3
    return list(first.values())


def test_real_videos_give_clips_of_all_their_frames(tmp_path, real_videos, some):
    root = tmp_path / "videos"
    for row in some:
        (root / row["label"]).mkdir(parents=True, exist_ok=True)
        (root / row["video"]).symlink_to(real_videos / row["video"])
    with open(root / "videos.csv", "w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=some[0])
        table.writeheader()
        table.writerows(some)

    place = Workspace(tmp_path)
    place.download(from_folder(root))
    rows = place.clip(resolution=64, seconds=2.0)

    frames = Counter()
    for row in rows:
        frames[row["video"]] += row["frames"]
        assert row["status"] == "ok" or row["frames"] < WINDOW.frames
    assert frames == {row["video"]: int(row["frames"]) for row in some}
    stated = {row["video"]: row for row in some}
    for row in rows:
        for name in ("label", "split", "licence"):
            assert row[name] == stated[row["video"]][name]
        assert (row["width"], row["height"]) == tuple(
            int(stated[row["video"]][name]) for name in ("width", "height")
        )

    clips = Clips(place.clips, place.manifest)
    for window in clips.windows("train", WINDOW):
        pixels = clips.frames(window, WINDOW.frames)
        assert pixels.shape == (16, 64, 64, 3)
        assert np.std(pixels) > 5
