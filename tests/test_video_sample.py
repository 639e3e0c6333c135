"""The embedded collection: the same on every run, several motions and sizes, and in need of a model."""

import numpy as np
import pytest

from tests.videos import Workspace, from_sample
from vqcast.embedded.motions import MOTIONS, PIXEL, Lot
from vqcast.embedded.synthesis import Camera, Scene, Sprite, Texture, render
from vqcast.sources.sample import Drawing, draw


def scene(motion, index, frames=34):
    return MOTIONS[motion](Lot(np.random.default_rng(index), frames))


def psnr_of_repeated_frame(frames, given=4):
    error = (frames[given:].astype(float) - frames[given - 1]) ** 2
    return 10 * np.log10(255**2 / error.mean())


def test_collection_is_the_same_bytes_whatever_the_number_of_workers(tmp_path, monkeypatch):
    tables = []
    for workers in ("1", "2"):
        monkeypatch.setenv("VQCAST_WORKERS", workers)
        place = Workspace(tmp_path / workers)
        place.download(from_sample(train_videos=12))
        tables.append(place.raw.read_bytes())
    assert tables[0] == tables[1]


def test_collection_that_grows_keeps_the_videos_it_had(tmp_path):
    place = Workspace(tmp_path)
    small = {row["video"]: row["sha256"] for row in place.download(from_sample(train_videos=3, val_videos=1))}
    large = {row["video"]: row["sha256"] for row in place.download(from_sample(train_videos=5, val_videos=2))}
    assert len(large) == 7
    assert small.items() <= large.items()


def test_video_that_the_store_holds_is_not_drawn_again(tmp_path):
    place = Workspace(tmp_path)
    files = [place.store / row["file"] for row in place.download(from_sample())]
    written = [file.stat().st_mtime_ns for file in files]
    place.download(from_sample())
    assert [file.stat().st_mtime_ns for file in files] == written


def test_stored_video_that_was_changed_is_drawn_again(tmp_path):
    place = Workspace(tmp_path)
    row = place.download(from_sample())[0]
    good = (place.store / row["file"]).read_bytes()
    (place.store / row["file"]).write_bytes(b"changed")
    place.download(from_sample())
    assert (place.store / row["file"]).read_bytes() == good


def test_another_seed_gives_other_videos(tmp_path):
    first = Workspace(tmp_path / "a").download(from_sample(seed=0))
    second = Workspace(tmp_path / "b").download(from_sample(seed=1))
    assert not {row["sha256"] for row in first} & {row["sha256"] for row in second}


def test_every_kind_of_motion_is_a_label_of_train_and_val(tmp_path):
    rows = Workspace(tmp_path).download(from_sample(train_videos=6, val_videos=6))
    for split in ("train", "val"):
        assert {row["label"] for row in rows if row["split"] == split} == set(MOTIONS)
    assert "marching (children's parade)" in MOTIONS


def test_videos_have_different_sizes_and_shapes():
    sizes = {draw(Drawing("train", index, 0, 2, "")).shape[1:3] for index in range(40)}
    assert {np.sign(width - height) for height, width in sizes} == {-1, 0, 1}
    assert len(sizes) == 5


@pytest.mark.parametrize("motion", MOTIONS)
def test_repeating_the_fourth_frame_is_a_poor_prediction(motion):
    index = tuple(MOTIONS).index(motion)
    drawings = [Drawing("val", index + k * len(MOTIONS), 0, 16, "") for k in range(6)]
    scores = [psnr_of_repeated_frame(draw(drawing)) for drawing in drawings]
    assert 12 < np.mean(scores) < 23


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("index", range(3))
def test_camera_moves_at_constant_speed_spin_and_zoom(motion, index):
    camera = scene(motion, index).camera
    for path in (camera.x, camera.y, camera.angle, np.log(camera.zoom)):
        np.testing.assert_allclose(np.diff(path, 2), 0, atol=1e-9)


@pytest.mark.parametrize("index", range(6))
def test_bouncing_sprite_keeps_its_speed_and_stays_in_the_square(index):
    for sprite in scene("bouncing", index).sprites:
        for path in (sprite.x, sprite.y):
            assert np.all(np.abs(path) + sprite.radius <= 0.5 + 1e-9)
            steps = np.abs(np.diff(path))
            turned = np.abs(np.diff(path, 2)) > 1e-9  # a frame at either side of a bounce
            assert np.all(steps <= 3 * PIXEL + 1e-9)
            np.testing.assert_allclose(steps[1:][~turned], steps[:-1][~turned])


def still_scene(*sprites):
    """One frame of discs: (colour, x, y, wraps), over black."""
    path = np.zeros(1)
    flat = ((1.0, 0.0, 0.0, 0.0),)
    black = Texture(((0, 0, 0), (0, 0, 0)), flat)
    discs = tuple(
        Sprite("disc", Texture((colour, colour), flat), path + 0.2, path + x, path + y, path, wraps)
        for colour, x, y, wraps in sprites
    )
    return Scene(black, Camera(path, path, path, path + 1), discs)


def test_later_sprite_hides_the_earlier_one():
    red, green = (200, 0, 0), (0, 200, 0)
    frame = render(still_scene((red, 0.0, 0.0, False), (green, 0.15, 0.0, False)), 64, 64)[0]
    assert frame[32, 36].tolist() == [0, 200, 0]
    assert frame[32, 24].tolist() == [200, 0, 0]
    assert frame[2, 2].tolist() == [0, 0, 0]


def test_sprite_that_leaves_a_panned_scene_enters_on_the_other_side():
    frame = render(still_scene(((200, 0, 0), 0.5, 0.0, True)), 64, 64)[0]
    assert frame[32, 0].tolist() == frame[32, 63].tolist() == [200, 0, 0]
    assert frame[32, 32].tolist() == [0, 0, 0]


def test_edges_of_a_sprite_are_smooth():
    frame = render(still_scene(((200, 0, 0), 0.01, 0.02, False)), 64, 64)[0]
    assert len(np.unique(frame[..., 0])) > 10
