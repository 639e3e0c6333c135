"""The clip stage: what becomes of each video, the same bytes however it is run, and what stops it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from tests.videos import Workspace, from_folder, from_sample, make_video, one
from vqcast.clips.shards import Shard
from vqcast.errors import VqcastError
from vqcast.media.decoding import count_frames

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def place(tmp_path):
    return Workspace(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "videos" / "label"


def clip_folder(place, **settings):
    place.download(from_folder(place.folder / "videos", val_share=0.0))
    return place.clip(**settings)


def by_video(rows):
    return {row["video"].removeprefix("label/"): row for row in rows}


def test_manifest_says_what_the_shards_hold(place):
    place.download(from_sample(train_videos=7, val_videos=2))
    rows = place.clip(videos_per_shard=3)
    names = sorted(path.name for path in place.clips.iterdir())
    assert names[0] == "train-00000.arrow" and names[-1].startswith("val-")
    held = [
        Shard(place.clips / name)[row][0] for name in names for row in range(len(Shard(place.clips / name)))
    ]
    assert held == [row["clip"] for row in rows]
    for row in rows:
        clip, mp4 = Shard(place.clips / row["shard"])[row["row"]]
        assert (clip, len(mp4), count_frames(mp4)) == (row["clip"], row["bytes"], row["frames"])
        assert row["shard"].startswith(row["split"])
        assert (row["frames"], row["fps"], row["start"], row["end"]) == (20, 25.0, 0.0, 0.8)


def test_shard_opens_as_an_arrow_table(place):
    place.download(from_sample())
    place.clip()
    table = pa.ipc.open_file(place.clips / "val-00000.arrow").read_all()
    assert table.column_names == ["clip", "video"]
    assert table["clip"].to_pylist() == ["val-00000#000", "val-00001#000"]


def test_long_video_is_cut_and_its_short_tail_is_rejected(place, folder):
    make_video(folder / "a.mp4", frames=57)
    rows = clip_folder(place, seconds=1.0)
    assert [(row["frames"], row["status"]) for row in rows] == [(25, "ok"), (25, "ok"), (7, "rejected")]
    assert [(row["start"], row["end"]) for row in rows] == [(0.0, 1.0), (1.0, 2.0), (2.0, 2.28)]
    assert [row["clip"] for row in rows] == [f"label/a.mp4#{index:03d}" for index in range(3)]
    assert rows[2]["reason"] == "7 frames, a window needs 16"
    assert rows[2]["shard"] is None


def test_tail_that_holds_a_window_is_kept(place, folder):
    make_video(folder / "a.mp4", frames=41)
    assert [row["frames"] for row in clip_folder(place, seconds=1.0)] == [25, 16]


def test_every_unusable_video_gets_a_row_with_the_reason_and_the_rest_is_kept(place, folder):
    make_video(folder / "-good (1).mp4")
    make_video(folder / "short.mp4", frames=3)
    (folder / "text.mp4").write_text("not a video\n")
    (folder / "empty.mp4").touch()
    truncated = make_video(folder / "truncated.mp4")  # its index is at the end
    truncated.write_bytes(truncated.read_bytes()[:-400])
    rows = by_video(clip_folder(place))
    assert len(rows) == 5
    assert (rows["-good (1).mp4"]["status"], rows["-good (1).mp4"]["frames"]) == ("ok", 20)
    assert rows["short.mp4"]["reason"] == "3 frames, a window needs 16"
    for video in ("short.mp4", "text.mp4", "empty.mp4", "truncated.mp4"):
        assert (rows[video]["status"], rows[video]["shard"]) == ("rejected", None)
        assert rows[video]["reason"]
        assert str(place.folder) not in rows[video]["reason"]


def test_video_that_takes_too_long_is_rejected(place, folder):
    make_video(folder / "a.mp4")
    with pytest.raises(VqcastError, match=r"1 x decoding takes longer than 0\.001 s \('label/a\.mp4'\)"):
        clip_folder(place, time_limit=0.001)


def test_source_size_is_the_displayed_one_and_clips_are_squares_of_the_wanted_size(place, folder):
    make_video(folder / "a.mp4", size="96x50")
    row = one(clip_folder(place, resolution=40))
    assert (row["width"], row["height"]) == (96, 50)
    _, mp4 = Shard(place.clips / row["shard"])[row["row"]]
    assert count_frames(mp4) == 20


def test_wanted_rate_sets_frames_and_fps(place, folder):
    make_video(folder / "a.mp4", frames=50)
    row = one(clip_folder(place, fps=10.0))
    assert (row["frames"], row["fps"]) == (20, 10.0)


def test_licence_and_attribution_travel_with_the_clip(place, folder):
    make_video(folder / "a.mp4")
    (folder.parent / "videos.csv").write_text(
        'video,split,licence,attribution,url\nlabel/a.mp4,val,CC-BY-4.0,"A ""B"" C",https://example.org/a\n'
    )
    row = one(clip_folder(place))
    assert (row["split"], row["licence"], row["attribution"]) == ("val", "CC-BY-4.0", 'A "B" C')
    assert row["url"] == "https://example.org/a"
    assert row["shard"] == "val-00000.arrow"


def test_video_that_failed_to_download_is_not_cut(place, folder):
    make_video(folder / "a.mp4")
    (folder.parent / "videos.csv").write_text("video,split\nlabel/a.mp4,train\nlabel/gone.mp4,train\n")
    assert [row["video"] for row in clip_folder(place)] == ["label/a.mp4"]


def test_no_usable_video_is_one_sentence(place, folder):
    make_video(folder / "a.mp4", frames=3)
    with pytest.raises(VqcastError, match="none of the 1 videos is usable: 1 x 3 frames, a window needs 16"):
        clip_folder(place, max_rejected_share=1.0)
    assert not place.clips.exists()


def test_too_many_unusable_videos_stop_the_stage_with_a_summary(place, folder):
    for name in "abc":
        make_video(folder / f"{name}.mp4", frames=20 if name == "a" else 3)
    sentence = (
        r"2 of 3 videos are unusable, more than clip\.max_rejected_share \(0\.5\) allows: "
        r"2 x 3 frames, a window needs 16 \('label/b\.mp4'\)"
    )
    with pytest.raises(VqcastError, match=sentence):
        clip_folder(place, max_rejected_share=0.5)


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_stored_file_that_is_not_what_was_downloaded_is_named(place, harm):
    row = place.download(from_sample())[3]
    stored = place.store / row["file"]
    if harm == "changed":
        stored.write_bytes(stored.read_bytes() + b"x")
    else:
        stored.unlink()
    with pytest.raises(
        VqcastError, match=rf"{stored.name}, the video '{row['video']}', is .* dvc repro --force"
    ):
        place.clip()


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    outputs = []
    for workers in ("1", "2"):
        monkeypatch.setenv("VQCAST_WORKERS", workers)
        place = Workspace(tmp_path / workers)
        place.download(from_sample(train_videos=18, val_videos=2))
        place.clip()
        outputs.append(place.outputs())
    assert outputs[0] == outputs[1]


def start_stages(folder):
    """A workspace with a params.yaml of its own, and a function that starts a stage there."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["download"]["source"] = "sample"
    settings["download"]["sample"] = {"train_videos": 30, "val_videos": 4, "frames": 20, "seed": 0}
    settings["clip"] |= {"resolution": 64, "seconds": 10.0, "videos_per_shard": 9}
    settings["window"] = {"frames": 16, "given": 4, "stride": 16}
    (folder / "data").mkdir(parents=True)
    (folder / "data/exclude.csv").write_text("id,reason,date\n")
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))

    def start(stage, *arguments, workers="2"):
        command = [sys.executable, "-m", f"stages.{stage}", *arguments]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": workers}
        return subprocess.Popen(
            command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    return start


DOWNLOAD = (
    "download",
    "--kinetics",
    "data/kinetics",
    "--store",
    "data/raw",
    "--exclude",
    "data/exclude.csv",
    "--out",
    "data/raw.parquet",
)
CLIP = (
    "clip",
    "--raw",
    "data/raw.parquet",
    "--store",
    "data/raw",
    "--exclude",
    "data/exclude.csv",
    "--out",
    "data/clips",
    "--manifest",
    "data/clips.parquet",
)


def run_to_end(process):
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def outputs(folder):
    data = folder / "data"
    files = [data / "raw.parquet", data / "clips.parquet", *sorted((data / "clips").iterdir())]
    return {path.name: path.read_bytes() for path in files}


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def processes_of(folder):
    """Processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found += [process] * ((process / "cwd").readlink() == folder)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_stages_killed_midway_leave_no_process_and_end_with_the_same_bytes(tmp_path, ending):
    undisturbed = start_stages(tmp_path / "undisturbed")
    assert run_to_end(undisturbed(*DOWNLOAD))[0] == 0
    assert run_to_end(undisturbed(*CLIP))[0] == 0

    folder = tmp_path / "killed"
    killed = start_stages(folder)
    stored = (folder / "data/raw").glob
    cut = (folder / ".vqcast/scratch/clip").glob
    for arguments, some_done in (
        (DOWNLOAD, lambda: len(list(stored("requests/*"))) > 6),
        (CLIP, lambda: len(list(cut("*/*/*.json"))) > 1),
    ):
        process = killed(*arguments)
        wait_for(some_done)
        process.send_signal(ending)
        assert run_to_end(process)[0] != 0
        wait_for(lambda: not processes_of(folder))
        code, errors = run_to_end(killed(*arguments, workers="1"))
        assert code == 0, errors
    assert outputs(folder) == outputs(tmp_path / "undisturbed")
    assert not list((folder / "data/raw").glob("partial/*"))
    (scratch,) = (folder / ".vqcast/scratch").glob("clip/*")
    assert [path.name for path in scratch.iterdir()] == ["shards"]


def test_stage_that_fails_says_so_in_one_sentence_and_with_exit_code_1(tmp_path):
    start = start_stages(tmp_path / "work")
    code, errors = run_to_end(start(*CLIP))
    assert code == 1
    assert "data/raw.parquet does not exist" in errors
    assert "Traceback" not in errors


def test_help_says_what_the_stage_does(tmp_path):
    for stage in ("download", "clip"):
        result = subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "videos" in result.stdout
