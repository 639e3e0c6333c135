"""`pipeline.py predict`: anyone's video in, continuations side by side out, or one sentence."""

import csv
import dataclasses
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageSequence

from tests.conftest import ROOT
from tests.evaluated import SMALL
from tests.videos import make_brightening_video, make_video
from vqcast.codes.models import save_prior, save_vqvae
from vqcast.errors import VqcastError
from vqcast.media import ffmpeg
from vqcast.media.reading import read_frames
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.grids import Grids
from vqcast.networks.sighted import vqvae_of
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.prediction.continuation import codes_to_draw, continue_frames, read_beginning, roll_on
from vqcast.prediction.picture import BORDER, GAP, GIVEN, PAPER, PREDICTED, save, side_by_side
from vqcast.prediction.predict import Prediction, predict
from vqcast.prediction.trained import Trained, load_trained
from vqcast.settings.params import load_settings

LIMITS = ffmpeg.Limits(seconds=60, pixels=2**24)


@dataclasses.dataclass(frozen=True)
class LatentsLike:
    """What `save_prior` asks of the manifest of latents."""

    codes: int
    grids: Grids
    vqvae: str


def save_untrained_models(folder: Path, seed: int = 0, **more: dict) -> None:
    """params.yaml, and small networks of random weights, as the training stages save them."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for changed in (SMALL, {"clip": {"resolution": 16}}, more):
        for section, changes in changed.items():
            params[section].update(changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    settings = load_settings(folder / "params.yaml")
    torch.manual_seed(seed)
    vqvae = vqvae_of(settings.vqvae, settings.expectation, settings.window.given, settings.window.frames)
    for quantizer in (vqvae.quantize_top, vqvae.quantize_bottom):
        quantizer.codebook.data.normal_()
    save_vqvae(folder / "models/vqvae", vqvae, settings.clip.resolution)
    sha256 = yaml.safe_load((folder / "models/vqvae/config.json").read_text())["sha256"]
    grids = Grids.of(settings.window, settings.clip.resolution, settings.vqvae)
    latents = LatentsLike(settings.vqvae.codes, grids, sha256)
    for kind, build in (("top_prior", TopPriorNetwork), ("bottom_prior", BottomPriorNetwork)):
        section = getattr(settings, kind)
        prior = build(section, settings.vqvae.codes, grids)
        with torch.no_grad():
            for parameter in prior.parameters():
                parameter.normal_(std=0.3)
        save_prior(folder / "models" / kind, prior, kind, section, latents)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    save_untrained_models(folder)
    make_video(folder / "long.mp4", "-qp", "0", frames=40)  # lossless, and so the same whatever follows
    make_video(folder / "short.mp4", "-qp", "0", frames=9)
    return folder


@pytest.fixture
def here(project, tmp_path, monkeypatch):
    """Predicts in this process, in a folder of its own that has the project's models."""
    (tmp_path / "models").symlink_to(project / "models")
    (tmp_path / "params.yaml").symlink_to(project / "params.yaml")
    monkeypatch.chdir(tmp_path)

    def call(video, **options) -> Path:
        defaults = dict(start=0.0, samples=2, frames=None, out=None, rev=None, seed=None, fps=8)
        prediction = Prediction(str(video), **{**defaults, **options})
        predict(prediction)
        return prediction.path

    return call


def given_of(video: Path, trained: Trained, start: float = 0.0) -> np.ndarray:
    with read_beginning(video, start, trained) as beginning:
        return beginning.given


def frames_in(folder: Path) -> list[np.ndarray]:
    """The frames of a picture that is a folder."""
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def run(folder: Path, *arguments: str, environment: dict | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "pipeline.py", "predict", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_command_writes_a_playable_picture_and_shows_progress(project, tmp_path):
    out = tmp_path / "out.mp4"
    finished = run(project, "long.mp4", "--start", "0.4", "--samples", "3", "--out", str(out))
    assert finished.returncode == 0, finished.stderr
    assert "predict: 100%" in finished.stderr
    assert finished.stdout == (
        f"{out}: 3 continuations of 4 frames (0.16 s from 0.4 s on), what really followed beside them\n"
    )
    stream = ffmpeg.probe(out, LIMITS)
    assert stream.rate == 8
    assert stream.width > 3.9 * stream.height * 0.8
    assert ffmpeg.decodable_seconds(out, LIMITS) == pytest.approx(16 / 8)


def test_picture_is_an_mp4_a_gif_or_a_folder_as_its_name_says(here, project):
    mp4 = here(project / "long.mp4")
    assert mp4 == Path("long-predicted.mp4")
    gif = Image.open(here(project / "long.mp4", out="x.GIF"))
    assert (gif.format, gif.info["loop"]) == ("GIF", 0)
    shown = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
    assert sum(shown) == 16 * 120  # frames that are alike are one that stays longer
    folder = here(project / "long.mp4", out="folder")
    assert sorted(path.name for path in folder.iterdir()) == [f"{number:03d}.png" for number in range(16)]
    assert {Image.open(path).size for path in folder.iterdir()} == {gif.size}
    here(project / "long.mp4", out="folder", samples=1)
    assert len(list(folder.iterdir())) == 16
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []


def test_given_frames_stand_in_grey_and_predicted_ones_in_orange_and_the_truth_is_beside_them():
    given, true = np.full((4, 64, 64, 3), 10, np.uint8), np.full((12, 64, 64, 3), 20, np.uint8)
    predicted = np.stack([np.full((12, 64, 64, 3), level, np.uint8) for level in (30, 40)])
    picture = np.stack(list(side_by_side(given, [predicted], true)))
    tiles = [GAP + number * (picture.shape[2] - GAP) // 3 for number in range(3)]
    borders = [[tuple(frame[GAP, x]) for frame in picture] for x in tiles]
    assert borders[0] == [GIVEN] * 16
    assert borders[1] == borders[2] == [GIVEN] * 4 + [PREDICTED] * 12
    inside = [[int(frame[GAP + BORDER + 5, x + BORDER + 5, 0]) for frame in picture] for x in tiles]
    assert inside == [[10] * 4 + [level] * 12 for level in (20, 30, 40)]
    assert picture.shape[1] % 2 == picture.shape[2] % 2 == 0


def test_many_continuations_go_on_in_a_second_row():
    given = np.zeros((4, 64, 64, 3), np.uint8)
    one, seven = (
        next(side_by_side(given, [np.zeros((n, 12, 64, 64, 3), np.uint8)], None)).shape for n in (1, 7)
    )
    assert seven[0] > 1.9 * one[0]
    assert seven[1] < 5.1 * one[1]


def test_truth_is_shown_as_far_as_the_video_goes(here, project, capsys):
    short, whole = (frames_in(here(project / f"{name}.mp4", out=name)) for name in ("short", "long"))
    assert len(short) == len(whole) == 16
    assert [np.array_equal(one, other) for one, other in zip(short, whole, strict=True)] == [True] * 9 + [
        False
    ] * 7
    assert {tuple(frame[GAP, GAP]) for frame in short[9:]} == {PAPER}
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        "short: 2 continuations of 4 frames (0.16 s from 0 s on), "
        "the video ends before they do, 5 frames of what really followed beside them"
    )
    assert said[1].endswith("(0.16 s from 0 s on), what really followed beside them")


def test_truth_is_left_out_where_the_video_ends_with_the_given_frames(here, project, capsys):
    (frame, *_) = frames_in(here(project / "long.mp4", start=1.44, samples=1, out="ends"))
    assert "(0.16 s from 1.44 s on), the video ends before they do\n" in capsys.readouterr().out
    (beside, *_) = frames_in(here(project / "long.mp4", start=1.4, samples=1, out="goes on"))
    assert frame.shape[1] < 0.6 * beside.shape[1]


def test_given_frames_are_those_after_the_start(project, tmp_path):
    """Each frame is 8 levels of luma lighter than the one before, at 25 a second."""
    video = make_brightening_video(tmp_path / "x.mp4")
    trained = load_trained(project, None)
    levels = [given_of(video, trained, start).mean(axis=(1, 2, 3)) for start in (0.0, 0.2, 0.39)]
    step = np.diff(levels[0]).mean()
    assert step == pytest.approx(8 * 255 / 219, abs=1)
    assert [round((level[0] - levels[0][0]) / step) for level in levels] == [0, 5, 10]


def test_start_far_into_a_video_is_sought_and_exact(tmp_path):
    """With keyframes far apart, the frames are those of a decode from the beginning."""
    video = make_video(tmp_path / "x.mp4", "-g", "120", "-bf", "2", frames=300, size="64x64")
    whole = read_frames(video, 300, LIMITS).frames.astype(int)
    for first in (1, 119, 120, 121, 250):
        some = read_frames(video, 8, LIMITS, start=first / 25).frames
        assert np.abs(some - whole[first : first + 8]).max() < 12, first
        assert np.abs(some - whole[first - 1 : first + 7]).max() > 40, first


def test_continuations_follow_from_frames_models_and_seed_and_differ_among_themselves(project):
    trained = load_trained(project, None)
    given = given_of(project / "long.mp4", trained)
    drawn = []
    two, three, other = (
        continue_frames(trained, given, samples, seed, drawn.append)
        for samples, seed in ((2, 0), (3, 0), (2, 1))
    )
    assert two.shape == (2, 12, 16, 16, 3) and two.dtype == np.uint8
    assert np.array_equal(two, three[:2])
    assert not np.array_equal(two, other)
    assert not np.array_equal(two[0], two[1])
    assert sum(drawn) == 3 * (3 * 2 * 2 + 6 * 4 * 4)


def test_prediction_sees_nothing_of_what_follows_the_given_frames(project):
    trained = load_trained(project, None)
    before = [given_of(project / name, trained) for name in ("long.mp4", "short.mp4")]
    assert np.array_equal(*before)
    one, other = (continue_frames(trained, given, 1, 0, lambda codes: None) for given in before)
    assert np.array_equal(one, other)


def rolled(trained: Trained, given: np.ndarray, samples: int, frames: int, seed: int = 0) -> np.ndarray:
    """All that `roll_on` gives: (samples, frames, H, W, 3)."""
    windows = list(roll_on(trained, given, samples, frames, seed, lambda codes: None))
    assert {len(window) for window in windows} == {samples}
    return np.concatenate(windows, 1)


@pytest.mark.parametrize(
    "more", [{}, {"vqvae": {**SMALL["vqvae"], "sees_given": True}}], ids=["as in the paper", "sees given"]
)
def test_rolling_on_is_windows_chained_by_hand(project, tmp_path, more):
    """Each call is given the last predicted frames of the one before, and the next seed."""
    save_untrained_models(tmp_path, **more)
    trained = load_trained(tmp_path, None)
    given = given_of(project / "long.mp4", trained)
    together = rolled(trained, given, 2, 30, seed=5)
    for sample in range(2):
        latest, chained = given, []
        for seed in (5, 6, 7):
            chained.extend(continue_frames(trained, latest, sample + 1, seed, lambda codes: None)[sample])
            latest = np.stack(chained[-4:])
        assert np.array_equal(together[sample], chained[:30])
        assert not np.array_equal(chained[:12], chained[12:24])
    assert not np.array_equal(together[0], together[1])


def test_a_rolled_on_continuation_depends_neither_on_the_others_nor_on_how_far_it_goes(project):
    trained = load_trained(project, None)
    given = given_of(project / "long.mp4", trained)
    whole = rolled(trained, given, 3, 30)
    assert np.array_equal(rolled(trained, given, 1, 30)[0], whole[0])
    for frames in (1, 12, 13, 24):
        assert np.array_equal(rolled(trained, given, 3, frames), whole[:, :frames])
    assert np.array_equal(continue_frames(trained, given, 3, 0, lambda codes: None), whole[:, :12])


def test_given_frames_reach_over_windows_where_more_are_given_than_predicted(project, tmp_path):
    save_untrained_models(tmp_path, window={"given": 12}, train_bottom_prior={"slices_per_window": 2})
    trained = load_trained(tmp_path, None)
    given = given_of(project / "long.mp4", trained)
    assert (len(given), trained.predicted) == (12, 4)
    chained = list(given)
    for seed in range(3):
        chained.extend(continue_frames(trained, np.stack(chained[-12:]), 1, seed, lambda codes: None)[0])
    assert np.array_equal(rolled(trained, given, 1, 11)[0], chained[12:23])


def test_progress_counts_every_window(project):
    trained = load_trained(project, None)
    drawn = []
    for _ in roll_on(trained, given_of(project / "long.mp4", trained), 2, 30, 0, drawn.append):
        pass
    assert sum(drawn) == codes_to_draw(trained, 30) == 3 * codes_to_draw(trained, 12)


def test_a_long_prediction_begins_as_a_short_one_and_plays_as_long_as_it_should(here, project, capsys):
    window, long, cut = (
        frames_in(here(project / "long.mp4", frames=frames, out=f"{frames}")) for frames in (None, 30, 5)
    )
    assert (len(window), len(long), len(cut)) == (16, 34, 9)
    assert np.array_equal(long[:16], window) and np.array_equal(long[:9], cut)
    said = capsys.readouterr().out.splitlines()[1]
    assert said == (
        "30: 2 continuations of 4 frames (0.16 s from 0 s on) by 30 frames, what really followed beside them"
    )
    mp4 = here(project / "long.mp4", frames=30, out="x.mp4")
    assert ffmpeg.decodable_seconds(mp4, LIMITS) == pytest.approx(34 / 8)
    with Image.open(here(project / "long.mp4", frames=30, out="x.gif")) as gif:
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(gif)) == 34 * 120


@pytest.mark.parametrize("out", ["x.mp4", "x.gif", "x"])
def test_memory_does_not_grow_with_what_is_predicted(here, project, out):
    peaks = []
    for frames in (24, 72):
        tracemalloc.start()
        try:
            here(project / "long.mp4", samples=1, frames=frames, out=out)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    a_frame = 232 * 440 * 3  # of the picture
    assert peaks[1] - peaks[0] < 5 * a_frame


def test_frames_of_a_folder_are_in_order_by_their_names_however_many(tmp_path):
    save((np.full((2, 2, 3), number % 256, np.uint8) for number in range(1002)), 1002, 8, tmp_path / "x")
    assert [int(frame[0, 0, 0]) for frame in frames_in(tmp_path / "x")] == [n % 256 for n in range(1002)]


def test_truth_of_a_video_that_takes_too_long_to_decode_is_what_there_was_time_for(project, monkeypatch):
    """The file that was being written is no part of it."""
    real = ffmpeg.cut

    def slow(*arguments) -> str:
        real(*arguments)
        raise ffmpeg.Undecodable("decoding takes longer than 60 s")

    monkeypatch.setattr(ffmpeg, "cut", slow)
    with read_beginning(project / "long.mp4", 0, load_trained(project, None), 30) as beginning:
        assert (len(beginning.given), beginning.follow) == (4, 28)
        assert len(list(beginning.true)) == 28
        assert beginning.complaint == "decoding takes longer than 60 s"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.mp4"], "nothing.mp4 is no file"),
        (["params.yaml"], "params.yaml cannot be decoded: "),
        (["long.mp4", "--start", "99"], "long.mp4 cannot be decoded: no frame can be decoded after 99 s"),
        (["long.mp4", "--start", "1.52"], "long.mp4 has 2 frames after 1.52 s, and 4 must be given"),
        (["long.mp4", "--start", "-1"], "--start must not be negative"),
        (["long.mp4", "--start", "nan"], "--start must not be negative, and nan is no time in a video"),
        (["long.mp4", "--start", "1.56"], "long.mp4 has 1 frames after 1.56 s, and 4 must be given"),
        (["long.mp4", "--samples", "0"], "--samples must lie in 1..100, not 0"),
        (["long.mp4", "--frames", "0"], "--frames must lie in 1..1000000, not 0"),
        (["long.mp4", "--frames", "-12"], "--frames must lie in 1..1000000, not -12"),
        (["long.mp4", "--out", "x.avi"], "x.avi must end with .mp4 or .gif"),
        (["long.mp4", "--out", "models"], "models is there already, and is no folder of frames"),
    ],
)
def test_what_cannot_be_predicted_is_one_sentence_and_nothing_is_written(project, arguments, says):
    before = sorted(project.rglob("*"))
    finished = run(project, *arguments)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"pipeline.py: {says}") and finished.stderr.count("\n") == 1
    assert sorted(project.rglob("*")) == before


def test_models_that_are_missing_or_of_different_trainings_are_named(project, tmp_path):
    save_untrained_models(tmp_path, seed=1)
    (tmp_path / "models/top_prior").rename(tmp_path / "old")
    with pytest.raises(VqcastError, match=r"there is no model top_prior in .*: dvc repro train_top_prior"):
        load_trained(tmp_path, None)
    (tmp_path / "models/top_prior").symlink_to(project / "models/top_prior")
    with pytest.raises(VqcastError, match="top_prior was trained on the codes of another VQ-VAE"):
        load_trained(tmp_path, None)


DVC = """\
stages:
  train:
    cmd: echo
    outs: [models/vqvae, models/top_prior, models/bottom_prior]
"""


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A git and DVC project whose tags `first` and `second` have models; the workspace has none."""
    folder = tmp_path_factory.mktemp("history")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(tmp_path_factory.mktemp("site cache")),
    }
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]

    def say(*command: str) -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

    say("git", "init", "-q")
    say("dvc", "init", "-q")
    (folder / "dvc.yaml").write_text(DVC)
    for seed, name in enumerate(("first", "second")):
        save_untrained_models(folder, seed)
        say("dvc", "commit", "-q", "-f")
        say("git", "add", "-A")
        say("git", *who, "commit", "-qm", name)
        say("git", "tag", name)
    say("rm", "-r", "models/vqvae", "models/top_prior", "models/bottom_prior")
    (folder / "params.yaml").unlink()
    make_video(folder / "long.mp4", frames=20)
    return folder, environment


def workspace(folder: Path) -> list[tuple[str, int]]:
    """Every file outside .git and .dvc, and when it was written."""
    files = (path for path in folder.rglob("*") if not {".git", ".dvc"} & set(path.parts))
    return sorted((str(path), path.stat().st_mtime_ns) for path in files)


def test_models_of_any_revision_predict_and_the_workspace_is_not_touched(history, tmp_path):
    folder, environment = history
    pictures = []
    for rev, seed in (("first", 0), ("second", 1), ("HEAD~1", 0)):
        before, out = workspace(folder), tmp_path / f"{rev}.gif"
        options = ("--rev", rev, "--samples", "1", "--out", str(out))
        finished = run(folder, "long.mp4", *options, environment=environment)
        assert finished.returncode == 0, finished.stderr
        assert workspace(folder) == before
        directly = tmp_path / f"checkout {rev}"
        directly.mkdir()
        save_untrained_models(directly, seed)
        expected = tmp_path / f"expected {rev}.gif"
        finished = run(directly, str(folder / "long.mp4"), "--samples", "1", "--out", str(expected))
        assert finished.returncode == 0, finished.stderr
        assert out.read_bytes() == expected.read_bytes()
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[2] != pictures[1]


def test_revision_that_is_unknown_or_whose_models_are_gone_is_named(history):
    folder, environment = history
    finished = run(folder, "long.mp4", "--rev", "nowhere", environment=environment)
    assert finished.returncode == 1
    said = "pipeline.py: revision 'nowhere' cannot be read: unknown Git revision 'nowhere'\n"
    assert finished.stderr == said
    cache = folder / ".dvc/cache"
    cache.rename(folder / "elsewhere")
    try:
        finished = run(folder, "long.mp4", "--rev", "first", environment=environment)
    finally:
        if cache.exists():
            (folder / "made anew").mkdir()
            cache.rename(folder / "made anew/cache")
        (folder / "elsewhere").rename(cache)
    assert finished.returncode == 1
    assert finished.stderr.startswith("pipeline.py: the model vqvae of first is not in the DVC cache")
    assert finished.stderr.count("\n") == 1


def listed(variable: str) -> list[str]:
    """Paths below a folder of videos, as its videos.csv has them; none where the variable names no folder."""
    if not os.environ.get(variable):
        return []
    with open(ROOT / os.environ[variable] / "videos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [f"videos/{row['video']}" if variable == "VQCAST_EDGE" else row["video"] for row in rows]


def check(here, video: Path, capsys) -> bool:
    """Whether a video gave a playable picture; if not, it must give one sentence that names it."""
    try:
        out = here(video, samples=1)
    except VqcastError as error:
        said = str(error)
        assert said.startswith(str(video)) and "\n" not in said and len(said) < 300
        return False
    assert ffmpeg.decodable_seconds(out, LIMITS) == pytest.approx(2)
    assert "1 continuations" not in capsys.readouterr().out
    return True


TOO_SHORT = {"tests_test_data_video_0.mov", "tests_test_data_video_180.mov", "tests_test_data_video_270.mov"}
TOO_SHORT |= {"tests_test_data_video_90.mov"}


@pytest.mark.parametrize("video", listed("VQCAST_EDGE"))
def test_odd_video_gives_a_playable_picture_or_a_sentence(here, edge_videos, video, capsys):
    assert check(here, edge_videos / video, capsys) == (Path(video).name not in TOO_SHORT)


@pytest.mark.parametrize("video", listed("VQCAST_REAL_VIDEOS"))
def test_real_video_gives_a_playable_picture(here, real_videos, video, capsys):
    assert check(here, real_videos / video, capsys)
