"""What Kinetics-600 costs by presets/kinetics600.yaml, from rates measured here; part of benchmarks.scale.

hours       of `download`, `clip` and `encode`, by the number of workers: processes with a CPU core each, of
            which they take what was measured. No download is faster than a line of LINE bytes/s.
disk_gb     of the store, the clips and the latents; DVC's cache and the scratch folder share these files
            where the file system links
rates       of one worker: MB/s from an archive on loopback into the store; clips/s of rendered videos of
            640x360 and 10 s; windows/s of the VQ-VAE's encoder, on one core; GB/s at which finished shards
            are found to be whole, with which a later run of `clip` or `encode` begins
clip_mb     a clip's bytes on disk, of these rendered videos: others take more or less
read_ms     a window's codes, read at random from a shard that was not read before

Training is not among them: its hours are those of an accelerator.
"""

import dataclasses
import gzip
import io
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.data import save_vqvae
from benchmarks.stages import ROOT
from benchmarks.stand_ins import WINDOWS_A_CLIP
from vqcast.clips.cutting import clips_of
from vqcast.codes.encoding import Encoder
from vqcast.codes.latents import LEVELS, LatentManifest, Latents, footer_sha256, write_codebooks, write_shard
from vqcast.codes.models import load_vqvae, read_config
from vqcast.embedded.motions import MOTIONS, Lot
from vqcast.embedded.synthesis import render
from vqcast.media.encoding import encode_mp4
from vqcast.networks.grids import Grids
from vqcast.settings.params import Settings, load_settings
from vqcast.sources.archives import KineticsArchives
from vqcast.sources.exclusions import Exclusions
from vqcast.sources.store import Store
from vqcast.work.files import sha256_file

CLIPS = {"train": 392_622, "val": 29_793}  # of Kinetics-600's annotation files
STORE_BYTES = 604e9  # of these clips on the mirror
LINE = 125e6  # bytes/s: a gigabit
WORKERS = (1, 64)
CLIPS_CUT, FRAMES = 3, 248
CLIPS_TAKEN, TAKEN_BYTES = 32, 1_500_000
WINDOWS_ENCODED = 3
WINDOWS_WRITTEN, WINDOWS_READ = 200, 40
HASHED_BYTES = 2**27


def costs() -> dict[str, object]:
    settings = load_settings(ROOT / "presets/kinetics600.yaml")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taking = taken_bytes_a_second(folder, settings)
        seconds_a_clip, clip_bytes = cutting(folder, settings)
        encoding = encoded_windows_a_second(folder, settings)
        window_bytes, read_seconds = latents(folder, settings)
        hashing = hashed_bytes_a_second(folder)
    clips = sum(CLIPS.values())
    windows = clips * WINDOWS_A_CLIP
    alone = {
        "download": STORE_BYTES / taking,
        "clip": clips * seconds_a_clip,
        "encode": windows / encoding,
    }
    least = {"download": STORE_BYTES / LINE}
    return {
        "hours": {
            str(workers): {
                stage: rounded(max(seconds / workers, least.get(stage, 0)) / 3600)
                for stage, seconds in alone.items()
            }
            for workers in WORKERS
        },
        "disk_gb": {
            "store": round(STORE_BYTES / 1e9),
            "clips": round(clips * clip_bytes / 1e9),
            "latents": round(windows * window_bytes / 1e9),
        },
        "rates": {
            "take_mb_per_s": rounded(taking / 1e6),
            "clips_per_s": rounded(1 / seconds_a_clip),
            "windows_per_s": rounded(encoding),
            "check_gb_per_s": rounded(hashing / 1e9),
        },
        "clip_mb": rounded(clip_bytes / 1e6),
        "read_ms": rounded(1000 * read_seconds),
    }


def taken_bytes_a_second(folder: Path, settings: Settings) -> float:
    """Bytes/s of one worker, from an archive on a server of its own into the store."""
    site = folder / "site"
    site.mkdir()
    names = [f"v{number:010d}_000005_000015" for number in range(CLIPS_TAKEN)]
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in names:
            header = tarfile.TarInfo(f"{name}.mp4")
            header.size = TAKEN_BYTES
            archive.addfile(header, io.BytesIO(b"\0" + os.urandom(TAKEN_BYTES - 1)))
    (site / "part.tar.gz").write_bytes(gzip.compress(tar.getvalue(), 1))
    lines = [f"label,{name[:11]},5,15,train" for name in names]
    (folder / "all.csv").write_text("\n".join(["label,youtube_id,time_start,time_end,split", *lines]))
    (folder / "list.txt").write_text("http://127.0.0.1/part.tar.gz")
    kinetics = dataclasses.replace(settings.download.kinetics, annotations=("all.csv",))
    archives = dataclasses.replace(settings.download.kinetics_archives, lists=("list.txt",))
    download = dataclasses.replace(settings.download, kinetics=kinetics, kinetics_archives=archives)
    source = KineticsArchives(download, folder, Exclusions({}))
    source.plan()
    command = [sys.executable, "-c", SERVE, str(site)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip()
            began = cpu_seconds()
            fetched = source.fetch(f"http://127.0.0.1:{port}/part.tar.gz", Store(folder / "store"))
            seconds = cpu_seconds() - began
        finally:
            server.terminate()
    if [one.outcome for one in fetched] != ["ok"] * CLIPS_TAKEN:
        raise RuntimeError(f"the archive gave {fetched}")
    return CLIPS_TAKEN * TAKEN_BYTES / seconds


SERVE = """
import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
handler.func.log_message = lambda *_: None
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def cutting(folder: Path, settings: Settings) -> tuple[float, float]:
    """Median seconds of one worker for a video, and the mean of its clips' bytes."""
    store = folder / "videos"
    store.mkdir()
    seconds, sizes = [], []
    for number, motion in enumerate(itertools.islice(MOTIONS.values(), CLIPS_CUT)):
        path = store / f"{number}.mp4"
        there = render(motion(Lot(np.random.default_rng(number), FRAMES // 4)), 640, 360)
        forth_and_back = np.concatenate([there, there[::-1]] * 2)
        encode_mp4(forth_and_back, 25, path, 18)
        video = {"video": path.name, "file": path.name, "sha256": sha256_file(path)}
        video |= {"start": None, "end": None}
        began = cpu_seconds()
        ((_, mp4),) = clips_of(video, store, folder, settings.clip, settings.window.frames)
        seconds.append(cpu_seconds() - began)
        sizes.append(len(mp4))
    return statistics.median(seconds), statistics.mean(sizes)


def encoded_windows_a_second(folder: Path, settings: Settings) -> float:
    """Windows/s of one worker, its networks on one core, decoding left out: that is a hundredth of it."""
    save_vqvae(folder / "vqvae", settings)
    sha256 = read_config(folder / "vqvae", "vqvae")["sha256"]
    encoder = Encoder(str(folder / "vqvae"), sha256, settings.window, 1, folder, folder / "none")
    vqvae = load_vqvae(folder / "vqvae")
    batch = torch.randint(
        256, (1, settings.window.frames, settings.clip.resolution, settings.clip.resolution, 3)
    )
    batch = batch.to(torch.uint8)
    seconds = [timed(lambda: encoder.codes_of(vqvae, batch)) for _ in range(WINDOWS_ENCODED + 1)]
    return 1 / statistics.median(seconds[1:])


def latents(folder: Path, settings: Settings) -> tuple[float, float]:
    """Bytes on disk of a window of codes that could not be any, and median seconds to read one."""
    shard = folder / "train-00000.parquet"
    rng, grids = np.random.default_rng(0), Grids.of(settings.window, settings.clip.resolution, settings.vqvae)
    codes = (
        [rng.integers(0, settings.vqvae.codes, grids.shape(level), np.uint16) for level in LEVELS]
        for _ in range(WINDOWS_WRITTEN)
    )
    write_shard(shard, map("{:011d}_000005_000015#000@00000".format, range(WINDOWS_WRITTEN)), codes, "", "")
    codebook = torch.zeros(settings.vqvae.codes, settings.vqvae.code_dim)
    files = {
        path.name: sha256_file(path) for path in (shard, write_codebooks(folder, codebook, codebook + 1))
    }
    footers = {shard.name: footer_sha256(shard)}
    manifest = LatentManifest(settings.vqvae.codes, 4, grids, "", {shard.name: ""}, files, footers)
    manifest.write(folder)
    seconds = []
    for number in rng.integers(WINDOWS_WRITTEN, size=WINDOWS_READ).tolist():
        split = Latents(folder, "train")
        seconds.append(timed(lambda: split[number]))  # noqa: B023
    return shard.stat().st_size / WINDOWS_WRITTEN, statistics.median(seconds)


def hashed_bytes_a_second(folder: Path) -> float:
    path = folder / "hashed"
    path.write_bytes(os.urandom(HASHED_BYTES))
    return HASHED_BYTES / timed(lambda: sha256_file(path))


def timed(function: Callable[[], object]) -> float:
    began = cpu_seconds()
    function()
    return cpu_seconds() - began


def cpu_seconds() -> float:
    """Of a core, used by this process and those that it has waited for: what else is busy does not count."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def rounded(value: float) -> float:
    return float(f"{value:.3g}")
