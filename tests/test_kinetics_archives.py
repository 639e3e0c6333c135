"""The source `kinetics-archives` against a real server on loopback that fails in every way servers do."""

import dataclasses
import email.utils
import gzip
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml

from tests import site as sites
from tests.conftest import ROOT
from tests.mirror import (
    PATIENCE,
    Mirror,
    annotation,
    clip_id,
    content,
    file,
    member,
    pack,
    special,
    youtube_id,
)
from tests.site import Reply
from tests.test_clip_stage import processes_of, run_to_end, wait_for
from tests.videos import Workspace, make_video
from vqcast.errors import TransientError, VqcastError
from vqcast.settings import KineticsSelection
from vqcast.video.annotations import parse


@pytest.fixture
def mirror():
    with sites.running() as site:
        yield Mirror(site)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("VQCAST_WORKERS", "1")
    return Workspace(tmp_path / "work")


def by_clip(rows):
    """Rows by the number of their clip."""
    return {int(row["video"][3:11]): row for row in rows}


def outcomes(rows):
    return {number: row["outcome"] for number, row in by_clip(rows).items()}


def stored(place, row):
    return (place.store / row["file"]).read_bytes()


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


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


# Servers that fail


def whole(mirror, *replies):
    """A mirror of one archive, of 12 clips, that answers so; the archive."""
    mirror.annotate(*(annotation(number) for number in range(12)))
    packed = pack(*(file(number) for number in range(12)))
    mirror.archive("part_0", *[dataclasses.replace(reply, body=reply.body or packed) for reply in replies])
    return packed


def all_came(place, rows):
    assert outcomes(rows) == dict.fromkeys(range(12), "ok")
    assert all(stored(place, row) == content(number) for number, row in by_clip(rows).items())
    return True


def test_connection_cut_midway_is_taken_up_where_it_ended(mirror, place):
    tag = {"ETag": '"one"'}
    replies = [Reply(cut_after=end, headers=tag) for end in (5000, 5001, 21000)]
    whole(mirror, *replies, Reply(headers=tag))
    assert all_came(place, place.download(mirror.settings()))
    assert mirror.spans("part_0") == [None, "bytes=5000-", "bytes=5001-", "bytes=21000-"]


def test_server_that_knows_no_ranges_is_read_again_and_its_bytes_are_taken_once(mirror, place):
    whole(mirror, Reply(cut_after=9000, ranges=False), Reply(ranges=False))
    assert all_came(place, place.download(mirror.settings()))


def test_stalled_connection_is_given_up_and_taken_up_again(mirror, place):
    whole(mirror, Reply(stall_after=7000), Reply())
    network = dataclasses.replace(PATIENCE, timeout=0.3)
    assert all_came(place, place.download(mirror.settings(network=network)))
    assert mirror.spans("part_0") == [None, "bytes=7000-"]


def test_server_that_is_silent_for_ever_is_a_network_failure(mirror, place):
    whole(mirror, Reply(stall_after=0))
    network = dataclasses.replace(PATIENCE, timeout=0.2, tries=2)
    with pytest.raises(TransientError, match=r"part_0\.tar\.gz: the server was silent for 0\.2 s"):
        place.download(mirror.settings(network=network))


def test_length_that_is_stated_too_large_is_found_out(mirror, place):
    whole(mirror, Reply(stated_length=1 << 20), Reply())
    assert all_came(place, place.download(mirror.settings()))
    assert mirror.spans("part_0") == [None]  # asked for more, the server says that there is none


def test_length_that_is_stated_too_small_keeps_the_clips_that_came(mirror, place):
    packed = whole(mirror, Reply(stated_length=20000))
    assert len(packed) > 30000
    rows = place.download(mirror.settings())
    assert set(outcomes(rows).values()) == {"ok", "network"}
    assert outcomes(rows)[0] == "ok"
    assert by_clip(rows)[11]["reason"].endswith("part_0.tar.gz: it ends too early")


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_server_in_trouble_is_asked_again(mirror, place, status):
    whole(
        mirror, Reply(b"sorry", status=status), Reply(cut_after=4000), Reply(b"sorry", status=status), Reply()
    )
    assert all_came(place, place.download(mirror.settings()))


def test_server_in_trouble_for_ever_is_asked_as_often_as_is_said(mirror, place):
    whole(mirror, Reply(b"sorry", status=500))
    with pytest.raises(TransientError, match=r"12 x in none .*/part_0\.tar\.gz: HTTP 500"):
        place.download(mirror.settings())
    assert len(mirror.spans("part_0")) == PATIENCE.tries


@pytest.mark.parametrize("date", [False, True])
def test_pause_that_the_server_asks_for_is_kept(mirror, place, date):
    wish = email.utils.formatdate(time.time() + 2, usegmt=True) if date else "1"
    whole(mirror, Reply(b"slow down", status=429, headers={"Retry-After": wish}), Reply())
    network = dataclasses.replace(PATIENCE, max_pause=5.0)
    assert all_came(place, place.download(mirror.settings(network=network)))
    refused, served = [asked.when for asked in mirror.site.asked if "part_0" in asked.path]
    asked_for = email.utils.parsedate_to_datetime(wish).timestamp() if date else refused + 1
    assert served >= asked_for


def test_server_that_asks_for_a_longer_pause_than_is_allowed_is_left_for_a_later_run(mirror, place):
    whole(mirror, Reply(b"slow down", status=429, headers={"Retry-After": "3600"}), Reply())
    with pytest.raises(TransientError, match=r"HTTP 429 .*; the server asks to come back in 3600 s"):
        place.download(mirror.settings())
    assert all_came(place, place.download(mirror.settings()))


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, "removed"), (410, "removed"), (403, "private"), (451, "region")]
)
def test_archive_that_is_gone_costs_its_clips_and_no_other(mirror, place, status, outcome):
    mirror.annotate(annotation(1), annotation(2))
    mirror.archive("part_0", pack(file(1)))
    gone = mirror.archive("part_1", Reply(b"no", status=status))
    rows = place.download(mirror.settings())
    assert outcomes(rows) == {1: "ok", 2: outcome}
    assert f"{gone}: HTTP {status}" in by_clip(rows)[2]["reason"]
    assert len(mirror.spans("part_1")) == 1


def test_archive_that_changes_while_it_is_fetched_is_no_mixture(mirror, place):
    other = pack(*(file(number, content(100 + number)) for number in range(12)))
    whole(
        mirror,
        Reply(cut_after=9000, headers={"ETag": '"one"'}),
        Reply(other, headers={"ETag": '"two"'}),
    )
    rows = place.download(mirror.settings())
    assert set(outcomes(rows).values()) == {"ok", "network"}
    assert all(stored(place, row) == content(number) for number, row in by_clip(rows).items() if row["file"])
    assert "it changed on the server" in by_clip(rows)[11]["reason"]


def test_annotation_file_that_is_gone_is_one_sentence_and_one_that_may_come_is_transient(mirror, place):
    whole(mirror, Reply())
    mirror.site.put("/600/annotations/all.csv", Reply(status=404))
    with pytest.raises(VqcastError, match=r"annotations/all.csv cannot be had: HTTP 404") as caught:
        place.download(mirror.settings())
    assert not isinstance(caught.value, TransientError)
    mirror.site.put("/600/annotations/all.csv", Reply(status=502))
    with pytest.raises(TransientError, match=r"annotations/all.csv cannot be had: HTTP 502"):
        place.download(mirror.settings())


@pytest.mark.parametrize("line", ["/etc/passwd", "file:///etc/passwd", "<html>"])
def test_list_that_names_anything_but_urls_is_one_sentence(mirror, place, line):
    whole(mirror, Reply())
    mirror.site.put("/600/train/k600_train_path.txt", Reply(f"{mirror.urls[0]}\n{line}\n".encode()))
    with pytest.raises(VqcastError, match=f"k600_train_path.txt, line 2: '{line}' is no URL"):
        place.download(mirror.settings())


def test_server_that_is_not_there_is_transient(mirror, place):
    whole(mirror, Reply())
    dead = dataclasses.replace(
        mirror.settings().kinetics, annotations=("http://127.0.0.1:9/600/annotations/all.csv",)
    )
    with pytest.raises(TransientError, match="cannot be had: "):
        place.download(mirror.settings(kinetics=dead))


# Archives that are hostile or damaged


HOSTILE = {
    "above": (file(5, name="../{}.mp4"), "refused", "leads outside: '../-id"),
    "deep above": (file(5, name="a/../../../../tmp/{}.mp4"), "refused", "leads outside"),
    "absolute": (file(5, name="/tmp/{}.mp4"), "refused", "leads outside: '/tmp/-id"),
    "symbolic link": (special(5, tarfile.SYMTYPE), "refused", "no file but a link"),
    "hard link": (special(5, tarfile.LNKTYPE, f"{clip_id(1)}.mp4"), "refused", "no file but a link"),
    "device": (special(5, tarfile.CHRTYPE), "refused", "no file but a device or pipe"),
    "pipe": (special(5, tarfile.FIFOTYPE), "refused", "no file but a device or pipe"),
    "folder": (special(5, tarfile.DIRTYPE), "refused", "no file but a folder"),
    "large": (file(5, content(5, 1 << 20)), "refused", "more than download.kinetics_archives.max_clip_bytes"),
    "empty": (file(5, b""), "no-video", "the file is empty"),
    "page": (file(5, b"<!DOCTYPE html><html>" * 99), "no-video", "it begins with '<!DOCTYPE html>"),
    "playlist": (file(5, b"#EXTM3U\nfile:///etc/passwd\n"), "no-video", "it begins with '#EXTM3U"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_member_is_refused_with_the_reason_and_the_rest_is_kept(mirror, place, kind):
    hostile, outcome, reason = HOSTILE[kind]
    mirror.annotate(annotation(1), annotation(5), annotation(9))
    mirror.archive("part_0", pack(file(1), hostile, file(9)))
    for _ in range(2):  # a later run remembers it
        rows = place.download(mirror.settings())
        assert outcomes(rows) == {1: "ok", 5: outcome, 9: "ok"}
        assert reason in by_clip(rows)[5]["reason"]
        assert (by_clip(rows)[5]["status"], by_clip(rows)[5]["file"]) == ("failed", None)
        assert stored(place, by_clip(rows)[9]) == content(9)
    assert len(mirror.spans("part_0")) == 1
    assert {path.parent.parent for path in files(place.folder) if path.suffix == ".mp4"} == {place.store}
    assert not (Path("/tmp") / f"{clip_id(5)}.mp4").exists()


@pytest.mark.parametrize(
    "name", ["../../../../tmp/vqcast-evil", "/tmp/vqcast-evil", "README.md", "short_000001_000011.mp4"]
)
def test_member_that_bears_no_clips_name_is_passed_over(mirror, place, name):
    mirror.annotate(annotation(1))
    mirror.archive("part_0", pack(file(5, name=name), file(1)))
    assert outcomes(place.download(mirror.settings())) == {1: "ok"}
    assert len([path for path in files(place.folder) if path.stat().st_size > 2000]) == 2  # and raw.parquet
    assert not Path("/tmp/vqcast-evil").exists()


def test_archive_that_unpacks_to_far_more_than_its_size_is_left(mirror, place):
    mirror.annotate(annotation(1), annotation(2), annotation(3))
    bomb = tarfile.TarInfo("zeros")
    bomb.size = 300 << 20
    mirror.archive("part_0", pack(file(1), (bomb, bytes(bomb.size)), file(2)))
    mirror.archive("part_1", pack(file(3)))
    rows = place.download(mirror.settings())
    assert outcomes(rows) == {1: "ok", 2: "refused", 3: "ok"}
    assert "part_0.tar.gz: it unpacks to more than 16 times its size" in by_clip(rows)[2]["reason"]


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_archive_with_a_name_that_would_fill_the_memory_is_left(mirror, place, kind):
    mirror.annotate(annotation(1), annotation(2), annotation(3))
    header, data = member("name", b"9" * (2 << 20))
    header.type = kind
    mirror.archive("part_0", pack(file(1), (header, data), file(2)))
    mirror.archive("part_1", pack(file(3)))
    rows = place.download(mirror.settings())
    assert outcomes(rows) == {1: "ok", 2: "refused", 3: "ok"}
    assert "part_0.tar.gz: it holds a name of 2097152 bytes" in by_clip(rows)[2]["reason"]


def damaged(packed, harm):
    if harm == "cut off":
        return packed[:20000]
    if harm == "a page":
        return b"<html>404</html>"
    if harm == "empty":
        return b""
    tar = bytearray(gzip.decompress(packed))
    if harm == "flipped header":
        tar[4 * (512 + 3072) + 5] ^= 1  # of the fifth clip
        return gzip.compress(tar, 1)
    return packed[:20000] + bytes([packed[20000] ^ 1]) + packed[20001:]


@pytest.mark.parametrize(
    ("harm", "outcome", "reason"),
    [
        ("cut off", "network", "it ends too early"),
        ("empty", "corrupt", "no sound tar.gz archive: empty file"),
        ("a page", "corrupt", "no sound tar.gz archive: Not a gzipped file"),
        ("flipped header", "corrupt", "no sound tar.gz archive: bad checksum"),
        ("flipped byte", "corrupt", "no sound tar.gz archive"),
    ],
)
def test_damaged_archive_costs_what_follows_the_damage(mirror, place, harm, outcome, reason):
    mirror.annotate(*(annotation(number) for number in range(13)))
    packed = pack(*(file(number) for number in range(12)))
    mirror.archive("part_0", damaged(packed, harm))
    mirror.archive("part_1", pack(file(12)))
    rows = place.download(mirror.settings())
    came = outcomes(rows)
    assert set(came.values()) <= {"ok", outcome}
    assert came[12] == "ok"
    assert harm in ("a page", "empty", "flipped byte") or came[0] == "ok"
    if harm != "flipped byte":  # it shows at the end only: gzip's checksum is there
        assert reason in by_clip(rows)[11]["reason"]
    mirror.site.put("/600/train/part_0.tar.gz", Reply(packed))
    assert set(outcomes(place.download(mirror.settings())).values()) == {"ok"}


# What later runs do


def test_archive_that_was_read_whole_is_not_fetched_again(mirror, place):
    whole(mirror, Reply())
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
    packed = whole(mirror, Reply(cut_after=20000), Reply(status=500))
    came = {row["video"] for row in place.download(mirror.settings()) if row["outcome"] == "ok"}
    assert 0 < len(came) < 12
    mirror.site.put("/600/train/part_0.tar.gz", Reply(status=500))
    rows = place.download(mirror.settings())
    assert {row["video"] for row in rows if row["outcome"] == "ok"} == came
    mirror.site.put("/600/train/part_0.tar.gz", Reply(packed))
    assert all_came(place, place.download(mirror.settings()))


def test_stored_clip_that_was_changed_is_fetched_again(mirror, place):
    whole(mirror, Reply())
    row = place.download(mirror.settings())[4]
    (place.store / row["file"]).write_bytes(b"changed")
    assert all_came(place, place.download(mirror.settings()))


def test_selection_that_grows_fetches_what_it_lacks_and_one_that_shrinks_fetches_nothing(mirror, place):
    whole(mirror, Reply())
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
        ("00000001_000050_000060", "val", "ok", "ok"),
        ("00000002_000005_000015", "train", "ok", "ok"),
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
