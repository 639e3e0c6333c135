"""Small videos for the tests, and the settings of the two stages that handle them."""

import dataclasses
import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tests.conftest import ROOT
from vqcast.clips.clips import make_clips, shaping_clips
from vqcast.media import ffmpeg
from vqcast.settings.data import Clip, DirectorySource, Download, SampleSource, Window
from vqcast.settings.params import load_settings
from vqcast.sources.download import download
from vqcast.sources.exclusions import read_exclusions
from vqcast.sources.manifest import CLIPS, write_manifest

CLIP = Clip(
    resolution=32,
    fps=None,
    seconds=10.0,
    gop=8,
    crf=10,
    videos_per_shard=3,
    max_rejected_share=1.0,
    time_limit=30.0,
    max_pixels=2**22,
    max_seconds=60.0,
    max_bytes=10**8,
)
DOWNLOAD = load_settings(ROOT / "params.yaml").download  # what a source does not read stays as it is
WINDOW = Window(frames=16, given=4, stride=16)


def make_video(path: Path, *options: str, frames: int = 20, size: str = "64x48", rate: str = "25") -> Path:
    """A moving test pattern, encoded by ffmpeg with `options`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pattern = f"testsrc2=size={size}:rate={rate}"
    run_ffmpeg("-f", "lavfi", "-i", pattern, "-frames:v", str(frames), *options, f"file:{path}")
    return path


def make_brightening_video(path: Path, *options: str, frames: int = 20) -> Path:
    """Each frame is grey and lighter than the one before."""
    source = "nullsrc=size=64x48:rate=25,geq=lum='40+8*N':cb=128:cr=128"
    run_ffmpeg("-f", "lavfi", "-i", source, "-frames:v", str(frames), *options, str(path))
    return path


def run_ffmpeg(*arguments: str) -> None:
    subprocess.run([ffmpeg.executable(), "-nostdin", "-loglevel", "error", "-y", *arguments], check=True)


def from_folder(root: Path, val_share: float = 0.5, max_failed_share: float = 1.0) -> Download:
    return dataclasses.replace(
        DOWNLOAD,
        source="directory",
        max_failed_share=max_failed_share,
        directory=DirectorySource(str(root), val_share),
    )


def from_sample(train_videos: int = 6, val_videos: int = 2, seed: int = 0) -> Download:
    sample = SampleSource(train_videos, val_videos, 20, seed)
    return dataclasses.replace(DOWNLOAD, source="sample", max_failed_share=0.0, sample=sample)


class Workspace:
    """A folder in which the two stages have their usual places."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store, self.raw = folder / "raw", folder / "raw.parquet"
        self.clips, self.manifest = folder / "clips", folder / "clips.parquet"
        self.scratch = folder / "scratch"
        self.kinetics, self.exclude = folder / "kinetics", folder / "exclude.csv"
        folder.mkdir(parents=True, exist_ok=True)
        self.exclude.write_text("id,reason,date\n")

    def download(self, settings: Download) -> list[dict]:
        download(settings, self.kinetics, self.store, self.exclude, self.raw)
        return read_rows(self.raw)

    def clip(self, least_frames: int = WINDOW.frames, **settings) -> list[dict]:
        changed = dataclasses.replace(CLIP, **settings)
        key = hashlib.sha256(repr((shaping_clips(changed), least_frames)).encode()).hexdigest()
        scratch = self.scratch / key
        scratch.mkdir(parents=True, exist_ok=True)
        exclusions = read_exclusions(self.exclude)
        rows = make_clips(changed, least_frames, self.raw, self.store, exclusions, scratch, self.clips)
        write_manifest(rows, CLIPS, self.manifest)
        return read_rows(self.manifest)

    def outputs(self) -> dict[str, bytes]:
        files = [self.raw, self.manifest, *self.clips.iterdir()]
        return {path.name: path.read_bytes() for path in files}


def read_rows(manifest: Path) -> list[dict]:
    return pq.read_table(manifest, partitioning=None).to_pylist()


def one(rows: Sequence[dict]) -> dict:
    """The only row there is."""
    (row,) = rows
    return row
