"""Files that mean harm: each is named with its reason, reaches nothing else, and the rest is kept."""

import contextlib
import http.server
import random
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.test_clip_stage import CLIP, DOWNLOAD, outputs, processes_of, run_to_end, start_stages, wait_for
from tests.videos import Workspace, from_folder, make_video, run_ffmpeg
from vqcast.media import ffmpeg

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "7d1c0a5e-not-for-anyone"


@pytest.fixture
def folder(tmp_path):
    """A folder of videos with a good one in it."""
    make_video(tmp_path / "videos/label/good.mp4")
    return tmp_path / "videos/label"


def clip(folder, **settings):
    """The rows of every video of the folder but the good one, which is cut whatever the others do."""
    place = Workspace(folder.parent.parent)
    place.download(from_folder(folder.parent, val_share=0.0))
    rows = {row["video"].removeprefix("label/"): row for row in place.clip(**settings)}
    assert rows.pop("good.mp4")["status"] == "ok"
    return rows


@pytest.fixture
def server():
    """A server on loopback that notes what is asked of it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def playlists(target):
    """Texts that ffmpeg takes for a video elsewhere, `target`, by the name of their format."""
    return {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
        "master m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
        "m3u8 with a key": (
            f'#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:5,\n{target}\n'
            "#EXT-X-ENDLIST\n"
        ),
        "concat": f"ffconcat version 1.0\nfile '{target}'\n",
        "mpd": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" '
            'mediaPresentationDuration="PT2S"><Period><AdaptationSet contentType="video">'
            f'<Representation id="0" bandwidth="1"><BaseURL>{target.rpartition("/")[0]}/</BaseURL>'
            f'<SegmentList duration="2"><Initialization sourceURL="{target}"/><SegmentURL media="{target}"/>'
            "</SegmentList></Representation></AdaptationSet></Period></MPD>"
        ),
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "ram": f"rtsp://127.0.0.1/{target}\n",
        "asx": f'<ASX version="3.0"><Entry><Ref href="{target}"/></Entry></ASX>',
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="{target}"/></svg>',
        "itself": "ffconcat version 1.0\nfile fd:\nfile pipe:0\nfile /dev/stdin\n",
    }


def test_playlist_posing_as_a_video_sends_no_request(folder, server):
    url = f"http://127.0.0.1:{server.server_port}/video.mp4"
    for name, text in playlists(url).items():
        (folder / f"{name}.mp4").write_text(text)
    # The trap works: an ffmpeg that is not confined walks into it.
    unconfined = [ffmpeg.executable(), "-protocol_whitelist", "fd,http,tcp", "-i", "fd:", "-f", "null", "-"]
    with open(folder / "mpd.mp4") as playlist:
        subprocess.run(unconfined, stdin=playlist, capture_output=True)
    assert server.requests
    server.requests.clear()

    rows = clip(folder)
    assert rows.keys() == {f"{name}.mp4" for name in playlists(url)}
    assert all(row["status"] == "rejected" and row["reason"] for row in rows.values())
    assert server.requests == []


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_playlist_posing_as_a_video_reads_no_file(folder, monkeypatch, prefix):
    secret = make_video(folder.parent.parent / "secret.mp4", "-metadata", f"title={TOKEN}", size="96x96")
    assert TOKEN.encode() in secret.read_bytes()
    texts = playlists(prefix + str(secret))
    texts |= {f"{name}, relative": text for name, text in playlists(f"{prefix}secret.mp4").items()}
    texts["text"] = f"ffconcat version 1.0\nfile {prefix}{secret}.txt\n"
    Path(f"{secret}.txt").write_text(TOKEN)
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text)
    monkeypatch.chdir(secret.parent)

    rows = clip(folder)
    assert all(row["status"] == "rejected" and row["reason"] for row in rows.values())
    place = Workspace(folder.parent.parent)
    written = [place.manifest, *place.clips.iterdir(), *place.scratch.rglob("*.*")]
    assert len(written) >= 2
    assert not any(TOKEN.encode() in path.read_bytes() for path in written)


def test_page_and_empty_file_named_as_videos_are_rejected(folder):
    (folder / "page.mp4").write_text("<!DOCTYPE html><html><h1>Video unavailable</h1></html>\n" * 50)
    (folder / "empty.mp4").touch()
    (folder / "zeros.mp4").write_bytes(bytes(100_000))
    (folder / "noise.mp4").write_bytes(random.Random(0).randbytes(100_000))
    rows = clip(folder)
    assert len(rows) == 4
    assert all(row["status"] == "rejected" and row["reason"] for row in rows.values())


def claim_size(path, width, height):
    """Make every frame of a motion JPEG claim another size than it has."""
    content = bytearray(path.read_bytes())
    position = content.find(b"\xff\xc0\x00\x11\x08")
    while position >= 0:
        content[position + 5 : position + 9] = struct.pack(">HH", height, width)
        position = content.find(b"\xff\xc0\x00\x11\x08", position + 1)
    path.write_bytes(content)


@pytest.mark.parametrize("size", [(16384, 16384), (65000, 8192)])
def test_huge_frames_are_refused_and_named(folder, size):
    claim_size(make_video(folder / "huge.mkv", "-c:v", "mjpeg", frames=40), *size)
    (row,) = clip(folder).values()
    assert row["status"] == "rejected"
    assert row["reason"] == f"a frame of {size[0]}x{size[1]} pixels is more than clip.max_pixels allows"


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """A video whose frames really are huge."""
    path = tmp_path_factory.mktemp("huge") / "huge.mp4"
    return make_video(path, "-c:v", "libx264", "-preset", "ultrafast", frames=1, size="8192x8192")


def test_huge_frames_are_refused_before_they_take_memory(huge):
    program = (
        "import resource, sys\n"
        "from vqcast.media import ffmpeg\n"
        "try: ffmpeg.probe(sys.argv[1], ffmpeg.Limits(30.0, int(sys.argv[2])))\n"
        "except ffmpeg.Undecodable as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)\n"
    )

    def probe(pixels):
        command = [sys.executable, "-c", program, huge, str(pixels)]
        return subprocess.check_output(command, cwd=ROOT, text=True).splitlines()

    refusal, megabytes = probe(2**22)
    assert refusal == "a frame of 8192x8192 pixels is more than clip.max_pixels allows"
    (allowed,) = probe(2**26)
    assert int(megabytes) < int(allowed) - 64


def test_decoder_that_wants_more_memory_than_allowed_is_ended(huge, monkeypatch):
    limits = ffmpeg.Limits(30.0, 2**26)
    assert ffmpeg.probe(huge, limits).width == 8192
    monkeypatch.setattr(ffmpeg.Limits, "memory", 300 * 2**20)
    with pytest.raises(ffmpeg.Undecodable) as failure:
        ffmpeg.probe(huge, limits)
    assert str(failure.value)


def test_frames_that_grow_in_mid_stream_end_the_clip_before_them(folder):
    quick = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0")
    with open(folder / "grows.h264", "wb") as grows:
        for size in ("64x48", "2304x2048"):
            grows.write(make_video(folder.parent.parent / f"{size}.h264", *quick, size=size).read_bytes())
    (row,) = clip(folder).values()
    assert (row["status"], row["frames"]) == ("ok", 20)
    assert row["note"].endswith(": a frame of 2304x2048 pixels is more than clip.max_pixels allows")


def test_video_of_hours_in_a_tiny_file_ends_with_the_time_limit(folder):
    black = folder.parent.parent / "black.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=black:size=1920x1080", "-frames:v", "250", "-bf", "0", str(black))
    hours = folder / "hours.mp4"
    run_ffmpeg("-stream_loop", "479", "-i", str(black), "-c", "copy", str(hours))
    assert hours.stat().st_size < 20 * 2**20
    (row,) = clip(folder, time_limit=5.0, max_seconds=1e6).values()
    assert (row["status"], row["reason"]) == ("rejected", "decoding takes longer than 5 s")


def test_video_longer_than_allowed_is_refused(folder):
    make_video(folder / "long.mp4", frames=75)
    make_video(folder / "long, says nothing.h264", "-c:v", "libx264", frames=75)
    rows = clip(folder, max_seconds=2.0)
    assert rows["long.mp4"]["reason"] == "3.0 s long, clip.max_seconds allows 2"
    assert rows["long, says nothing.h264"]["reason"] == "more frames than clip.max_seconds (2) allows"


def test_two_frames_ten_hours_apart_are_not_filled_up(folder):
    plain = make_video(folder.parent.parent / "plain.mp4", "-bf", "0", frames=2)
    far = ["-i", str(plain), "-c", "copy", "-bsf:v", "setts=ts=N*36000/TB"]
    run_ffmpeg(*far, str(folder / "far.mp4"))
    run_ffmpeg(*far, "-f", "matroska", "-live", "1", str(folder / "far, says nothing.mkv"))
    rows = clip(folder, fps=25.0)
    assert rows["far.mp4"]["reason"].endswith("s long, clip.max_seconds allows 60")
    assert rows["far, says nothing.mkv"]["reason"] == "more frames than clip.max_seconds (60) allows"


def test_file_larger_than_allowed_is_refused(folder):
    (folder / "large.mp4").write_bytes((folder / "good.mp4").read_bytes() + bytes(10**6))
    (row,) = clip(folder, max_bytes=10**6).values()
    assert row["reason"].endswith(" bytes, clip.max_bytes allows 1000000")


def test_video_that_declares_more_than_it_holds_says_so(folder):
    whole = make_video(folder.parent.parent / "a.mp4", "-movflags", "+faststart", "-g", "5", frames=100)
    (folder / "truncated.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    pattern, sound = "testsrc2=size=64x48:rate=25:duration=0.8", "sine=duration=4"
    run_ffmpeg("-f", "lavfi", "-i", pattern, "-f", "lavfi", "-i", sound, str(folder / "sound goes on.mp4"))
    rows = clip(folder)
    row = rows["truncated.mp4"]
    assert row["status"] == "ok" and 40 < row["frames"] < 100
    assert row["note"].startswith(f"breaks off after {row['frames']} frames: ")
    row = rows["sound goes on.mp4"]
    assert (row["status"], row["frames"]) == ("ok", 20)
    assert row["note"] == "20 frames last 0.80 s, not the 4.00 s that were stated"


def test_memory_of_a_worker_does_not_grow_with_the_videos_that_it_cuts(folder):
    place = Workspace(folder.parent.parent)
    make_video(folder / "good.mp4", frames=60, size="320x240")
    place.download(from_folder(folder.parent, val_share=0.0))
    program = """
import sys
from pathlib import Path
from tests.videos import CLIP, read_rows
from vqcast.clips.cutting import clips_of

folder = Path(sys.argv[1])
(video,) = read_rows(folder / "raw.parquet")
for number in range(1, 101):
    ((row, _),) = clips_of(video, folder / "raw", folder, CLIP, 16)
    assert row["frames"] == 60
    if number in (25, 100):
        print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""
    command = [sys.executable, "-c", program, place.folder]
    early, late = subprocess.check_output(command, cwd=ROOT, text=True).split()
    assert int(late) < 1.1 * int(early)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """What the two stages make if nobody disturbs them, and how many seconds `clip` takes."""
    folder = tmp_path_factory.mktemp("quiet") / "work"
    start = start_stages(folder)
    assert run_to_end(start(*DOWNLOAD))[0] == 0
    began = time.monotonic()
    assert run_to_end(start(*CLIP))[0] == 0
    return outputs(folder), time.monotonic() - began


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of `size` at `folder`, and a function that gives it another size."""
    folder.mkdir()

    def mount(size, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, text=True)

    mounted = mount(size)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield lambda size: mount(size, "remount")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("room", [1, 100])
def test_full_disk_is_named_and_room_is_all_that_going_on_takes(tmp_path, quiet, room):
    """room: KiB that are free when the stage starts."""
    with small_disk(tmp_path / "small", "64m") as resize:
        start = start_stages(tmp_path / "small/work")
        assert run_to_end(start(*DOWNLOAD))[0] == 0
        used = sum(path.stat().st_blocks for path in (tmp_path / "small").rglob("*")) // 2
        resize(f"{used + room}k")
        code, errors = run_to_end(start(*CLIP))
        assert code == 1, errors
        assert "clip: the disk is full" in errors and "Traceback" not in errors
        resize("64m")
        code, errors = run_to_end(start(*CLIP))
        assert code == 0, errors
        assert outputs(tmp_path / "small/work") == quiet[0]


def test_clip_killed_at_ten_instants_ends_with_the_bytes_of_a_quiet_run(tmp_path, quiet):
    expected, lasts = quiet
    folder = tmp_path / "killed"
    killed = start_stages(folder)
    assert run_to_end(killed(*DOWNLOAD))[0] == 0
    instants = random.Random(0)
    for _ in range(10):
        process = killed(*CLIP)
        time.sleep(instants.uniform(0.2, 1.0) * lasts)
        process.kill()
        process.communicate()
        wait_for(lambda: not processes_of(folder))
    code, errors = run_to_end(killed(*CLIP))
    assert code == 0, errors
    assert outputs(folder) == expected
    assert not list((folder / "data").glob(".*"))
