"""Windows of clips: which there are, that they hold the right frames, and that damage is named."""

import dataclasses
import io
import pickle

import decord
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.videos import (
    WINDOW,
    Workspace,
    from_folder,
    from_sample,
    make_brightening_video,
    make_video,
    one,
    read_rows,
)
from vqcast.clips import windows as windows_module
from vqcast.clips.shards import Shard
from vqcast.clips.windows import Clips, WindowDataset
from vqcast.errors import VqcastError
from vqcast.media.decoding import decode
from vqcast.settings.data import Window
from vqcast.sources.manifest import CLIPS, write_manifest


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Workspace(tmp_path_factory.mktemp("sample"))
    place.download(from_sample(train_videos=7, val_videos=2))
    place.clip(resolution=64)
    return place


@pytest.fixture
def clips(place):
    return Clips(place.clips, place.manifest)


def test_windows_start_every_stride_and_lie_within_their_clip(clips):
    windows = clips.windows("train", Window(frames=8, given=4, stride=5))
    assert [window.start for window in windows[:4]] == [0, 5, 10, 0]  # clips of 20 frames
    assert len(windows) == 7 * 3
    assert [window.clip for window in windows] == sorted(window.clip for window in windows)


def test_window_id_names_the_clip_and_its_first_frame(clips):
    window = clips.windows("val", Window(frames=8, given=4, stride=5))[1]
    assert window.id == "val-00000#000@00005"
    assert (window.video, window.split, window.label) == ("val-00000", "val", "panning")


def test_windows_of_one_split_come_from_no_video_of_the_other(clips):
    train = {window.video for window in clips.windows("train", WINDOW)}
    val = {window.video for window in clips.windows("val", WINDOW)}
    assert train and val and not train & val


def test_row_of_a_clip_is_that_of_the_manifest(clips):
    row = clips.row("train-00003#000")
    assert (row["frames"], row["fps"], row["licence"]) == (20, 25.0, "CC0-1.0")


@pytest.mark.parametrize("size", [32, 40, 48, 64, 96])
def test_frames_are_those_from_the_windows_start_at_any_clip_size(tmp_path, size):
    (tmp_path / "videos/label").mkdir(parents=True)
    make_brightening_video(tmp_path / "videos/label/a.mp4")
    place = Workspace(tmp_path)
    place.download(from_folder(tmp_path / "videos", val_share=0))
    place.clip(resolution=size)
    clips = Clips(place.clips, place.manifest)
    whole = clips.frames(clips.windows("train", Window(frames=20, given=4, stride=20))[0], 20)
    assert (whole.shape, whole.dtype) == ((20, size, size, 3), np.uint8)
    assert np.all(np.diff(whole.mean(axis=(1, 2, 3))) > 4)
    for window in clips.windows("train", Window(frames=4, given=2, stride=1)):
        np.testing.assert_array_equal(clips.frames(window, 4), whole[window.start : window.start + 4])


def test_window_read_again_is_the_same_with_little_memory_and_with_much(clips, monkeypatch):
    windows = clips.windows("train", WINDOW)
    much = [clips.frames(window, 16) for window in [*windows, *windows]]
    monkeypatch.setattr(windows_module, "CACHED_BYTES", 1)
    fresh = pickle.loads(pickle.dumps(clips))
    little = [fresh.frames(window, 16) for window in [*windows, *windows]]
    np.testing.assert_array_equal(much, little)


def test_dataset_gives_channels_first_bytes_in_any_worker(clips):
    windows = clips.windows("train", WINDOW)
    dataset = WindowDataset(clips, windows, 16)
    here = torch.stack([dataset[index] for index in range(len(dataset))])
    assert (here.shape, here.dtype) == ((7, 3, 16, 64, 64), torch.uint8)
    np.testing.assert_array_equal(here[2].permute(1, 2, 3, 0), clips.frames(windows[2], 16))
    # Processes of their own, as the pipeline's are, and no forks of one in which other tests left threads.
    workers = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="forkserver")
    there = torch.cat(list(workers))
    assert torch.equal(here, there)


def test_flipped_byte_in_a_shard_is_named(tmp_path, place):
    clips = Clips(tmp_path, place.manifest)
    windows = clips.windows("train", WINDOW)
    for path in place.clips.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / windows[4].shard
    content = bytearray(shard.read_bytes())
    position = content.index(b"moov", content.index(windows[4].clip.encode()))
    content[position] ^= 1
    shard.write_bytes(content)
    clips.frames(windows[3], 16)
    with pytest.raises(
        VqcastError, match=rf"{shard.name} is damaged: row 1 is not the clip '{windows[4].clip}'"
    ):
        clips.frames(windows[4], 16)


def test_shard_that_is_cut_short_is_named(tmp_path, place):
    clips = Clips(tmp_path, place.manifest)
    window = clips.windows("val", WINDOW)[0]
    (tmp_path / window.shard).write_bytes((place.clips / window.shard).read_bytes()[:-100])
    with pytest.raises(VqcastError, match=rf"{window.shard} is damaged"):
        clips.frames(window, 16)


def test_missing_shard_is_named(tmp_path, place):
    clips = Clips(tmp_path, place.manifest)
    with pytest.raises(VqcastError, match=r"the shard .*val-00000\.arrow does not exist"):
        clips.frames(clips.windows("val", WINDOW)[0], 16)


def test_shards_of_another_run_are_named(tmp_path, place, clips):
    window = clips.windows("train", WINDOW)[0]
    with pytest.raises(VqcastError, match="is damaged"):
        clips.frames(dataclasses.replace(window, sha256="0" * 64), 16)


def test_split_without_a_usable_clip_is_one_sentence(tmp_path, place):
    write_manifest(read_rows(place.manifest)[:1], CLIPS, tmp_path / "clips.parquet")
    with pytest.raises(VqcastError, match="lists no clip of split 'val' that holds 16 frames"):
        Clips(place.clips, tmp_path / "clips.parquet").windows("val", WINDOW)


def test_manifest_of_something_else_is_one_sentence(tmp_path, place):
    with pytest.raises(VqcastError, match=r"raw\.parquet lacks the columns clip, frames"):
        Clips(place.clips, place.raw)
    make_video(tmp_path / "a.mp4")
    with pytest.raises(VqcastError, match=r"a\.mp4 is not a parquet table"):
        Clips(place.clips, tmp_path / "a.mp4")


@pytest.mark.parametrize("gop", [1, 7, 100])
def test_any_part_of_a_clip_is_read_alike_whatever_its_keyframes(tmp_path, gop):
    make_video(tmp_path / "videos/label/a.mp4", frames=60)
    place = Workspace(tmp_path)
    place.download(from_folder(tmp_path / "videos", val_share=0))
    row = one(place.clip(resolution=64, gop=gop))
    _, mp4 = Shard(place.clips / row["shard"])[row["row"]]
    reader = decord.VideoReader(io.BytesIO(mp4))
    whole = np.stack([reader[index].asnumpy() for index in range(60)])
    for start, stop in [(0, 60), (0, 1), (6, 8), (7, 23), (44, 60), (59, 60)]:
        np.testing.assert_array_equal(decode(mp4, range(start, stop)), whole[start:stop])
