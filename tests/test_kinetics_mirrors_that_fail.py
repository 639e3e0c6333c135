"""Mirrors that fail in every way servers do, and archives that are hostile or damaged."""

import dataclasses
import email.utils
import gzip
import tarfile
import time
from pathlib import Path

import pytest

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
    special,
    stored,
)
from tests.site import Reply
from vqcast.errors import TransientError, VqcastError

# Servers that fail


def test_connection_cut_midway_is_taken_up_where_it_ended(mirror, place):
    tag = {"ETag": '"one"'}
    replies = [Reply(cut_after=end, headers=tag) for end in (5000, 5001, 21000)]
    put_whole(mirror, *replies, Reply(headers=tag))
    assert all_came(place, place.download(mirror.settings()))
    assert mirror.spans("part_0") == [None, "bytes=5000-", "bytes=5001-", "bytes=21000-"]


def test_server_that_knows_no_ranges_is_read_again_and_its_bytes_are_taken_once(mirror, place):
    put_whole(mirror, Reply(cut_after=9000, ranges=False), Reply(ranges=False))
    assert all_came(place, place.download(mirror.settings()))


def test_stalled_connection_is_given_up_and_taken_up_again(mirror, place):
    put_whole(mirror, Reply(stall_after=7000), Reply())
    network = dataclasses.replace(PATIENCE, timeout=0.3)
    assert all_came(place, place.download(mirror.settings(network=network)))
    assert mirror.spans("part_0") == [None, "bytes=7000-"]


def test_server_that_is_silent_for_ever_is_a_network_failure(mirror, place):
    put_whole(mirror, Reply(stall_after=0))
    network = dataclasses.replace(PATIENCE, timeout=0.2, tries=2)
    with pytest.raises(TransientError, match=r"part_0\.tar\.gz: the server was silent for 0\.2 s"):
        place.download(mirror.settings(network=network))


def test_server_that_drips_for_ever_is_a_network_failure(mirror, place):
    put_whole(mirror, Reply(drip=0.05))
    network = dataclasses.replace(PATIENCE, timeout=0.5, tries=2)
    with pytest.raises(
        TransientError, match=r"part_0\.tar\.gz: the server sent fewer than 1024 bytes in 0\.5 s"
    ):
        place.download(mirror.settings(network=network))
    assert len(mirror.spans("part_0")) == 2


def test_server_that_drips_is_left_and_taken_up_again(mirror, place):
    put_whole(mirror, Reply(drip=0.05), Reply())
    network = dataclasses.replace(PATIENCE, timeout=0.5)
    assert all_came(place, place.download(mirror.settings(network=network)))


def test_headers_that_drip_for_ever_are_a_network_failure(mirror, place):
    put_whole(mirror, Reply(header_drip=0.05))
    network = dataclasses.replace(PATIENCE, timeout=0.5, tries=2)
    with pytest.raises(TransientError, match=r"part_0\.tar\.gz: no answer is complete in 1 s"):
        place.download(mirror.settings(network=network))


def test_length_that_is_stated_too_large_is_found_out(mirror, place):
    put_whole(mirror, Reply(stated_length=1 << 20), Reply())
    assert all_came(place, place.download(mirror.settings()))
    assert mirror.spans("part_0") == [None]  # asked for more, the server says that there is none


def test_length_that_is_stated_too_small_keeps_the_clips_that_came(mirror, place):
    packed = put_whole(mirror, Reply(stated_length=20000))
    assert len(packed) > 30000
    rows = place.download(mirror.settings())
    assert set(outcomes(rows).values()) == {"ok", "network"}
    assert outcomes(rows)[0] == "ok"
    assert by_clip(rows)[11]["reason"].endswith("part_0.tar.gz: it ends too early")


@pytest.mark.parametrize("status", [500, 503, 408, 403, 429])
def test_server_in_trouble_is_asked_again(mirror, place, status):
    put_whole(
        mirror, Reply(b"sorry", status=status), Reply(cut_after=4000), Reply(b"sorry", status=status), Reply()
    )
    assert all_came(place, place.download(mirror.settings()))


def test_server_in_trouble_for_ever_is_asked_as_often_as_is_said(mirror, place):
    put_whole(mirror, Reply(b"sorry", status=500))
    with pytest.raises(TransientError, match=r"12 x in none .*/part_0\.tar\.gz: HTTP 500"):
        place.download(mirror.settings())
    assert len(mirror.spans("part_0")) == PATIENCE.tries


@pytest.mark.parametrize("date", [False, True])
def test_pause_that_the_server_asks_for_is_kept(mirror, place, date):
    wish = email.utils.formatdate(time.time() + 2, usegmt=True) if date else "1"
    put_whole(mirror, Reply(b"slow down", status=429, headers={"Retry-After": wish}), Reply())
    network = dataclasses.replace(PATIENCE, max_pause=5.0)
    assert all_came(place, place.download(mirror.settings(network=network)))
    refused, served = [asked.when for asked in mirror.site.asked if "part_0" in asked.path]
    asked_for = email.utils.parsedate_to_datetime(wish).timestamp() if date else refused + 1
    assert served >= asked_for


def test_server_that_asks_for_a_longer_pause_than_is_allowed_is_left_for_a_later_run(mirror, place):
    put_whole(mirror, Reply(b"slow down", status=429, headers={"Retry-After": "3600"}), Reply())
    with pytest.raises(TransientError, match=r"HTTP 429 .*; the server asks to come back in 3600 s"):
        place.download(mirror.settings())
    assert all_came(place, place.download(mirror.settings()))


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, "removed"), (410, "removed"), (401, "private"), (451, "region")]
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
    put_whole(
        mirror,
        Reply(cut_after=9000, headers={"ETag": '"one"'}),
        Reply(other, headers={"ETag": '"two"'}),
    )
    rows = place.download(mirror.settings())
    assert set(outcomes(rows).values()) == {"ok", "network"}
    assert all(stored(place, row) == content(number) for number, row in by_clip(rows).items() if row["file"])
    assert "it changed on the server" in by_clip(rows)[11]["reason"]


def test_annotation_file_that_is_gone_is_one_sentence_and_one_that_may_come_is_transient(mirror, place):
    put_whole(mirror, Reply())
    mirror.site.put("/600/annotations/all.csv", Reply(status=404))
    with pytest.raises(VqcastError, match=r"annotations/all.csv cannot be had: HTTP 404") as caught:
        place.download(mirror.settings())
    assert not isinstance(caught.value, TransientError)
    mirror.site.put("/600/annotations/all.csv", Reply(status=502))
    with pytest.raises(TransientError, match=r"annotations/all.csv cannot be had: HTTP 502"):
        place.download(mirror.settings())


@pytest.mark.parametrize("line", ["/etc/passwd", "file:///etc/passwd", "<html>"])
def test_list_that_names_anything_but_urls_is_one_sentence(mirror, place, line):
    put_whole(mirror, Reply())
    mirror.site.put("/600/train/k600_train_path.txt", Reply(f"{mirror.urls[0]}\n{line}\n".encode()))
    with pytest.raises(VqcastError, match=f"k600_train_path.txt, line 2: '{line}' is no URL"):
        place.download(mirror.settings())


def test_server_that_is_not_there_is_transient(mirror, place):
    put_whole(mirror, Reply())
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
