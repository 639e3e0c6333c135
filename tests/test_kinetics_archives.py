"""The source `kinetics-archives`: what comes of a mirror, what later runs do, and the stage itself."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import ROOT
from tests.mirror import (
    PATIENCE,
    all_came,
    annotation,
    by_clip,
    clip_id,
    content,
    file,
    files,
    member,
    outcomes,
    pack,
    put_whole,
    stored,
    youtube_id,
)
from tests.site import Reply
from tests.test_clip_stage import processes_of, run_to_end, wait_for
from tests.videos import Workspace, make_video
from vqcast.settings.data import KineticsSelection
from vqcast.sources.annotations import parse

# What comes of a good archive


def test_clips_of_an_archive_become_rows_and_files_and_the_archive_is_not_kept(mirror, place):
    mirror.annotate(annotation(1), annotation(2, "val", "juggling"), annotation(3))
    packed = pack(file(1), file(2, name="./val/{}.mp4"), file(9))
    url = mirror.archive("part_0", packed)
    mirror.archive("part_1", pack(file(3)))
    rows = by_clip(place.download(mirror.settings()))
    assert [(row["label"], row["split"], row["outcome"]) for row in rows.values()] == [
        ("cutting/slicing (fruit)", "train", "ok"),
        ("juggling", "val", "ok"),
        ("cutting/slicing (fruit)", "train", "ok"),
    ]
    assert {number: stored(place, row) for number, row in rows.items()} == {n: content(n) for n in (1, 2, 3)}
    assert rows[1]["video"] == "-id00000001_000005_000015"
    assert rows[1]["url"] == f"{url}#-id00000001_000005_000015.mp4"
    assert [path.suffix for path in files(place.store) if path.stat().st_size > 2000] == [".mp4"] * 3


def test_genuine_annotations_an_archive_of_real_video_and_clips_cut_from_it(kinetics, mirror, place):
    text = (kinetics / "kinetics-400_val.csv").read_text()
    mirror.site.put("/600/annotations/all.csv", Reply(text.encode()))
    segments = [segment for segment in parse("val", text) if segment.label == "massaging person's head"]
    video = make_video(place.folder / "video.mp4").read_bytes()
    members = [member(f"{segment.id}.mp4", video + bytes([i])) for i, segment in enumerate(segments)]
    mirror.archive("part_0", pack(*members[1:]))
    selection = KineticsSelection(
        mirror.settings().kinetics.annotations, ("val",), ("Massaging person's head",), None
    )
    rows = place.download(mirror.settings(kinetics=selection))
    assert len(rows) == len(segments) > 40
    assert {row["licence"] for row in rows} == {"CC-BY", "YouTube standard licence"}
    assert [row["video"] for row in rows if row["outcome"] == "absent"] == [segments[0].id]
    clips = place.clip()
    assert {row["status"] for row in clips} == {"ok"}
    assert {row["label"] for row in clips} == {"massaging person's head"}
    assert len(clips) == len(segments) - 1


def test_annotation_files_and_lists_may_lie_in_a_folder(mirror, place):
    url = mirror.archive("part_0", pack(file(1)))
    place.kinetics.mkdir()
    (place.kinetics / "all.csv").write_text(f"label,youtube_id,time_start,time_end,split\n{annotation(1)}\n")
    (place.kinetics / "list.txt").write_text(url)
    settings = mirror.settings()
    settings = dataclasses.replace(
        settings,
        kinetics=dataclasses.replace(settings.kinetics, annotations=("all.csv",)),
        kinetics_archives=dataclasses.replace(settings.kinetics_archives, lists=("list.txt",)),
    )
    assert outcomes(place.download(settings)) == {1: "ok"}


def test_table_does_not_depend_on_the_number_of_workers(mirror, tmp_path, monkeypatch):
    mirror.annotate(*(annotation(number) for number in range(20)))
    for part in range(5):
        mirror.archive(f"part_{part}", pack(*(file(number) for number in range(4 * part, 4 * part + 5))))
    tables = []
    for workers in ("1", "3"):
        monkeypatch.setenv("VQCAST_WORKERS", workers)
        place = Workspace(tmp_path / workers)
        place.download(mirror.settings())
        tables.append(place.raw.read_bytes())
    assert tables[0] == tables[1]


# What later runs do


def test_archive_that_was_read_whole_is_not_fetched_again(mirror, place):
    put_whole(mirror, Reply())
    table = place.download(mirror.settings())
    assert place.download(mirror.settings()) == table
    assert len(mirror.spans("part_0")) == 1


def test_later_run_tries_what_was_transient_and_keeps_what_came(mirror, place):
    mirror.annotate(annotation(1), annotation(2), annotation(3))
    mirror.archive("part_0", pack(file(1)))
    mirror.archive("part_1", *[Reply(status=500)] * PATIENCE.tries, Reply(pack(file(2))))
    assert outcomes(place.download(mirror.settings())) == {1: "ok", 2: "network", 3: "network"}
    assert outcomes(place.download(mirror.settings())) == {1: "ok", 2: "ok", 3: "absent"}
    assert len(mirror.spans("part_0")) == 1


def test_clips_of_an_archive_that_is_gone_meanwhile_stay(mirror, place):
    packed = put_whole(mirror, Reply(cut_after=20000), Reply(status=500))
    came = {row["video"] for row in place.download(mirror.settings()) if row["outcome"] == "ok"}
    assert 0 < len(came) < 12
    mirror.site.put("/600/train/part_0.tar.gz", Reply(status=500))
    rows = place.download(mirror.settings())
    assert {row["video"] for row in rows if row["outcome"] == "ok"} == came
    mirror.site.put("/600/train/part_0.tar.gz", Reply(packed))
    assert all_came(place, place.download(mirror.settings()))


def test_stored_clip_that_was_changed_is_fetched_again(mirror, place):
    put_whole(mirror, Reply())
    row = place.download(mirror.settings())[4]
    (place.store / row["file"]).write_bytes(b"changed")
    assert all_came(place, place.download(mirror.settings()))


def test_clip_is_read_again_only_where_its_file_was_written_to(mirror, place):
    put_whole(mirror, Reply())
    path = place.store / by_clip(place.download(mirror.settings()))[3]["file"]
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    place.download(mirror.settings())
    assert len(mirror.spans("part_0")) == 1
    os.utime(path)
    assert all_came(place, place.download(mirror.settings()))
    assert len(mirror.spans("part_0")) == 2


def test_selection_that_grows_fetches_what_it_lacks_and_one_that_shrinks_fetches_nothing(mirror, place):
    put_whole(mirror, Reply())
    some = dataclasses.replace(mirror.settings().kinetics, max_per_label=3)
    first = place.download(mirror.settings(kinetics=some))
    assert len(first) == 3
    assert len([path for path in files(place.store) if path.suffix == ".mp4"]) == 3
    assert all_came(place, place.download(mirror.settings()))
    assert len(mirror.spans("part_0")) == 2
    assert place.download(mirror.settings(kinetics=some)) == first
    assert len(mirror.spans("part_0")) == 2


# What is left out, and what is said of it


def test_training_clip_of_a_validation_video_gets_a_row_with_the_reason_and_is_not_stored(mirror, place):
    mirror.annotate(annotation(1), annotation(2), f"juggling,{youtube_id(1)},50,60,val")
    val = member(f"{youtube_id(1)}_000050_000060.mp4", content(7))
    mirror.archive("part_0", pack(file(1), file(2), val))
    rows = place.download(mirror.settings())
    assert [(row["video"][3:], row["split"], row["outcome"], row["status"]) for row in rows] == [
        ("00000001_000005_000015", "train", "held-out", "excluded"),
        ("00000002_000005_000015", "train", "ok", "ok"),
        ("00000001_000050_000060", "val", "ok", "ok"),
    ]
    assert rows[0]["reason"] == "its YouTube video is in the split val too"
    assert len([path for path in files(place.store) if path.suffix == ".mp4"]) == 2


@pytest.mark.parametrize("excluded", [youtube_id(1), clip_id(1)])
def test_excluded_clip_gets_a_row_with_the_reason_and_is_not_stored(mirror, place, excluded):
    mirror.annotate(annotation(1), annotation(2))
    mirror.archive("part_0", pack(file(1), file(2)))
    place.exclude.write_text(f'id,reason,date\n{excluded},"asked for by its author",2026-02-03\n')
    rows = by_clip(place.download(mirror.settings()))
    assert (rows[1]["status"], rows[1]["outcome"], rows[1]["file"]) == ("excluded", "excluded", None)
    assert rows[1]["reason"] == "excluded on 2026-02-03: asked for by its author"
    assert rows[2]["status"] == "ok"
    assert len([path for path in files(place.store) if path.suffix == ".mp4"]) == 1


def test_copy_that_is_partly_there_is_said_so_by_outcome_and_label(mirror, place, capfd):
    lines = [annotation(number, label="juggling") for number in range(5)]
    mirror.annotate(*lines, annotation(5, label="yoga"), annotation(6))
    mirror.archive("part_0", pack(file(0), file(1, b""), file(5, b"<html>"), file(6)))
    mirror.archive("part_1", Reply(status=500))
    place.download(mirror.settings())
    said = capfd.readouterr().err
    assert "2 of 7 videos are here. Those that are not:" in said
    assert "network              3  juggling 3/5\n" in said
    assert "no-video             2  juggling 1/5, yoga 1/1\n" in said
    assert "labels without a single video: yoga\n" in said
    assert "3 may be had later: dvc repro --force --single-item download\n" in said


DOWNLOAD = (
    "-m stages.download --kinetics data/kinetics --store data/raw --exclude data/exclude.csv "
    "--out data/raw.parquet"
)


def start_download(folder, settings, workers="2", command=None):
    """The stage itself, as DVC starts it, or another command in its place."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data/exclude.csv").write_text("id,reason,date\n")
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["download"] = yaml.safe_load(yaml.safe_dump(_plain(settings)))
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    return subprocess.Popen(
        command or [sys.executable, *DOWNLOAD.split()],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": workers},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _plain(section):
    """Settings as params.yaml has them."""
    if dataclasses.is_dataclass(section):
        return {field.name: _plain(getattr(section, field.name)) for field in dataclasses.fields(section)}
    return list(section) if isinstance(section, tuple) else section


@pytest.mark.parametrize(("status", "code"), [(500, os.EX_TEMPFAIL), (404, 1)])
def test_stage_ends_with_75_where_too_much_is_transient_and_with_1_where_too_much_is_gone(
    mirror, tmp_path, status, code
):
    mirror.annotate(annotation(1), annotation(2))
    mirror.archive("part_0", pack(file(1)))
    mirror.archive("part_1", Reply(status=status))
    ended, errors = run_to_end(start_download(tmp_path, mirror.settings(max_failed_share=0.4)))
    assert ended == code
    assert "download: 1 of 2 videos cannot be had, more than download.max_failed_share (0.4) allows" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "data/raw.parquet").exists()


def test_full_disk_is_one_sentence_and_what_came_stays_for_the_next_run(mirror, tmp_path):
    """On a file system of 2 MB, that grows later, in a name space of its own: it goes with the process."""
    namespace = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec")
    if subprocess.run([*namespace, f"mount -t tmpfs tmpfs {tmp_path}"], capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    mirror.annotate(*(annotation(number) for number in range(60)))
    packed = pack(*(file(number, content(number, 50_000)) for number in range(60)))
    mirror.archive("part_0", packed)
    script = f"""
        mount -t tmpfs -o size=2m tmpfs data
        echo id,reason,date > data/exclude.csv
        if {sys.executable} {DOWNLOAD}; then exit 99; fi
        ls data/raw/requests | wc -l >&2
        mount -o remount,size=64m data
        {sys.executable} {DOWNLOAD}
        cp data/raw.parquet .
    """
    code, errors = run_to_end(start_download(tmp_path, mirror.settings(), command=(*namespace, script)))
    assert code == 0, errors
    assert "download: the disk is full" in errors
    assert "free some space and run it again" in errors
    assert "Traceback" not in errors
    assert 10 < next(int(line) for line in errors.splitlines() if line.isdecimal()) < 60
    start_download(tmp_path / "quiet", mirror.settings()).wait()
    assert (tmp_path / "raw.parquet").read_bytes() == (tmp_path / "quiet/data/raw.parquet").read_bytes()


def test_download_killed_ten_times_at_random_instants_ends_with_the_same_bytes(mirror, tmp_path):
    clips, parts = 120, 6
    mirror.annotate(*(annotation(number) for number in range(clips)))
    for part in range(parts):
        members = (file(number, content(number, 50_000)) for number in range(part, clips, parts))
        packed = pack(*members, file(200 + part, b""))
        mirror.archive(f"part_{part}", Reply(packed, cut_after=400_000), Reply(packed))
    assert run_to_end(start_download(tmp_path / "quiet", mirror.settings()))[0] == 0

    folder = tmp_path / "killed"
    instants = sorted(random.sample(range(clips * 2 // 3), 10))
    requests = folder / "data/raw/requests"
    for instant in instants:
        process = start_download(folder, mirror.settings())
        wait_for(lambda: requests.is_dir() and len(list(requests.iterdir())) > instant)  # noqa: B023
        time.sleep(random.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        assert run_to_end(process)[0] == -signal.SIGKILL, instants
        wait_for(lambda: not processes_of(folder))
    code, errors = run_to_end(start_download(folder, mirror.settings(), workers="1"))
    assert code == 0, errors

    def data(folder):
        root = folder / "data"
        return {path.relative_to(root): path.read_bytes() for path in files(root)}

    assert data(folder) == data(tmp_path / "quiet"), instants
