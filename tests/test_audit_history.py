"""What git, DVC's cache and the index know of old commits, on histories written by hand."""

import hashlib
import shutil
import sqlite3

import pytest
import yaml

from tests.projects import commit, git
from vqcast.errors import VqcastError
from vqcast.lineage.evidence import Evidence
from vqcast.lineage.index import PLACE
from vqcast.lineage.locks import parse_lock
from vqcast.lineage.video import audit_video
from vqcast.sources.manifest import CLIPS, write_manifest
from vqcast.work.hashes import md5_file

TABLE = "data/clips.parquet"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Project:
    """A git repository with a dvc.lock and tables of clips, and no stage that ever ran."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "data").mkdir()
        git(folder, "init", "--quiet", "--initial-branch", "main")
        (folder / ".gitignore").write_text("/.vqcast\n/data\n/.dvc/cache\n")

    def table(self, *videos, split="train", cut=""):
        """Write the table of one clip of each of these videos, into the cache too; its hash."""
        rows = [
            {
                "clip": f"{video}#000",
                "video": video,
                "label": "label",
                "split": "val" if video.startswith("val") else split,
                "start": 0.0,
                "end": 1.0,
                "shard": "train-00000.arrow",
                "sha256": digest(f"{video}{cut}"),
                "video_sha256": digest(video),
                "status": "ok",
            }
            for video in videos
        ]
        path = self.folder / TABLE
        path.unlink(missing_ok=True)
        write_manifest(rows, CLIPS, path)
        md5 = md5_file(path)
        self.cached(md5).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, self.cached(md5))
        return md5

    def cached(self, md5):
        return self.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def lock(self, **stages):
        """Write a dvc.lock; a stage is its inputs and its outs."""

        def state(paths):
            return [{"path": path, "hash": "md5", "md5": md5} for path, md5 in paths.items()]

        document = {
            name: {"cmd": f"python -m stages.{name}", "deps": state(deps), "outs": state(outs)}
            for name, (deps, outs) in stages.items()
        }
        (self.folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": document}))

    def run(self, table, vqvae, message="run", encoded=None, encoded_with=None, latents=None):
        """The lock of a whole run on `table`, committed; what encode had may be of another run."""
        clips = {TABLE: table}
        latents = latents or f"latents of {vqvae}"
        self.lock(
            clip=({}, clips),
            train_vqvae=(clips, {"models/vqvae": vqvae}),
            encode=(
                {TABLE: encoded or table, "models/vqvae": encoded_with or vqvae},
                {"data/latents": latents},
            ),
            train_top_prior=({"data/latents": latents}, {"models/top_prior": f"prior on {latents}"}),
        )
        return commit(self.folder, message)

    def ask(self, video):
        return audit_video(Evidence(self.folder), video)

    def trained(self, video):
        return {model["md5"] for model in self.ask(video)["trained"]}


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_models_of_a_side_branch_are_found_though_its_merge_kept_nothing_of_it(project):
    project.run(project.table("a"), "v1")
    git(project.folder, "checkout", "--quiet", "-b", "side")
    side = project.run(project.table("a", "b"), "v2")
    git(project.folder, "checkout", "--quiet", "main")
    project.run(project.table("c"), "v3")
    git(project.folder, "merge", "--quiet", "--strategy", "ours", "--no-edit", "side")
    git(project.folder, "branch", "--quiet", "-D", "side")
    (model, _) = project.ask("b")["trained"]
    assert [of["sha"] for of in model["commits"]] == [side]


def test_models_of_branches_and_tags_that_were_never_merged_are_found(project):
    project.run(project.table("a"), "v1")
    git(project.folder, "checkout", "--quiet", "-b", "branch")
    project.run(project.table("b"), "v2")
    git(project.folder, "checkout", "--quiet", "--detach", "main")
    project.run(project.table("c"), "v3")
    git(project.folder, "tag", "tried")
    git(project.folder, "checkout", "--quiet", "main")
    assert project.trained("b") == {"v2", "prior on latents of v2"}
    assert project.trained("c") == {"v3", "prior on latents of v3"}


def test_prior_saw_what_its_vqvae_was_trained_on_in_an_earlier_commit(project):
    """The VQ-VAE of this commit is new, but encode has not run since: its latents are of the old one."""
    old, new = project.table("a", "b"), project.table("b")
    project.run(old, "v1")
    project.run(new, "v2", encoded=new, encoded_with="v1", latents="mixed")
    assert project.trained("a") == {"v1", "prior on latents of v1", "prior on mixed"}


def test_same_bytes_made_from_two_tables_count_as_made_from_both(project):
    project.run(project.table("a"), "v1")
    project.run(project.table("b"), "v1")
    assert project.trained("a") >= {"v1"}
    assert project.trained("b") >= {"v1"}


def test_model_is_current_only_where_the_folder_itself_has_it(project):
    project.run(project.table("a"), "v1")
    project.run(project.table("b"), "v2")
    assert [model["current"] for model in project.ask("a")["trained"]] == [False, False]
    git(project.folder, "checkout", "--quiet", "HEAD~1", "--", "dvc.lock")
    assert [model["current"] for model in project.ask("a")["trained"]] == [True, True]


def test_video_that_moved_from_training_to_validation_is_told_of_both(project):
    project.run(project.table("a"), "v1")
    project.run(project.table("a", split="val"), "v2")
    report = project.ask("a")
    assert {model["md5"] for model in report["trained"]} == {"v1", "prior on latents of v1"}
    assert {model["md5"] for model in report["validated"]} == {"v2", "prior on latents of v2"}


def test_youtube_id_finds_every_segment_and_an_id_may_start_with_a_dash(project):
    segments = [
        "-4wsuPCjDBc_000001_000011",
        "-4wsuPCjDBc_000020_000030",
        "label/-4wsuPCjDBc_000040_000050.mp4",
    ]
    project.run(project.table(*segments, "another-id1_000001_000011"), "v1")
    assert project.ask("-4wsuPCjDBc")["videos"] == sorted(segments)
    assert project.ask(segments[0])["videos"] == segments[:1]


def test_index_that_was_extended_answers_as_one_that_was_built_at_once(project):
    videos = [f"video {number}" for number in range(50)]
    kept = {}
    for number in range(6):
        cut = "again" if number > 3 else ""
        project.run(project.table(*videos[number : number + 40], cut=cut), f"v{number}")
        kept = {video: project.ask(video) for video in videos[: number + 40]}
    (project.folder / PLACE).unlink()
    assert {video: project.ask(video) for video in kept} == kept
    held = {number for number in range(6) if number <= 20 < number + 40}
    assert project.trained("video 20") == {
        name for number in held for name in (f"v{number}", f"prior on latents of v{number}")
    }
    rows = sqlite3.connect(project.folder / PLACE).execute("SELECT count(*) FROM clip").fetchone()
    assert rows == (43 + 41,), "a clip that several tables list alike is one row"


def test_damaged_index_is_made_anew(project):
    project.run(project.table("a"), "v1")
    project.ask("a")
    (project.folder / PLACE).write_bytes(b"no database" * 1000)
    assert project.trained("a") == {"v1", "prior on latents of v1"}


def test_table_with_a_flipped_byte_in_the_cache_is_not_believed(project):
    old = project.table("a")
    project.run(old, "v1")
    project.run(project.table("b"), "v2")
    content = bytearray(project.cached(old).read_bytes())
    content[len(content) // 2] ^= 1
    project.cached(old).write_bytes(content)
    report = project.ask("b")
    assert "is damaged: it was data/clips.parquet once" in report["lost"][0]
    assert {model["md5"] for model in report["unknown"]} == {"v1", "prior on latents of v1"}


def test_cache_elsewhere_is_found_by_dvcs_own_configuration(project, tmp_path_factory):
    old = project.table("a")
    project.run(old, "v1")
    project.run(project.table("b"), "v2")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(project.folder / ".dvc/cache", elsewhere / "cache")
    (project.folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {elsewhere}/cache\n")
    assert project.trained("a") == {"v1", "prior on latents of v1"}


def test_video_that_no_commit_knows_is_one_sentence(project):
    project.run(project.table("a"), "v1")
    with pytest.raises(VqcastError, match="no table of clips of any commit lists 'b', by id or by content"):
        project.ask("b")


def test_folder_without_git_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(VqcastError, match="is no git repository"):
        Evidence(tmp_path)


@pytest.mark.parametrize("text", ["stages: [", "stages: {clip: {}}", "stages: 3", "- a"])
def test_dvc_lock_that_is_damaged_is_named(text):
    with pytest.raises(VqcastError, match=r"^dvc\.lock in v1 is damaged"):
        parse_lock(text, "dvc.lock in v1")
