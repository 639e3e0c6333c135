"""Folders of predictions, ours and others', and the pairs that come of them."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.studies import HOSTILE, frames, save_predictions, windows
from tests.videos import Workspace, from_folder, make_brightening_video, make_video
from vqcast.clips.windows import Clips
from vqcast.errors import VqcastError
from vqcast.media.encoding import encode_mp4
from vqcast.rating.pairs import Comparison
from vqcast.rating.systems import System
from vqcast.sampling.store import write_samples
from vqcast.settings.data import Window
from vqcast.settings.params import load_settings

WINDOW = Window(frames=16, given=4, stride=4)
CLIP = load_settings(ROOT / "params.yaml").clip


def system(folder) -> System:
    return System(folder, WINDOW, CLIP)


def compare(a, b, clips="none", manifest="none", videos=30) -> Comparison:
    return Comparison(system(a), system(b), clips, manifest, videos)


def save_samples(folder, ids, size=16):
    """A folder as the sample stage writes it."""
    folder.mkdir()
    rows = [
        {"window": window, "sample": sample, "top": [0], "bottom": [0], "video": frames(sample + n, 12, size)}
        for n, window in enumerate(ids)
        for sample in (0, 1)
    ]
    write_samples(folder / "samples-00000.arrow", rows)
    return folder


def shown(picture: bytes, count: int) -> np.ndarray:
    """The frames (T, H, W, 3) of a picture."""
    rows = np.asarray(Image.open(io.BytesIO(picture)))
    return rows.reshape(count, -1, *rows.shape[1:])


def test_samples_of_the_pipeline_are_read_by_window_and_the_first_of_each_is_taken(tmp_path):
    ours = system(save_samples(tmp_path / "ours", ["x/1#000@00000", "x/2#000@00016"]))
    assert ours.windows == {"x/1#000@00000", "x/2#000@00016"}
    given, predicted = ours.frames("x/2#000@00016")
    assert given is None
    assert np.array_equal(predicted, frames(1, 12))


def test_files_of_another_system_are_read_by_their_names_whatever_they_hold(tmp_path):
    ids = windows(4)
    theirs = system(save_predictions(tmp_path / "theirs", ids, seed=1))
    assert theirs.windows == set(ids)
    given, predicted = theirs.frames(ids[1])
    assert np.array_equal(given, frames(1, 4)) and np.array_equal(predicted, frames(1001, 12))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_video_files_come_back_as_the_frames_they_were_made_of(tmp_path, suffix):
    video = np.linspace(0, 255, 16 * 32 * 32 * 3).astype(np.uint8).reshape(16, 32, 32, 3)
    video[..., 1:] = video[..., :1]  # grey: colour is at half resolution in an mp4
    path = tmp_path / "theirs" / f"-x#000@00000{suffix}"
    path.parent.mkdir()
    if suffix == ".mp4":
        encode_mp4(video, 8, path, crf=1)
    else:
        first, *others = map(Image.fromarray, video)
        first.save(path, save_all=True, append_images=others, duration=100)
    given, predicted = system(path.parent).frames("-x#000@00000")
    found = np.concatenate([given, predicted]).astype(int)
    assert found.shape == video.shape
    assert np.abs(found - video).mean() < 3


def test_given_frames_and_labels_come_from_the_clips_where_they_are(tmp_path):
    place = Workspace(tmp_path / "place")
    make_video(tmp_path / "videos" / HOSTILE / "one.mp4", frames=32)
    make_brightening_video(tmp_path / "videos" / HOSTILE / "two.mp4", frames=32)
    place.download(from_folder(tmp_path / "videos", val_share=1))
    place.clip()
    clips = Clips(place.clips, place.manifest)
    refs = clips.windows("val", WINDOW)
    ids = [ref.id for ref in refs]
    ours = save_samples(tmp_path / "ours", ids, size=32)
    comparison = compare(ours, save_samples(tmp_path / "theirs", ids, size=32), place.clips, place.manifest)
    for pair in comparison.pairs:
        assert (pair.label, pair.given, pair.frames) == (HOSTILE, 4, 16)
        true = clips.frames(refs[ids.index(pair.window)], 4)
        for picture in pair.pictures.values():
            assert np.array_equal(shown(picture, 16)[:4], true)
    alone = compare(ours, tmp_path / "theirs")
    assert {(pair.given, pair.frames) for pair in alone.pairs} == {(0, 12)}


def test_windows_are_chosen_from_as_many_clips_as_there_are_and_always_the_same_ones(tmp_path):
    ids = [f"x/{clip}#000@{start:05d}" for clip in range(6) for start in (0, 4, 8)]
    a, b = (save_predictions(tmp_path / name, ids, seed) for seed, name in enumerate("ab", 1))
    comparison = compare(a, b, videos=6)
    assert {pair.window.split("@")[0] for pair in comparison.pairs} == {f"x/{clip}#000" for clip in range(6)}
    assert comparison.in_common == 18
    assert [pair.window for pair in comparison.pairs] != sorted(pair.window for pair in comparison.pairs)
    assert compare(a, b, videos=6).fingerprint == comparison.fingerprint
    assert compare(b, a, videos=6).fingerprint != comparison.fingerprint
    assert len(compare(a, b, videos=100).pairs) == 18


def test_larger_predictions_are_brought_to_the_smaller_systems_size(tmp_path):
    ids = ["x/1#000@00000"]
    a, b = (save_samples(tmp_path / name, ids, size) for name, size in (("a", 16), ("b", 64)))
    (pair,) = compare(a, b).pairs
    assert shown(pair.pictures["a"], 12).shape == shown(pair.pictures["b"], 12).shape == (12, 16, 16, 3)


def test_predictions_from_other_given_frames_are_refused(tmp_path):
    ids = windows(2)
    a = save_predictions(tmp_path / "a", ids, 1)
    b = save_predictions(tmp_path / "b", ids[::-1], 2)
    with pytest.raises(VqcastError, match=r"are not the same in .*a and in .*b"):
        compare(a, b)


def save(folder, name, content) -> None:
    folder.mkdir()
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        np.save(folder / name, content, allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.npy", frames(0, 7), "prediction of 'x' has 7 frames; it must have 12"),
        ("x.npy", frames(0, 12).astype(float), r"must hold frames as uint8 .* not float64"),
        ("x.npy", np.array([{"a": 1}], dtype=object), "is no array of frames"),
        ("x.npy", b"\x93NUMPY cut sho", "is no array of frames"),
        ("x.mp4", b"#EXTM3U\nfile:///etc/passwd\n" * 20, "cannot be decoded"),
        ("x.txt", b"", "holds no predictions"),
    ],
)
def test_files_that_are_no_predictions_are_named(tmp_path, name, content, says):
    save(tmp_path / "a", name, content)
    with pytest.raises(VqcastError, match=says):
        system(tmp_path / "a").frames("x")


def test_systems_that_predict_nothing_in_common_are_told_by_example(tmp_path):
    a, b = (save_predictions(tmp_path / name, [name], 1) for name in "ab")
    with pytest.raises(VqcastError, match=r"no window in common; .* such as 'a', .* such as 'b'"):
        compare(a, b)
