"""A whole small pipeline is audited: what made its models, a video taken out, and bytes that differ."""

import csv
import shutil
import subprocess

import pyarrow.parquet as pq
import pytest
import yaml

from tests.projects import audit, audit_text, commit, git, make_project, repro, run, run_audit
from vqcast.clips.shards import Shard
from vqcast.lineage.evidence import Evidence
from vqcast.lineage.verify import audit_verify
from vqcast.sampling.store import Samples
from vqcast.sources.manifest import CLIPS, RAW, read_manifest, write_manifest

TRAINED_ON, JUDGED_ON = "train-00002", "val-00001"
MODELS = {"models/vqvae", "models/top_prior", "models/bottom_prior"}
STAGES = ["download", "clip", "train_vqvae", "encode", "train_top_prior"]


class Story:
    """A pipeline that ran, was committed, and ran again without two of its videos."""

    def __init__(self, folder):
        self.folder = make_project(folder)
        self.first_head = git(folder, "rev-parse", "HEAD")
        repro(folder)
        self.first = commit(folder, "first models")
        git(folder, "tag", "v1")
        self.raw = {row["video"]: row for row in read_manifest(folder / "data/raw.parquet", RAW)}
        self.clips = {row["clip"]: row for row in read_manifest(folder / "data/clips.parquet", CLIPS)}
        self.mp4s = {clip: self.mp4(row) for clip, row in self.clips.items()}
        self.samples = (folder / "data/samples/samples-00000.arrow").read_bytes()
        rows = [(TRAINED_ON, "asked for", "2026-02-03"), (JUDGED_ON, "asked for", "2026-02-03")]
        with (folder / "data/exclude.csv").open("a", newline="") as file:
            csv.writer(file).writerows(rows)
        repro(folder)
        self.second = commit(folder, "two videos are taken out")

    def mp4(self, row):
        clip, mp4 = Shard(self.folder / "data/clips" / row["shard"])[row["row"]]
        assert clip == row["clip"]
        return mp4


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return Story(tmp_path_factory.mktemp("story") / "project")


@pytest.fixture
def copy(story, tmp_path):
    """A copy of the project in which a file may be tampered with, and links between files are links again."""
    subprocess.run(["cp", "-a", story.folder, tmp_path / "project"], check=True)
    return tmp_path / "project"


def test_model_is_followed_back_to_every_source(story):
    report = audit(story.folder, "model", "models/top_prior", "--rev", "v1", "--videos")
    assert report["revision"] == story.first
    assert [stage["stage"] for stage in report["stages"]] == STAGES
    for stage in report["stages"]:
        assert stage["run"]["outcome"] == "complete"
        assert (stage["run"]["commit"], stage["run"]["clean"]) == (story.first_head, True)
        assert f"stages/{stage['stage']}.py" in stage["code"]
    assert report["stages"][2]["parameters"]["train_vqvae.steps"] == 3
    assert report["stages"][2]["run"]["device"] == "cpu"
    assert report["lost"] == []
    assert (report["videos"], report["by_split"]) == (7, {"train": {"train": 5}, "val": {"val": 2}})
    assert report["by_source"] == {"sample": {"train": 5, "val": 2}}
    assert report["by_licence"] == {"CC0-1.0": {"train": 5, "val": 2}}
    assert sum(sum(splits.values()) for splits in report["by_label"].values()) == 7
    told = {video["video"]: (video["video_sha256"], video["url"]) for video in report["each_video"]}
    assert told == {row["video"]: (row["sha256"], row["url"]) for row in story.raw.values()}
    assert all(video["end"] > video["start"] >= 0 for video in report["each_video"])

    text = audit_text(story.folder, "model", "models/top_prior", "--rev", "v1", "--videos")
    assert all(row["sha256"] in text for row in story.raw.values())
    assert audit(story.folder, "model", "models/top_prior")["videos"] == 5


def test_unknown_model_or_revision_is_one_sentence(story):
    for arguments, sentence in (
        (("models/top",), "there is no model 'models/top' in workspace; there is models/bottom_prior"),
        (("models/vqvae", "--rev", "v9"), "git knows no revision 'v9'"),
        (("models/vqvae", "--rev", f"{story.first}~1"), "dvc.lock in"),
    ):
        assert audit_error(story.folder, "model", *arguments).startswith(f"pipeline.py: {sentence}")


def audit_error(folder, *arguments):
    """The last line on stderr of an audit that ends with exit code 1."""
    return run_audit(folder, *arguments, code=1).stderr.splitlines()[-1]


def test_video_taken_out_is_in_no_current_model_and_the_old_ones_are_named(story):
    report = audit(story.folder, "video", TRAINED_ON)
    assert [model["model"] for model in report["trained"] if model["current"]] == []
    assert report["validated"] == report["unknown"] == []
    assert {model["model"] for model in report["trained"]} == MODELS
    for model in report["trained"]:
        (of_commit,) = model["commits"]
        assert (of_commit["sha"], of_commit["tags"]) == (story.first, ["v1"])
    assert report["left_out"][0]["reason"] == "excluded on 2026-02-03: asked for"
    assert [clip["current"] for clip in report["clips"]] == [False]
    assert "current models trained on it:\n    none" in audit_text(story.folder, "video", TRAINED_ON)


def test_video_that_was_only_judged_on_trained_no_model(story):
    report = audit(story.folder, "video", JUDGED_ON)
    assert report["trained"] == []
    assert {model["model"] for model in report["validated"]} == MODELS
    assert not any(model["current"] for model in report["validated"])


def test_video_that_is_still_there_is_in_current_and_earlier_models(story):
    report = audit(story.folder, "video", "train-00001")
    current = [model for model in report["trained"] if model["current"]]
    assert {model["model"] for model in current} == MODELS
    assert len(report["trained"]) == 6
    shard = story.clips["train-00001#000"]["shard"]
    assert f"data/clips/{shard}" in {left["path"] for left in report["bytes_left"]}


def test_file_is_found_by_its_content_whatever_it_is_called(story, tmp_path):
    row = story.raw[TRAINED_ON]
    renamed = tmp_path / "holiday.mov"
    shutil.copyfile(story.folder / "data/raw" / row["file"], renamed)
    for asked in (str(renamed), row["sha256"]):
        report = audit(story.folder, "video", asked)
        assert report["videos"] == [TRAINED_ON]
        assert len(report["trained"]) == 3
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(story.mp4s[f"{TRAINED_ON}#000"])
    assert audit(story.folder, "video", str(clip))["videos"] == [TRAINED_ON]
    renamed.write_bytes(renamed.read_bytes() + b"\0")
    assert "lists" in audit_error(story.folder, "video", str(renamed))


def test_no_byte_of_a_video_taken_out_is_left_in_what_the_pipeline_makes(story):
    rows = {row["video"]: row for row in read_manifest(story.folder / "data/raw.parquet", RAW)}
    for video in (TRAINED_ON, JUDGED_ON):
        assert (rows[video]["status"], rows[video]["file"], rows[video]["sha256"]) == ("excluded", None, None)
    made = [
        path for name in ("clips", "latents", "samples") for path in (story.folder / "data" / name).iterdir()
    ]
    contents = {path: path.read_bytes() for path in [*made, story.folder / "data/clips.parquet"]}
    for video in (TRAINED_ON, JUDGED_ON):
        mp4 = story.mp4s[f"{video}#000"]
        for path, content in contents.items():
            assert video.encode() not in content, path
            assert mp4 not in content, path
            # nor a part of it: any 64 bytes in the middle of its pictures
            assert mp4[len(mp4) // 2 : len(mp4) // 2 + 64] not in content, path
        assert story.raw[video]["sha256"].encode() not in contents[story.folder / "data/clips.parquet"]
    windows = [
        window
        for path in (story.folder / "data/latents").glob("*.parquet")
        for window in pq.read_table(path, columns=["window"])["window"].to_pylist()
    ]
    kept = {window.partition("#")[0] for window in windows}
    assert kept == story.raw.keys() - {TRAINED_ON, JUDGED_ON}
    sampled = {window.partition("#")[0] for window in Samples(story.folder / "data/samples").windows}
    assert sampled == {"val-00000"}
    # and the test above would have seen it: the first commit's samples hold the video's name
    assert JUDGED_ON.encode() in story.samples


def test_audit_video_names_every_file_that_still_holds_bytes_of_it(story, copy):
    report = audit(copy, "video", TRAINED_ON)
    left = {item["path"] for item in report["bytes_left"]}
    mp4 = story.mp4s[f"{TRAINED_ON}#000"]
    whole = (copy / "data/raw" / story.raw[TRAINED_ON]["file"]).read_bytes()
    holding = {
        path.relative_to(copy).as_posix()
        for path in copy.rglob("*")
        if path.is_file() and any(part in path.read_bytes() for part in (mp4, whole))
    }
    assert left == holding
    assert any(path.startswith("data/raw/") for path in left)
    for path in left:
        (copy / path).unlink()
    assert audit(copy, "video", TRAINED_ON)["bytes_left"] == []


def test_diff_tells_videos_parameters_code_and_metrics(story, copy):
    report = audit(story.folder, "diff", "v1", "HEAD")
    assert report["revisions"] == [story.first, story.second]
    assert report["models"].keys() == MODELS
    assert [video["video"] for video in report["videos"]["out"]] == [TRAINED_ON, JUDGED_ON]
    assert report["videos"]["in"] == report["videos"]["changed"] == []
    assert "data/exclude.csv" in report["stages"]["download"]["inputs"]
    assert "parameters" not in report["stages"]["train_vqvae"]
    assert any("psnr" in key for key in report["metrics"])
    backwards = audit(story.folder, "diff", "HEAD", "v1")
    assert [video["video"] for video in backwards["videos"]["in"]] == [TRAINED_ON, JUDGED_ON]

    params = copy / "params.yaml"
    params.write_text(params.read_text().replace("commitment: 0.25", "commitment: 0.5"))
    with (copy / "vqcast/training/vqvae.py").open("a") as module:
        module.write("# changed\n")
    repro(copy, "train_vqvae")
    stage = audit(copy, "diff", "HEAD", "workspace")["stages"]["train_vqvae"]
    assert stage["parameters"] == {"vqvae.commitment": [0.25, 0.5]}
    assert list(stage["code"]) == ["vqcast/training/vqvae.py"]
    text = audit_text(copy, "diff", "HEAD", "workspace")
    assert "vqvae.commitment: 0.25 -> 0.5" in text


def test_verify_finds_nothing_wrong_where_nothing_is(story):
    report = audit(story.folder, "verify")
    assert (report["faults"], report["notes"]) == ([], [])
    assert report["files"] > 100


def flip(path, place=None):
    """Change one byte of a file, in the file itself: what is linked to it changes too."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def faults(folder):
    """What is wrong, by file."""
    found: dict[str, list[str]] = {}
    for row in audit_verify(Evidence(folder))["faults"]:
        found.setdefault(row["file"], []).append(row["fault"])
    return found


def test_verify_names_every_file_with_a_byte_that_differs(story, copy):
    tampered = [
        "data/clips/train-00001.arrow",
        "data/latents/val-00000.parquet",
        "models/top_prior/model.safetensors",
        "models/bottom_prior/config.json",
        "data/samples/samples-00000.arrow",
        f"data/raw/{story.raw['train-00001']['file']}",
        "reports/index.html",
        "vqcast/networks/vqvae.py",
    ]
    for name in tampered:
        flip(copy / name)
    (copy / "data/clips/train-99999.arrow").write_bytes(b"")
    (copy / "reports/curves/vqvae/plots/metrics/train/loss.tsv").unlink()
    found = faults(copy)
    assert found.keys() >= {
        *tampered,
        "data/clips/train-99999.arrow",
        "reports/curves/vqvae/plots/metrics/train/loss.tsv",
    }
    innocent = [name for name in found if name.startswith(("models/vqvae", "data/clips/val", "params"))]
    assert innocent == []


def test_verify_names_the_clip_whose_row_was_changed(copy):
    path = copy / "data/clips.parquet"
    rows = read_manifest(path, CLIPS)
    rows[0]["licence"], rows[1]["sha256"] = "CC BY 4.0", "0" * 64
    path.unlink()
    write_manifest(rows, CLIPS, path)
    told = " / ".join(faults(copy)["data/clips.parquet"])
    assert f"clip {rows[0]['clip']!r}: licence is 'CC BY 4.0'" in told
    assert "differs" in told


def test_verify_names_dvc_lock_where_it_was_changed(copy):
    lock = copy / "dvc.lock"
    text = lock.read_text()
    document = yaml.safe_load(text)["stages"]
    weights = document["train_vqvae"]["outs"][0]
    code = next(dep for dep in document["clip"]["deps"] if dep["path"] == "vqcast/clips/cutting.py")
    for old, new, file, sentence in (
        (f"size: {weights['size']}", "size: 1", "dvc.lock", "bytes; it has"),
        (weights["md5"], "0" * 32 + ".dir", "models/vqvae", "dvc.lock says 00000"),
        (code["md5"], "f" * 32, "vqcast/clips/cutting.py", "is not what clip ran with"),
        ("steps: 3", "steps: 4", "params.yaml", "ran with 4"),
        ("python -m stages.clip", "python -m stages.clap", "dvc.lock", "clip ran `python -m stages.clap"),
        ("  report:", "  repart:", "dvc.lock", "names a stage 'repart'"),
        (
            "path: reports/windows.parquet",
            "path: reports/other.parquet",
            "dvc.lock",
            "are not those of dvc.yaml",
        ),
    ):
        assert old in text
        lock.write_text(text.replace(old, new))
        assert any(sentence in fault for fault in faults(copy).get(file, ())), (file, sentence)
    lock.write_text(f"{text}]\n")
    assert audit_error(copy, "verify").startswith("pipeline.py: dvc.lock is damaged")


def test_latents_of_another_vqvae_and_models_of_other_codes_are_named(story, copy):
    for path in (copy / "models/vqvae").iterdir():
        path.unlink()
    git(copy, "checkout", "--quiet", story.first, "--", "dvc.lock")
    run(copy, "dvc", "checkout", "--quiet", "models/vqvae")
    git(copy, "checkout", "--quiet", story.second, "--", "dvc.lock")
    found = faults(copy)
    assert "is of another VQ-VAE than models/vqvae" in found["data/latents/manifest.json"]
    assert any("another VQ-VAE" in fault for fault in found["models/top_prior"])
    shards = [path.name for path in (copy / "data/latents").glob("*.parquet")]
    assert all(f"data/latents/{name}" in found for name in shards)


def test_table_that_is_lost_is_said_and_its_models_are_not_acquitted(story, copy):
    shutil.rmtree(copy / ".vqcast")
    lock = git(copy, "show", "v1:dvc.lock")
    md5 = next(
        out["md5"]
        for out in yaml.safe_load(lock)["stages"]["clip"]["outs"]
        if out["path"] == "data/clips.parquet"
    )
    (copy / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    report = audit(copy, "video", "train-00001", code=1)
    assert {model["model"] for model in report["unknown"]} == MODELS
    assert "`dvc fetch --all-commits data/clips.parquet` brings it" in report["lost"][0]
    assert "may have seen it" in audit_text(copy, "video", "train-00001", code=1)
    assert TRAINED_ON in audit(copy, "video", TRAINED_ON, code=1)["videos"]


@pytest.mark.parametrize("question", ["model", "video", "diff", "verify", "prove"])
def test_help_of_each_question_says_what_a_user_needs(question, tmp_path):
    text = audit_text(tmp_path, question, "--help")
    for part in ("exit codes:", "examples:", "--json", f"python pipeline.py audit {question}"):
        assert part in text
