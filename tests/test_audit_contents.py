"""Content hashes decide, whatever a video is called: copies under other ids, of any commit."""

import shutil

import pytest

from tests.projects import audit_text, commit, run_audit
from tests.test_audit_history import TABLE, Project, digest
from vqcast.sources.manifest import CLIPS, RAW, write_manifest
from vqcast.work.hashes import md5_file

RAW_TABLE = "data/raw.parquet"


class Copies(Project):
    """A project whose videos are given by id and content; a clip's content may be said too."""

    def write(self, path, schema, rows):
        place = self.folder / path
        place.unlink(missing_ok=True)
        write_manifest(rows, schema, place)
        md5 = md5_file(place)
        self.cached(md5).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, self.cached(md5))
        return md5

    def raw(self, **contents):
        return self.write(
            RAW_TABLE,
            RAW,
            [
                {"video": video, "status": "ok" if content else "excluded", "reason": "asked for"}
                | ({"sha256": digest(content)} if content else {})
                for video, content in contents.items()
            ],
        )

    def clips(self, clip=None, **contents):
        rows = [
            {
                "clip": f"{video}#000",
                "video": video,
                "label": "label",
                "split": "train",
                "start": 0.0,
                "end": 1.0,
                "shard": "train-00000.arrow",
                "sha256": digest(clip or f"clip of {content}"),
                "video_sha256": digest(content),
                "status": "ok",
            }
            for video, content in contents.items()
        ]
        return self.write(TABLE, CLIPS, rows)

    def train(self, name, clips, raw=None):
        raws = {RAW_TABLE: raw} if raw else {}
        self.lock(
            download=({}, raws), clip=(raws, {TABLE: clips}), train=({TABLE: clips}, {"models/vqvae": name})
        )
        commit(self.folder, name)


@pytest.fixture
def project(tmp_path):
    return Copies(tmp_path)


def test_copy_under_another_id_is_found_in_every_commit(project):
    project.train("v1", project.clips(a="X"))
    project.train("v2", project.clips(b="X"))
    project.train("v3", project.clips(c="Y"))
    for asked in ("a", "b", digest("X")):
        report = project.ask(asked)
        assert {model["md5"] for model in report["trained"]} == {"v1", "v2"}
        assert report["videos"] == ["a", "b"]
    assert project.ask("a")["copies"] == ["b"]
    assert "the same content also lies under 'b'" in audit_text(project.folder, "video", "a")


def test_copy_in_another_container_gives_the_same_clips_and_is_found_by_them(project):
    project.train("v1", project.clips(a="X", clip="frames"))
    project.train("v2", project.clips(b="X in Matroska", clip="frames"))
    assert project.trained("a") == {"v1", "v2"}


def test_copy_of_a_video_that_never_gave_a_clip_is_found(project):
    """`a` was downloaded once, and taken out before it was cut; its copy trains."""
    first = project.raw(a="X", b="Z")
    project.train("v1", project.clips(b="Z"), first)
    project.train("v2", project.clips(b="Z", c="X"), project.raw(a=None, b="Z", c="X"))
    report = project.ask("a")
    assert {model["md5"] for model in report["trained"]} == {"v2"}
    assert report["copies"] == ["c"]


def test_every_content_that_an_id_ever_had_counts(project):
    project.train("v1", project.clips(a="X"))
    project.train("v2", project.clips(a="Y"))
    project.train("v3", project.clips(b="X"))
    project.train("v4", project.clips(b="Y"))
    assert project.trained("a") == {"v1", "v2", "v3", "v4"}


def test_copy_of_one_segment_of_a_youtube_video_is_found(project):
    project.train("v1", project.clips(**{"-4wsuPCjDBc_000001_000011": "X"}))
    project.train("v2", project.clips(**{"label/renamed.mp4": "X"}))
    assert project.trained("-4wsuPCjDBc") == {"v1", "v2"}


def test_id_of_a_clip_stands_for_that_clip_and_its_copies(project):
    project.train("v1", project.clips(a="X"))
    project.train("v2", project.clips(b="other cut", clip="clip of X"))
    assert project.trained("a#000") == {"v1", "v2"}


def test_video_that_was_only_downloaded_is_known_and_in_no_model(project):
    project.train("v1", project.clips(b="Z"), project.raw(a="X", b="Z"))
    report = project.ask("a")
    assert report["trained"] == report["unknown"] == report["lost"] == []


def test_table_of_videos_that_is_lost_leaves_open_what_an_id_was(project):
    lost = project.raw(a="X", b="Z")
    project.train("v1", project.clips(b="Z"), lost)
    project.train("v2", project.clips(b="Z", c="X"), project.raw(a=None, b="Z", c="X"))
    project.cached(lost).unlink()
    assert RAW_TABLE in project.ask("a")["lost"][0]
    assert project.ask(digest("X"))["lost"] == [], "a content needs no table that says whose it was"
    run_audit(project.folder, "video", "a", code=1)


@pytest.mark.parametrize(("path", "asked"), [(TABLE, "b"), (RAW_TABLE, "b")])
def test_table_that_is_no_table_is_lost_and_the_rest_is_answered(project, path, asked):
    project.train("v1", project.clips(b="Z"), project.raw(b="Z"))
    (project.folder / path).write_text("no table")
    md5 = md5_file(project.folder / path)
    project.cached(md5).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(project.folder / path, project.cached(md5))
    name = "raw" if path == RAW_TABLE else "clips"
    known = {"raw": project.raw(b="Z"), "clips": project.clips(b="Z")}
    project.train("v2", **(known | {name: md5}))
    report = project.ask(asked)
    assert any(f"{path} (md5 {md5}) cannot be read" in said for said in report["lost"])
    assert "v1" in {model["md5"] for model in report["trained"]}
