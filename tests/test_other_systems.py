"""Another system's videos: a folder or an array, read in order, and refused by name where they are none."""

import dataclasses

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.videos import WINDOW, make_video
from vqcast.errors import VqcastError
from vqcast.measures.arrays import ArrayFile
from vqcast.metrics.systems import OtherVideos
from vqcast.settings.checks import SettingsError
from vqcast.settings.evaluate import OtherSystem
from vqcast.settings.params import load_settings


def opened(root, path: str) -> OtherVideos:
    return OtherVideos(OtherSystem("GAN", path, "a test"), root, WINDOW)


@pytest.fixture
def folder(tmp_path):
    """Three videos of 16 frames, and what is no video but hidden."""
    for number in range(3):
        make_video(tmp_path / f"gan/{number}.mp4", frames=16, size="48x48", rate=str(10 + 5 * number))
    (tmp_path / "gan/.DS_Store").write_text("no video")
    return tmp_path


def test_a_folders_videos_come_in_the_order_of_their_names(folder):
    videos = opened(folder, "gan")
    assert (len(videos), videos.frames, videos.pixels) == (3, 16, 48)
    whole = videos.read(range(3))
    assert whole.shape == (3, 16, 48, 48, 3) and whole.dtype == np.uint8
    assert not np.array_equal(whole[0], whole[1])
    np.testing.assert_array_equal(videos.read(range(1, 3)), whole[1:])
    np.testing.assert_array_equal(videos.predicted(range(2)), whole[:2, 4:])


def test_a_change_to_any_file_is_another_identity(folder):
    before = opened(folder, "gan").identity()
    assert [name for name, _ in before] == ["gan/0.mp4", "gan/1.mp4", "gan/2.mp4"]
    make_video(folder / "gan/1.mp4", frames=16, size="48x48", rate="30")
    after = opened(folder, "gan").identity()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]


def test_a_video_of_another_size_or_length_is_named(folder):
    make_video(folder / "gan/1.mp4", frames=15, size="48x48")
    with pytest.raises(VqcastError, match=r"gan/1\.mp4 has 15 frames of 48x48, where .*gan/0\.mp4 has 16"):
        opened(folder, "gan").read(range(3))


@pytest.mark.parametrize("content", [b"", b"not a video", b"#EXTM3U\nfile:///etc/passwd\n"])
def test_a_file_that_is_no_video_is_named_and_names_no_other_file(folder, content):
    (folder / "gan/0.mp4").write_bytes(content)
    with pytest.raises(VqcastError, match=r"gan/0\.mp4 is no video that can be decoded"):
        opened(folder, "gan")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "gan").mkdir()
    with pytest.raises(VqcastError, match="gan holds no video"):
        opened(tmp_path, "gan")


def test_an_array_that_is_cut_short_or_none_at_all_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 16, 8, 8, 3), np.uint8))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(data[:-1])
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    assert opened(tmp_path, "a.npy").read(range(3)).shape == (3, 16, 8, 8, 3)
    for name, said in {"short": "cut short", "text": "no .npy array", "objects": "array of numbers"}.items():
        with pytest.raises(VqcastError, match=f"{name}.npy .*{said}"):
            ArrayFile(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("names", [["model"], ["expectation"], ["../x"], ["<b>"], [""], ["GAN", "GAN"]])
def test_a_name_that_is_taken_or_no_name_is_refused(names):
    with pytest.raises(SettingsError, match="systems"):
        systems = tuple(OtherSystem(name, "a.npy", "") for name in names)
        dataclasses.replace(load_settings(ROOT / "params.yaml").evaluate, systems=systems)
