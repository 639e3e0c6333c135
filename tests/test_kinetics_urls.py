"""The source kinetics-urls, against a site on loopback: every row says what came, nobody is asked twice."""

import dataclasses
import json
import multiprocessing
import pickle
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import ROOT
from tests.site import Reply
from tests.videos import DOWNLOAD, Workspace, make_video, one, read_rows
from vqcast.errors import TransientError, VqcastError
from vqcast.settings.data import KineticsSelection, Network
from vqcast.sources.exclusions import Exclusions
from vqcast.sources.kinetics_urls import SEGMENTS_PER_REQUEST, KineticsUrls
from vqcast.web.pace import FAILURES_IN_A_ROW, Pace

HEADER = "label,youtube_id,time_start,time_end,split\n"
IDS = [f"-{number:09d}_" for number in range(40)]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A video of 12 s."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    return make_video(path, "-g", "50", "-movflags", "+faststart", frames=300).read_bytes()


@pytest.fixture
def place(place):
    place.kinetics.mkdir()
    return place


def annotate(place, *lines):
    (place.kinetics / "a.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines))


def from_urls(site, *, tries=3, pause=0.01, max_pause=5.0, timeout=2.0, share=1.0, selection=None, **urls):
    changes = {"url_template": site.address + "/{id}.mp4", "rate_limit": 1000.0, "time_limit": 60.0} | urls
    return dataclasses.replace(
        DOWNLOAD,
        source="kinetics-urls",
        max_failed_share=share,
        kinetics=selection or KineticsSelection(("a.csv",), ("train", "val"), None, None),
        kinetics_urls=dataclasses.replace(DOWNLOAD.kinetics_urls, **changes),
        network=Network(timeout=timeout, tries=tries, pause=pause, max_pause=max_pause),
    )


def outcomes(rows):
    return {row["video"][:11]: row["outcome"] for row in rows}


def test_row_says_what_was_fetched_from_where(place, site, content):
    annotate(place, "massaging person's head,-aaaaaaaaa_,2,6,train")
    url = site.put("/-aaaaaaaaa_.mp4", Reply(content))
    row = one(place.download(from_urls(site)))
    assert (row["video"], row["label"], row["split"]) == (
        "-aaaaaaaaa__000002_000006",
        "massaging person's head",
        "train",
    )
    assert (row["url"], row["start"], row["end"]) == (url, 0.0, 4.0)
    assert (row["status"], row["outcome"], row["reason"]) == ("ok", "ok", None)
    assert (place.store / row["file"]).stat().st_size == row["bytes"] < len(content)


def test_clip_is_the_segment_to_the_frame(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,3,7,train", "a,-aaaaaaaaa_,1,4,train")
    site.put("/-aaaaaaaaa_.mp4", Reply(content))
    place.download(from_urls(site))
    rows = place.clip()
    assert [(row["clip"], row["start"], row["end"], row["frames"]) for row in rows] == [
        ("-aaaaaaaaa__000003_000007#000", 0.0, 4.0, 100),
        ("-aaaaaaaaa__000001_000004#000", 0.0, 3.0, 75),
    ]


def test_every_outcome_has_its_row_and_the_rest_goes_on(place, site, content):
    replies = {
        "ok": Reply(content),
        "removed": Reply(status=404),
        "private": Reply(status=401),
        "region": Reply(status=451),
        "rate-limited": Reply(status=429),
        "network": Reply(status=500),
        "no-video": Reply(b"<!DOCTYPE html><p>An empty page", "text/html"),
        "too-short": Reply(content),
        "corrupt": Reply(b"This is no video. " * 1000),
    }
    annotate(
        place,
        *(
            f"a,{name},1,{50 if outcome == 'too-short' else 5},val"
            for name, outcome in zip(IDS, replies, strict=False)
        ),
    )
    for name, reply in zip(IDS, replies.values(), strict=False):
        site.put(f"/{name}.mp4", reply)
    rows = place.download(from_urls(site))
    assert list(outcomes(rows).values()) == list(replies)
    for row in rows:
        assert (row["file"] is None) == (row["reason"] is not None) == (row["outcome"] != "ok")


def test_rerun_asks_for_what_may_have_passed_and_for_nothing_else(place, site, content):
    annotate(place, *(f"a,{name},1,5,val" for name in IDS[:6]))
    first = [Reply(content), Reply(status=404), Reply(status=401), Reply(b"no video"), Reply(status=500)]
    for name, reply in zip(IDS, [*first, Reply(status=429)], strict=False):
        site.put(f"/{name}.mp4", reply)
    before = place.download(from_urls(site, tries=1))
    for name in IDS[:6]:
        site.put(f"/{name}.mp4", Reply(content))
    site.asked.clear()
    after = place.download(from_urls(site, tries=1))
    assert set(site.paths()) == {f"/{IDS[4]}.mp4", f"/{IDS[5]}.mp4"}
    assert after[:4] == before[:4]
    assert [row["outcome"] for row in after[4:]] == ["ok", "ok"]
    site.asked.clear()
    table = place.raw.read_bytes()
    place.download(from_urls(site))
    assert (site.asked, place.raw.read_bytes()) == ([], table)


def test_stored_file_that_was_harmed_is_fetched_again(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val")
    site.put("/-aaaaaaaaa_.mp4", Reply(content))
    row = one(place.download(from_urls(site)))
    (place.store / row["file"]).write_bytes(b"harmed")
    assert one(place.download(from_urls(site))) == row
    assert len((place.store / row["file"]).read_bytes()) == row["bytes"]


def test_video_without_a_video_is_looked_at_again_by_another_yt_dlp(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    site.put("/-aaaaaaaaa_.mp4", Reply(b"<html>A player of a new kind", "text/html"))
    site.put("/-bbbbbbbbb_.mp4", Reply(content))
    place.download(from_urls(site))
    site.put("/-aaaaaaaaa_.mp4", Reply(content))
    assert place.download(from_urls(site))[0]["outcome"] == "no-video"
    (note,) = (place.store / "notes").iterdir()
    note.write_text(json.dumps(json.loads(note.read_text()) | {"yt_dlp": "2001.01.01"}))
    assert place.download(from_urls(site))[0]["outcome"] == "ok"


def test_cookies_are_sent_and_private_videos_asked_for_again_with_them(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    site.put("/-aaaaaaaaa_.mp4", Reply(status=401))
    site.put("/-bbbbbbbbb_.mp4", Reply(content))
    assert place.download(from_urls(site))[0]["outcome"] == "private"
    site.put("/-aaaaaaaaa_.mp4", Reply(content, headers={"Set-Cookie": "other=2"}))
    site.asked.clear()
    jar = place.folder / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tabc\n"
    jar.write_text(text)
    assert place.download(from_urls(site, cookies=str(jar)))[0]["outcome"] == "ok"
    assert all("session=abc" in asked.cookie for asked in site.asked)
    assert set(site.paths()) == {"/-aaaaaaaaa_.mp4"}
    assert jar.read_text() == text


@pytest.mark.parametrize("text", [None, '[{"name": "session"}]', "", "session=abc\n"])
def test_cookies_that_cannot_be_read_are_one_sentence(place, site, text):
    annotate(place, "a,-aaaaaaaaa_,1,5,val")
    jar = place.folder / "cookies.txt"
    if text is not None:
        jar.write_text(text)
    with pytest.raises(VqcastError, match=r"download\.kinetics_urls\.cookies: .*cookies\.txt (is no|cannot)"):
        place.download(from_urls(site, cookies=str(jar)))
    assert site.asked == []


def test_format_that_yt_dlp_does_not_understand_is_one_sentence(place, site):
    annotate(place, "a,-aaaaaaaaa_,1,5,val")
    with pytest.raises(VqcastError, match=r"download\.kinetics_urls\.format: Invalid format specification"):
        place.download(from_urls(site, format="best["))


def test_server_in_trouble_is_asked_again_with_growing_pauses(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val")
    site.put("/-aaaaaaaaa_.mp4", Reply(status=500), Reply(status=503), Reply(content))
    row = one(place.download(from_urls(site, pause=0.4)))
    assert row["outcome"] == "ok"
    times = [asked.when for asked in site.asked[:3]]
    assert times[1] - times[0] >= 0.2
    assert times[2] - times[1] >= 0.4


def test_server_that_breaks_off_in_mid_file_is_asked_again(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    for name in ("-aaaaaaaaa_", "-bbbbbbbbb_"):
        site.put(f"/{name}.mp4", Reply(content))
    site.put("/-bbbbbbbbb_.mp4", Reply(content), Reply(content, cut_after=5000), Reply(content))
    a, b = place.download(from_urls(site))
    assert (a["outcome"], b["outcome"]) == ("ok", "ok")
    assert a["sha256"] == b["sha256"]


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(place, site, content, date):
    annotate(place, "a,-aaaaaaaaa_,1,5,val")
    when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3)) if date else "1"
    site.put("/-aaaaaaaaa_.mp4", Reply(status=429, headers={"Retry-After": when}), Reply(content))
    assert one(place.download(from_urls(site)))["outcome"] == "ok"
    assert site.asked[1].when - site.asked[0].when >= 1.0


def test_server_that_asks_for_more_patience_than_there_is_is_left_for_another_run(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    site.put("/-aaaaaaaaa_.mp4", Reply(status=429, headers={"Retry-After": "86400"}))
    site.put("/-bbbbbbbbb_.mp4", Reply(content))
    rows = place.download(from_urls(site, max_pause=0.1))
    assert list(outcomes(rows).values()) == ["rate-limited", "ok"]
    assert site.paths().count("/-aaaaaaaaa_.mp4") == 1


def test_server_that_refuses_everything_is_soon_asked_no_more(place, site):
    annotate(place, *(f"a,{name},1,5,val" for name in IDS))
    for name in IDS:
        site.put(f"/{name}.mp4", Reply(status=429))
    with pytest.raises(TransientError, match="none of the 40 videos can be had"):
        place.download(from_urls(site, tries=2))
    assert len(site.asked) == 2 * FAILURES_IN_A_ROW


def test_server_that_cannot_be_reached_is_soon_given_up_for_this_run(place, site):
    annotate(place, *(f"a,{name},1,5,val" for name in IDS))
    sentence = rf"35 x not asked for: this befell many videos in a row \('{IDS[5]}"
    with socket.socket() as deaf, pytest.raises(TransientError, match=sentence):
        deaf.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{deaf.getsockname()[1]}/{{id}}.mp4"
        place.download(from_urls(site, url_template=nowhere))


def test_videos_that_fail_each_for_itself_stop_nobody(place, site, content):
    annotate(place, *(f"a,{name},1,5,val" for name in IDS[:9]))
    for name in IDS[:8]:
        site.put(f"/{name}.mp4", Reply(status=500))
    site.put(f"/{IDS[8]}.mp4", Reply(content))
    assert place.download(from_urls(site, tries=1))[8]["outcome"] == "ok"


def test_rate_limit_is_kept_by_all_workers_together(place, site, content, monkeypatch):
    monkeypatch.setenv("VQCAST_WORKERS", "3")
    names = IDS[: 3 * SEGMENTS_PER_REQUEST]
    annotate(place, *(f"a,{name},1,5,val" for name in names))
    for name in names:
        site.put(f"/{name}.mp4", Reply(status=404))
    start = time.time()
    with pytest.raises(VqcastError):
        place.download(from_urls(site, rate_limit=10.0))
    assert max(asked.when for asked in site.asked) - start >= (len(names) - 1) / 10


def test_pause_that_one_worker_is_told_holds_for_all(tmp_path):
    paces = [Pace(tmp_path / "pace", 1000.0) for _ in range(2)]
    assert paces[0].take_turn() is None
    paces[0].pause(0.5)
    start = time.time()
    assert paces[1].take_turn() is None
    assert time.time() - start >= 0.4


def test_worker_that_dies_with_the_file_of_turns_locked_holds_up_nobody(tmp_path):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_die_in_turn, args=(tmp_path / "pace",))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert Pace(tmp_path / "pace", 1000.0).take_turn() is None


def _die_in_turn(path):
    with Pace(path, 1000.0)._state():
        signal.raise_signal(signal.SIGKILL)


def test_video_that_takes_too_long_is_given_up_for_this_run(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    site.put("/-aaaaaaaaa_.mp4", Reply(content, drip=0.05))
    site.put("/-bbbbbbbbb_.mp4", Reply(content))
    rows = place.download(from_urls(site, time_limit=2.0))
    assert list(outcomes(rows).values()) == ["network", "ok"]
    assert rows[0]["reason"] == "it takes longer than 2 s"


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "kind", ["video/mp4", "application/x-mpegurl", "application/octet-stream", "text/html"]
)
@pytest.mark.parametrize("target", ["file", "url", "both"])
def test_playlist_posing_as_a_video_reaches_nothing(place, site, content, kind, target):
    (place.folder / "secret.mp4").write_bytes(content)
    secret = site.put("/secret.mp4", Reply(content))
    named = {"file": f"file://{place.folder}/secret.mp4", "url": secret, "both": f"concat:{secret}"}[target]
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    site.put("/-aaaaaaaaa_.mp4", Reply(PLAYLIST.format(named).encode(), kind))
    site.put("/-bbbbbbbbb_.mp4", Reply(content))
    row = place.download(from_urls(site))[0]
    assert (row["outcome"], row["file"]) == ("no-video", None)
    assert "/secret.mp4" not in site.paths()


@pytest.mark.parametrize(
    "body",
    [
        "<video src='file:///etc/hostname'></video>",
        "<video src='data:video/mp4;base64,AAAA'></video>",
        "<video src='ftp://127.0.0.1/a.mp4'></video>",
        "<video src='/a.mp4'></video><video src='/b.mp4'></video>",
        "<video src='/a.m3u8'></video>",
        "<audio src='/a.mp3'></audio>",
    ],
)
def test_page_that_holds_no_single_file_on_a_web_server_has_no_video(place, site, content, body):
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    page = f"<html><head><title>A page</title></head><body>{body}</body></html>"
    site.put("/-aaaaaaaaa_.mp4", Reply(page.encode(), "text/html"))
    site.put("/a.m3u8", Reply(PLAYLIST.format("a.ts").encode(), "application/x-mpegurl"))
    for path in ("/-bbbbbbbbb_.mp4", "/a.mp4", "/b.mp4"):
        site.put(path, Reply(content))
    row = place.download(from_urls(site))[0]
    assert (row["outcome"], row["file"]) == ("no-video", None), row["reason"]


def test_redirection_to_a_local_file_is_not_followed(place, site, content):
    annotate(place, "a,-aaaaaaaaa_,1,5,val", "a,-bbbbbbbbb_,1,5,val")
    (place.folder / "a.mp4").write_bytes(content)
    site.put("/-aaaaaaaaa_.mp4", Reply(status=302, headers={"Location": f"file://{place.folder}/a.mp4"}))
    site.put("/-bbbbbbbbb_.mp4", Reply(content))
    rows = place.download(from_urls(site))
    assert (rows[0]["status"], rows[1]["status"]) == ("failed", "ok")


def test_excluded_and_held_out_segments_are_not_asked_for(place, site, content):
    annotate(
        place,
        "a,-aaaaaaaaa_,1,5,val",
        "a,-bbbbbbbbb_,1,5,val",
        "a,-ccccccccc_,1,5,train",
        "a,-ccccccccc_,6,10,val",
    )
    place.exclude.write_text("id,reason,date\n-bbbbbbbbb_,asked for,2026-01-31\n")
    for name in ("-aaaaaaaaa_", "-bbbbbbbbb_", "-ccccccccc_"):
        site.put(f"/{name}.mp4", Reply(content))
    rows = place.download(from_urls(site))
    assert [row["outcome"] for row in rows] == ["ok", "excluded", "held-out", "ok"]
    assert "/-bbbbbbbbb_.mp4" not in site.paths()


def test_requests_do_not_carry_the_collection_to_every_worker(place, site):
    names = [f"{number:011d}" for number in range(4000)]
    annotate(place, *(f"a,{name},1,5,train\na,{name},11,15,val" for name in names))
    source = KineticsUrls(from_urls(site), place.kinetics, Exclusions({}))
    requests = source.plan()
    assert len(source.missing([])) == 4000
    assert len(pickle.dumps((source, requests[0]))) < 10_000


def test_genuine_annotation_file_of_which_most_videos_are_gone(place, site, content, kinetics):
    selection = KineticsSelection(("kinetics-600_val.csv",), ("val",), ("abseiling", "zumba"), 12)
    place.kinetics.rmdir()
    place.kinetics.symlink_to(kinetics)
    settings = from_urls(site, selection=selection)
    with pytest.raises(VqcastError, match=r"none of the 24 videos can be had: 24 x HTTP 404 Not Found"):
        place.download(settings)
    assert len(site.asked) == len(set(site.paths())) == 24
    site.asked.clear()
    selection = dataclasses.replace(selection, max_per_label=14)
    long = make_video(place.folder / "long.mp4", "-g", "250", frames=25 * 600).read_bytes()
    site.reply = lambda path: Reply(long)
    rows = place.download(dataclasses.replace(settings, kinetics=selection))
    assert len(rows) == 28
    asked = [row for row in rows if row["outcome"] != "removed"]
    assert {f"/{row['video'][:11]}.mp4" for row in asked} == set(site.paths())
    assert len(asked) == 4
    for row in asked:  # some of Kinetics' segments begin after ten minutes
        assert row["outcome"] == ("ok" if int(row["video"][-6:]) <= 600 else "too-short")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, and a function that says how large that is."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size, *how):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *how]), "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    if not resize("80k"):
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder, lambda size: resize(size, "remount")
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_stops_the_download_which_goes_on_when_there_is_room(small_disk, site, content):
    folder, resize = small_disk
    place = Workspace(folder / "work")
    place.kinetics.mkdir()
    annotate(place, *(f"a,{name},{start},{start + 4},val" for start, name in enumerate(IDS[:8])))
    for name in IDS[:8]:
        site.put(f"/{name}.mp4", Reply(content))
    process = start_stage(place.folder, from_urls(site), 2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "download: the disk is full" in errors
    assert "Traceback" not in errors
    assert resize("20m")
    process = start_stage(place.folder, from_urls(site), 2)
    assert process.communicate(timeout=60) and process.returncode == 0
    assert {row["outcome"] for row in read_rows(place.raw)} == {"ok"}


def start_stage(folder, settings, workers):
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["download"] |= json.loads(json.dumps(dataclasses.asdict(settings)))
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "stages.download", "--kinetics", "kinetics", "--store", "raw"]
    return subprocess.Popen(
        [*command, "--exclude", "exclude.csv", "--out", "raw.parquet"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": str(workers)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_killed_download_ends_with_the_bytes_of_one_that_was_left_alone(tmp_path, site, content):
    for number, name in enumerate(IDS):
        site.put(f"/{name}.mp4", Reply(content) if number % 3 else Reply(status=404))
    places = [Workspace(tmp_path / name) for name in ("quiet", "killed")]
    for place in places:
        place.kinetics.mkdir()
        annotate(place, *(f"a,{name},{number % 5},{number % 5 + 4},train" for number, name in enumerate(IDS)))
    quiet, killed = places
    process = start_stage(quiet.folder, from_urls(site), 2)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said == ""
    assert not [word for word in ("ERROR", "WARNING", "[generic]", "Traceback") if word in errors]
    for done in (2, 9, 17):
        process = start_stage(killed.folder, from_urls(site), 2)
        while len(list(killed.store.glob("requests/*"))) < done and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=60)
    process = start_stage(killed.folder, from_urls(site), 1)
    assert process.communicate(timeout=120) and process.returncode == 0
    assert quiet.raw.read_bytes() == killed.raw.read_bytes()
    stored = [{path.name: path.read_bytes() for path in place.store.glob("??/*")} for place in places]
    assert stored[0] == stored[1]
    assert not list(killed.store.glob("partial/tmp*"))
