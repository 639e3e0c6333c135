"""A section of a video from its URL: the wanted frames, little more than their bytes, and no surprises."""

import numpy as np
import pytest

from tests import site as sites
from tests.site import Reply
from tests.videos import make_video, run_ffmpeg
from vqcast.media import ffmpeg
from vqcast.media.decoding import count_frames, decode
from vqcast.settings.params import load_settings
from vqcast.sources.sections import fetch_section, open_client
from vqcast.web.outcomes import FetchError
from vqcast.web.remote import PART
from vqcast.web.time_limit import TimeIsUp, limited

RATE = 25
LIMITS = ffmpeg.Limits(60.0, 2**22)
FORMAT = load_settings("params.yaml").download.kinetics_urls.format


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A video of 40 s and several megabytes, with sound, whose index comes first."""
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    noise = "testsrc2=size=320x240:rate=25,noise=alls=40:allf=t:all_seed=1"
    run_ffmpeg(
        *("-f", "lavfi", "-i", noise, "-f", "lavfi", "-i", "sine", "-t", "40"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", "100", "-bf", "2", "-c:a", "aac"),
        *("-movflags", "+faststart", str(path)),
    )
    assert path.stat().st_size > 20 * PART
    return path.read_bytes()


@pytest.fixture
def site():
    with sites.running() as site:
        yield site


@pytest.fixture
def fetch(tmp_path):
    """Fetches a section, and says how long it is: (path, frames)."""
    yt_dlp = open_client(FORMAT, None, 2.0, str(tmp_path / "cache"))

    def fetch(url, start=20.0, end=24.0):
        return fetch_section(yt_dlp, url, start, end, tmp_path, 60.0)

    return fetch


def refusal(fetch, url, **how):
    with pytest.raises(FetchError) as caught:
        fetch(url, **how)
    assert "\n" not in caught.value.reason
    assert "127.0.0.1" not in caught.value.reason
    return caught.value.outcome, caught.value.reason


def frames_of(path, folder, start=None, end=None):
    """What the clip stage makes of a file."""
    folder.mkdir()
    how = ffmpeg.Cut(64, RATE, False, 10_000, 8, 4, start, end, most=10_000)
    assert ffmpeg.cut(path, ffmpeg.probe(path, LIMITS), how, folder, LIMITS) == ""
    mp4 = (folder / "00000.mp4").read_bytes()
    return decode(mp4, range(count_frames(mp4)))


@pytest.mark.parametrize("start", [0, 2, 17, 36])
def test_stored_file_begins_with_the_frame_at_the_section_s_start_and_has_each_frame_once(
    site, fetch, content, tmp_path, start
):
    path = fetch(site.put("/a.mp4", Reply(content)), start, start + 4)
    (tmp_path / "whole.mp4").write_bytes(content)
    section = frames_of(path, tmp_path / "1", end=4.0)
    true = frames_of(tmp_path / "whole.mp4", tmp_path / "2", start=float(start), end=start + 4.0)
    assert len(section) == len(true) == 4 * RATE
    assert np.abs(section.astype(int) - true).mean() < 1


def test_only_the_section_and_the_index_are_fetched(site, fetch, content):
    fetch(site.put("/a.mp4", Reply(content)))
    sent = sum(one.sent for one in site.asked if one.span)
    assert sent < len(content) / 3


def test_index_at_the_end_of_the_file_is_found(site, fetch, content, tmp_path):
    (tmp_path / "a.mp4").write_bytes(content)
    run_ffmpeg("-i", str(tmp_path / "a.mp4"), "-c", "copy", str(tmp_path / "b.mp4"))
    other = (tmp_path / "b.mp4").read_bytes()
    assert (
        fetch(site.put("/b.mp4", Reply(other))).read_bytes()
        == fetch(site.put("/a.mp4", Reply(content))).read_bytes()
    )


def test_server_without_ranges_gives_the_same_section(site, fetch, content):
    with_ranges = fetch(site.put("/a.mp4", Reply(content))).read_bytes()
    without = fetch(site.put("/b.mp4", Reply(content, ranges=False))).read_bytes()
    assert with_ranges == without


def test_turned_video_stays_turned(site, fetch, tmp_path):
    make_video(tmp_path / "plain.mp4", frames=100, size="96x64")
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", "90", "-i", str(tmp_path / "plain.mp4"), "-c", "copy", str(turned))
    path = fetch(site.put("/a.mp4", Reply(turned.read_bytes())), 1.0, 3.0)
    stream = ffmpeg.probe(path, LIMITS)
    assert (stream.rate, stream.width, stream.height) == (RATE, 64, 96)


def test_sound_and_names_are_left_out(site, fetch, content):
    path = fetch(site.put("/a.mp4", Reply(content)))
    assert b"soun" not in path.read_bytes()
    assert b"Lavf" not in path.read_bytes()


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        (("-c:v", "libvpx-vp9", "-deadline", "realtime"), "a.webm"),
        (("-c:v", "libsvtav1", "-svtav1-params", "lp=1"), "a.mp4"),
        (("-movflags", "frag_keyframe+empty_moov+default_base_moof"), "a.mp4"),
        (("-movflags", "+dash+global_sidx+frag_keyframe"), "a.mp4"),
        (("-c:v", "libx264"), "a.mkv"),
    ],
)
def test_other_codecs_and_containers_serve_too(site, fetch, tmp_path, codec, name):
    video = make_video(tmp_path / name, "-g", "25", *codec, frames=250)
    kind = "video/webm" if name == "a.webm" else "video/mp4"
    path = fetch(site.put(f"/{name}", Reply(video.read_bytes(), kind)), 3.0, 7.0)
    assert ffmpeg.decodable_seconds(path, LIMITS) >= 4.0
    assert len(frames_of(path, tmp_path / "clips", end=4.0)) == 100


def test_page_with_a_video_in_it_serves_too(site, fetch, content):
    site.put("/media/-a.mp4", Reply(content))
    page = b"<html><head><title>A video</title></head><body><video src='media/-a.mp4'></video></body></html>"
    assert fetch(site.put("/watch?v=-aaaaaaaaa_", Reply(page, "text/html"))).stat().st_size > 10_000


@pytest.mark.parametrize("end", [44, 80])
def test_video_shorter_than_the_section_is_too_short(site, fetch, content, end):
    url = site.put("/a.mp4", Reply(content))
    assert refusal(fetch, url, start=end - 8, end=end)[0] == "too-short"


def test_section_may_lack_a_part_of_its_last_second(site, fetch, content):
    fetch(site.put("/a.mp4", Reply(content)), 36.5, 40.5)


@pytest.mark.parametrize(
    ("reply", "outcome", "reason"),
    [
        (Reply(status=404), "removed", "HTTP 404 Not Found"),
        (Reply(status=410), "removed", "HTTP 410 Gone"),
        (Reply(status=401), "private", "HTTP 401 Unauthorized"),
        (Reply(status=451), "region", "HTTP 451"),
        (Reply(status=403), "network", "HTTP 403 Forbidden"),
        (Reply(status=500), "network", "HTTP 500 Internal Server Error"),
        (Reply(status=429), "rate-limited", "HTTP 429 Too Many Requests"),
        (Reply(b""), "network", "the server sends an empty file"),
        (Reply(b"", ranges=False), "network", "the server sends an empty file"),
        (Reply(b"<!DOCTYPE html><p>Down for repairs"), "no-video", "the file is a web page"),
        (Reply(b"<!DOCTYPE html><p>Nothing", "text/html"), "no-video", "yt-dlp finds no video on the page"),
        (Reply(b"not a video\n" * 9999), "corrupt", ""),
        (Reply(bytes(99_999)), "corrupt", ""),
    ],
)
def test_what_a_server_says_has_a_class(site, fetch, reply, outcome, reason):
    said = refusal(fetch, site.put("/a.mp4", reply))
    assert said[0] == outcome
    assert reason in said[1]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("after", [1000, 5 * PART])
def test_connection_that_is_cut_is_a_fault_of_the_network(site, fetch, content, ranges, after):
    reply = Reply(content, ranges=ranges, cut_after=after)
    assert refusal(fetch, site.put("/a.mp4", Reply(content), reply))[0] == "network"


@pytest.mark.parametrize("after", [0, 1000, 5 * PART])
def test_connection_that_stalls_is_a_fault_of_the_network(site, fetch, content, after):
    reply = Reply(content, stall_after=after)
    assert refusal(fetch, site.put("/a.mp4", Reply(content), reply))[0] == "network"


def test_server_that_states_more_than_it_sends_is_a_fault_of_the_network(site, fetch, content):
    reply = Reply(content, ranges=False, stated_length=len(content) + 1)
    assert refusal(fetch, site.put("/a.mp4", Reply(content), reply))[0] == "network"


def test_server_that_states_less_than_it_has_gives_a_damaged_video(site, fetch, content):
    reply = Reply(content, ranges=False, stated_length=len(content) // 3)
    assert refusal(fetch, site.put("/a.mp4", Reply(content), reply))[0] == "corrupt"


def test_file_that_changes_while_it_is_read_is_not_pieced_together(site, fetch, content):
    replies = [Reply(content), Reply(content), Reply(content + b"x")]
    said = refusal(fetch, site.put("/a.mp4", *replies))
    assert said == ("network", "the file on the server changes while it is read")


@pytest.mark.parametrize("after", [0, 1000])
def test_video_that_drips_in_is_given_up_in_time(site, fetch, content, after):
    with pytest.raises(TimeIsUp), limited(1.0):
        fetch(site.put("/a.mp4", Reply(content), Reply(content, drip=0.05)))
