"""Odd files: what ffmpeg makes of them is what a user would expect, and never more than a video."""

import shutil
from fractions import Fraction

import numpy as np
import pytest

from tests.videos import make_brightening_video, make_video, run_ffmpeg
from vqcast.media import ffmpeg
from vqcast.media.decoding import count_frames, decode

CODECS = {
    "h264.mp4": ["-c:v", "libx264"],
    "h264 10 bit.mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p10le"],
    "h264 444.mp4": ["-c:v", "libx264", "-pix_fmt", "yuv444p"],
    "hevc 10 bit.mkv": ["-c:v", "libx265", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p10le"],
    "av1.mp4": ["-c:v", "libsvtav1", "-svtav1-params", "lp=1"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime"],
    "mpeg1.mpg": ["-c:v", "mpeg1video"],
    "mpeg4.avi": ["-c:v", "mpeg4"],
    "h264 with B-frames.ts": ["-c:v", "libx264", "-bf", "3"],
    "gif.gif": [],
}


LIMITS = ffmpeg.Limits(30.0, 2**22)


def cut(path, folder, *, frames=1000, rate=None, start=None, end=None):
    """The clips of a video, decoded, and the error that ended it."""
    folder.mkdir()
    stream = ffmpeg.probe(path, LIMITS)
    how = ffmpeg.Cut(
        size=32,
        rate=rate or stream.rate,
        resample=rate is not None,
        frames=frames,
        gop=8,
        crf=4,
        start=start,
        end=end,
        most=10_000,
    )
    error = ffmpeg.cut(path, stream, how, folder, LIMITS)
    files = [file.read_bytes() for file in sorted(folder.iterdir())]
    return [decode(mp4, range(count_frames(mp4))) for mp4 in files], error


def rate_and_size(path):
    stream = ffmpeg.probe(path, LIMITS)
    return stream.rate, stream.width, stream.height


def quadrants(path, width, height, *options):
    """Four frames of red, green / blue, white quarters."""
    parts = ";".join(
        f"color={colour}:size={width // 2}x{height // 2}:rate=25:duration=0.16[{colour}]"
        for colour in ("red", "lime", "blue", "white")
    )
    graph = f"{parts};[red][lime]hstack[top];[blue][white]hstack[bottom];[top][bottom]vstack"
    run_ffmpeg("-filter_complex", graph, *options, str(path))
    return path


def corners(frame):
    """The names of the colours in the four quarters of a frame."""
    names = {(1, 0, 0): "red", (0, 1, 0): "lime", (0, 0, 1): "blue", (1, 1, 1): "white"}
    return [names[tuple(int(v > 128) for v in frame[y, x])] for y in (8, 24) for x in (8, 24)]


@pytest.mark.parametrize("name", CODECS)
def test_every_frame_of_any_codec_is_kept_once(tmp_path, name):
    path = make_brightening_video(tmp_path / name, *CODECS[name], frames=19)
    assert rate_and_size(path) == (25, 64, 48)
    clips, error = cut(path, tmp_path / "clips")
    assert [clip.shape for clip in clips] == [(19, 32, 32, 3)]
    assert error == ""
    assert np.all(np.diff(clips[0].mean(axis=(1, 2, 3))) > 4)


@pytest.mark.parametrize("size", ["65x49", "33x32", "16x130"])
def test_odd_sizes_are_cut(tmp_path, size):
    path = make_video(tmp_path / "odd.mp4", "-c:v", "libx264", "-pix_fmt", "yuv444p", size=size)
    clips, _ = cut(path, tmp_path / "clips")
    assert clips[0].shape == (20, 32, 32, 3)


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0, ["red", "lime", "blue", "white"]),
        (90, ["lime", "white", "red", "blue"]),
        (180, ["white", "blue", "lime", "red"]),
        (270, ["blue", "red", "white", "lime"]),
    ],
)
def test_rotated_video_is_turned_upright(tmp_path, angle, expected):
    plain = quadrants(tmp_path / "plain.mp4", 96, 64)
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", str(angle), "-i", str(plain), "-c", "copy", str(turned))
    stream = ffmpeg.probe(turned, LIMITS)
    assert (stream.width, stream.height) == ((96, 64) if angle in (0, 180) else (64, 96))
    clips, _ = cut(turned, tmp_path / "clips")
    assert corners(clips[0][0]) == expected


@pytest.mark.parametrize(
    ("width", "height", "sar"), [(96, 64, "1"), (64, 96, "1"), (32, 64, "2"), (64, 32, "1/2")]
)
def test_centre_square_of_the_picture_as_displayed_is_kept(tmp_path, width, height, sar):
    quadrants(tmp_path / "plain.mp4", width, height)
    run_ffmpeg("-i", str(tmp_path / "plain.mp4"), "-vf", f"setsar={sar}", str(tmp_path / "a.mp4"))
    clips, _ = cut(tmp_path / "a.mp4", tmp_path / "clips")
    assert corners(clips[0][0]) == ["red", "lime", "blue", "white"]


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("span", ["tv", "pc"])
def test_colours_survive_whatever_the_matrix_and_range_of_the_source(tmp_path, matrix, span):
    path = tmp_path / "a.mp4"
    tags = ["-colorspace", matrix, "-color_range", span]
    convert = f"scale=out_color_matrix={matrix}:out_range={span},format=yuv420p"
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=0x30C060:size=64x64:duration=0.2"), "-vf", convert, *tags, str(path)
    )
    frame = cut(path, tmp_path / "clips")[0][0][0]
    assert np.abs(frame.reshape(-1, 3).mean(0) - (0x30, 0xC0, 0x60)).max() < 5


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67", "bt2020-10"])
def test_hdr_and_wide_colours_become_those_of_an_sdr_screen(tmp_path, transfer):
    """A colour and white, at most as bright as HDR's reference white, brought to HDR and back."""
    path = tmp_path / "a.mp4"
    halves = "color=0x208040:size=64x64:duration=0.2[a];color=white:size=64x64:duration=0.2[b];[a][b]vstack"
    to_hdr = (
        "scale,format=gbrp,setparams=color_primaries=bt709:color_trc=bt709,zscale=transfer=linear:npl=203,"
        f"format=gbrpf32,zscale=primaries=bt2020:transfer={transfer}:matrix=bt2020nc:range=limited:npl=203,"
        "format=yuv420p10"
    )
    lossless = ("-c:v", "libx265", "-x265-params", "log-level=none:lossless=1")
    run_ffmpeg("-filter_complex", f"{halves},{to_hdr}", *lossless, str(path))
    assert ffmpeg.probe(path, LIMITS).transfer == transfer
    frame = cut(path, tmp_path / "clips")[0][0][0]
    assert np.abs(frame[2:14].reshape(-1, 3).mean(0) - (0x20, 0x80, 0x40)).max() < 8
    white = frame[18:30].mean()
    assert white == pytest.approx(212 if transfer != "bt2020-10" else 255, abs=8)


def test_clips_follow_each_other_without_a_frame_lost_or_repeated(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=50, rate="30000/1001")
    whole, _ = cut(path, tmp_path / "whole")
    parts, _ = cut(path, tmp_path / "parts", frames=20)
    assert [len(part) for part in parts] == [20, 20, 10]
    errors = np.abs(np.concatenate(parts).astype(int) - whole[0]).mean(axis=(1, 2, 3))
    assert errors.max() < 3


def test_frames_with_broken_timestamps_are_kept_once(tmp_path):
    plain = make_video(tmp_path / "plain.mp4", "-bf", "0", frames=30)
    path = tmp_path / "broken.mkv"
    # every third frame comes with the time of the one before, and the last ten a minute late
    times = "setts=ts='if(eq(mod(N,3),2),PREV_OUTPTS,PTS)+gte(N,20)*60/TB'"
    run_ffmpeg("-i", str(plain), "-c", "copy", "-bsf:v", times, str(path))
    clips, _ = cut(path, tmp_path / "clips")
    assert [len(clip) for clip in clips] == [30]


def test_size_that_changes_in_mid_stream_loses_no_frame(tmp_path):
    for name, size in (("a.h264", "64x48"), ("b.h264", "96x96")):
        make_video(tmp_path / name, "-c:v", "libx264", "-bf", "0", size=size, frames=12)
    path = tmp_path / "both.h264"
    path.write_bytes((tmp_path / "a.h264").read_bytes() + (tmp_path / "b.h264").read_bytes())
    clips, _ = cut(path, tmp_path / "clips", frames=10)
    assert [len(clip) for clip in clips] == [10, 10, 4]


@pytest.mark.parametrize(("rate", "count"), [(Fraction(10), 20), (Fraction(50), 100)])
def test_wanted_rate_drops_and_repeats_frames(tmp_path, rate, count):
    path = make_video(tmp_path / "a.mp4", frames=50)
    clips, _ = cut(path, tmp_path / "clips", rate=rate)
    assert abs(len(clips[0]) - count) <= 1


def test_span_of_a_video_is_cut_to_the_frame(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=50)
    whole, _ = cut(path, tmp_path / "whole")
    part, _ = cut(path, tmp_path / "part", start=0.4, end=1.2)
    assert len(part[0]) == 20
    assert np.abs(part[0].astype(int) - whole[0][10:30]).mean() < 3


@pytest.mark.parametrize("name", ["-i.mp4", "file:x.mp4", "a%05d.mp4", 'it\'s "1" (x).mp4', "| true.mp4"])
def test_name_of_a_file_means_nothing_to_ffmpeg(tmp_path, monkeypatch, name):
    make_video(tmp_path / "plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    clips, _ = cut(name, tmp_path / "clips")
    assert [len(clip) for clip in clips] == [20]


def test_truncated_video_keeps_the_frames_before_the_break(tmp_path):
    whole = make_video(tmp_path / "a.mp4", "-movflags", "+faststart", "-g", "5", frames=60).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    clips, error = cut(tmp_path / "cut.mp4", tmp_path / "clips")
    assert 20 < len(clips[0]) < 60
    assert "/" not in error and "0x" not in error


def test_frames_after_a_corrupt_one_are_left_out(tmp_path):
    path = make_video(tmp_path / "a.avi", "-c:v", "mpeg4", frames=60)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200
    path.write_bytes(content)
    first, error = cut(path, tmp_path / "first")
    again, _ = cut(path, tmp_path / "again")
    assert 5 < len(first[0]) < 59
    assert error != ""
    np.testing.assert_array_equal(first[0], again[0])


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 99, bytes(5000)])
def test_file_that_is_no_video_is_undecodable(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ffmpeg.Undecodable) as failure:
        ffmpeg.probe(tmp_path / "a.mp4", LIMITS)
    assert str(failure.value)
    assert str(tmp_path) not in str(failure.value)


def test_sound_alone_is_undecodable(tmp_path):
    path = tmp_path / "a.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(path))
    with pytest.raises(ffmpeg.Undecodable):
        ffmpeg.probe(path, LIMITS)


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "ffconcat version 1.0\nfile file:secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:secret.mp4\n#EXT-X-ENDLIST\n",
    ],
)
def test_playlist_posing_as_a_video_reaches_no_other_file(tmp_path, monkeypatch, playlist):
    make_video(tmp_path / "secret.mp4")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_text(playlist)
    with pytest.raises(ffmpeg.Undecodable):
        ffmpeg.probe("a.mp4", LIMITS)


def test_decoding_that_takes_too_long_is_given_up(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    with pytest.raises(ffmpeg.Undecodable, match=r"decoding takes longer than 0\.001 s"):
        ffmpeg.probe(path, ffmpeg.Limits(0.001, 2**22))


def test_same_video_gives_the_same_bytes(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    shutil.copy(path, tmp_path / "b.mp4")
    how = ffmpeg.Cut(32, Fraction(25), False, 100, 8, 10, None, None, most=1000)
    stream = ffmpeg.probe(path, LIMITS)
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ffmpeg.cut(tmp_path / f"{name}.mp4", stream, how, tmp_path / name, LIMITS)
        contents.append((tmp_path / name / "00000.mp4").read_bytes())
    assert contents[0] == contents[1]


@pytest.fixture
def variable(tmp_path):
    """20 frames at 10 frames/s, then 60 at 30 frames/s, each lighter than the one before: 4 s."""
    path = tmp_path / "variable.mp4"
    source = "nullsrc=size=64x48,geq=lum='16+2*N':cb=128:cr=128"
    times = "settb=1/30,setpts='if(lt(N,20),3*N,N+40)'"
    keep = ("-fps_mode", "passthrough", "-enc_time_base", "1/30")
    run_ffmpeg("-f", "lavfi", "-i", source, "-frames:v", "80", "-vf", times, *keep, str(path))
    return path


def numbers(frames):
    """Which frames of the variable video these are, by how light they are."""
    return (frames.mean(axis=(1, 2, 3)) * 219 / 255 / 2).round()


def test_variable_rate_becomes_constant_where_a_rate_is_wanted(tmp_path, variable):
    (frames,), _ = cut(variable, tmp_path / "clips", rate=Fraction(10))
    expected = np.concatenate([np.arange(20), np.arange(20, 80, 3)])
    assert len(frames) == 40
    assert np.abs(numbers(frames) - expected).max() <= 2


def test_span_of_a_video_of_variable_rate_is_found_by_time(tmp_path, variable):
    (frames,), _ = cut(variable, tmp_path / "clips", start=2.0, end=4.0)
    assert len(frames) == 60
    assert np.abs(numbers(frames) - np.arange(20, 80)).max() <= 1
