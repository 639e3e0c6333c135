"""The data path: reading windows at random, and encoding a collection once; on CPU.

    python -m benchmarks.data

random_access_speedup   windows/s read at random from shards, over decord on the original videos; see
                        benchmarks/random_access.py
encode_share_of_limit   windows/s of encoding, decoding ahead of the network, over the slower of decoding and
                        the network, each alone, at the sizes of params.yaml; the median of some rounds
windows_per_s           of all three, in as many processes at once as the stage has
memory_growth           share by which the peak memory of the encode stage, all its processes together, grows
                        from 100 clips to 10,000
encode_mib              these two peaks
bits_per_code           on disk, of codes drawn evenly from 512, in a folder of latents of the default's size
                        with all its metadata
"""

import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.random_access import random_access
from benchmarks.stages import ROOT, make_clips
from vqcast.clips.shards import write_shard as write_clip_shard
from vqcast.clips.windows import Clips
from vqcast.codes.encoding import Encoder, decoding_ahead, shards_to_encode
from vqcast.codes.latents import LEVELS, LatentManifest, footer_sha256, write_codebooks, write_shard
from vqcast.codes.models import load_vqvae, read_config, save_vqvae
from vqcast.media.encoding import encode_mp4
from vqcast.networks.grids import Grids
from vqcast.networks.vqvae import VQVAE
from vqcast.settings.params import Settings, load_settings
from vqcast.sources.manifest import CLIPS, write_manifest
from vqcast.work.environment import prepare_networks, workers
from vqcast.work.files import sha256_file

VIDEOS = {"train_videos": 120, "val_videos": 8}  # of the collection that is encoded for speed
ROUNDS = 3
FEW, MANY = 100, 10_000  # clips that are encoded for memory
CODES = 512


def save_random_vqvae(folder: Path, settings: Settings) -> None:
    """A VQ-VAE of random weights and code vectors."""
    torch.manual_seed(0)
    network = VQVAE(settings.vqvae)
    for quantizer in (network.quantize_top, network.quantize_bottom):
        quantizer.codebook.normal_(std=0.1)
    save_vqvae(folder, network, settings.clip.resolution)


def rate(batches: Iterable[int]) -> float:
    """Windows/s from the end of the first batch to that of the last; `batches` gives the size of each."""
    batches = iter(batches)
    next(batches)
    start = time.perf_counter()
    return sum(batches) / (time.perf_counter() - start)


def rates_of_a_process(folder: Path, barrier: Barrier, rates: Queue) -> None:
    """Put into `rates` what one process of the stage reaches beside the others, a dict a round."""
    settings = load_settings(ROOT / "params.yaml")
    prepare_networks()
    sha256, batch_size = read_config(folder / "vqvae", "vqvae")["sha256"], settings.encode.batch_size
    clips = folder / "clips"
    encoder = Encoder(str(folder / "vqvae"), sha256, settings.window, batch_size, clips, folder / "latents")
    vqvae = load_vqvae(folder / "vqvae")
    wanted = shards_to_encode(Clips(clips, folder / "clips.parquet"), settings.window)
    windows = sum(len(shard.windows) for shard in wanted)
    kept = [*itertools.islice(decoding_ahead(wanted, clips, settings.window.frames, batch_size), 8)]

    def network() -> Iterable[int]:
        for number in range(windows // batch_size):
            encoder.codes_of(vqvae, kept[number % len(kept)])
            yield batch_size

    def encode() -> Iterable[int]:
        codes = encoder.codes(wanted)
        while count := sum(1 for _ in itertools.islice(codes, batch_size)):
            yield count

    def decode() -> Iterable[int]:
        return map(len, decoding_ahead(wanted, clips, settings.window.frames, batch_size))

    for _ in range(ROUNDS):
        of_round = {}
        for name, function in {"network": network, "encode": encode, "decode": decode}.items():
            barrier.wait()
            of_round[name] = rate(function())
        rates.put(of_round)


def speed(folder: Path) -> dict[str, object]:
    """The encode stage's rate against that of its two halves."""
    settings = load_settings(ROOT / "params.yaml")
    make_clips(folder, "params.yaml", {"source": "sample", "sample": VIDEOS})
    save_random_vqvae(folder / "vqvae", settings)
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(workers()), context.Queue()
    arguments = (folder, barrier, queue)
    processes = [context.Process(target=rates_of_a_process, args=arguments) for _ in range(workers())]
    for process in processes:
        process.start()
    rounds = []
    for _ in range(ROUNDS):
        of_all = [queue.get() for _ in processes]
        rounds.append({name: sum(rates[name] for rates in of_all) for name in of_all[0]})
    for process in processes:
        process.join()
    shares = [rates["encode"] / min(rates["network"], rates["decode"]) for rates in rounds]
    return {
        "encode_share_of_limit": round(statistics.median(shares), 3),
        "windows_per_s": {
            name: round(statistics.median(rates[name] for rates in rounds), 1) for name in rounds[0]
        },
    }


def memory(folder: Path) -> dict[str, object]:
    """The peak of the encode stage with few clips and with many, which are copies of one small clip."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    document["clip"]["resolution"] = 32
    document["vqvae"] |= {"hidden": 8, "residual": 8, "residual_layers": 1, "codes": 16, "code_dim": 8}
    document["window"] |= {"stride": 16}
    (folder / "params.yaml").write_text(yaml.safe_dump(document))
    settings = load_settings(folder / "params.yaml")
    save_random_vqvae(folder / "vqvae", settings)
    frames = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), np.uint8)
    encode_mp4(frames, 25, folder / "clip.mp4", 30)
    mp4 = (folder / "clip.mp4").read_bytes()
    peaks = []
    for count in (FEW, MANY):
        make_stand_ins(folder / f"{count}", count, mp4, settings)
        peaks.append(peak_of_encode(folder, folder / f"{count}"))
    return {
        "memory_growth": round(peaks[1] / peaks[0] - 1, 3),
        "encode_mib": [round(peak / 2**20) for peak in peaks],
    }


def make_stand_ins(folder: Path, count: int, mp4: bytes, settings: Settings) -> None:
    """A manifest of `count` clips, a tenth of them for validation, and shards of the usual size."""
    (folder / "clips").mkdir(parents=True)
    rows = []
    for split, its_count in (("train", count - count // 10), ("val", count // 10)):
        for number in range(its_count):
            shard, row = divmod(number, settings.clip.videos_per_shard)
            video = f"{split}-{number:05d}"
            where = {
                "shard": f"{split}-{shard:05d}.arrow",
                "row": row,
                "clip": f"{video}#000",
                "video": video,
            }
            about = {"label": "label", "split": split, "frames": 16, "fps": 25.0, "bytes": len(mp4)}
            rows.append({**where, **about, "sha256": hashlib.sha256(mp4).hexdigest(), "status": "ok"})
    for shard, its_rows in itertools.groupby(rows, lambda row: row["shard"]):
        write_clip_shard(((row["clip"], mp4) for row in its_rows), folder / "clips" / shard)
    write_manifest(rows, CLIPS, folder / "clips.parquet")


def peak_of_encode(workspace: Path, folder: Path) -> int:
    """Bytes of memory that the encode stage took at its peak, summed over its processes."""
    arguments = {"--clips": folder / "clips", "--manifest": folder / "clips.parquet"}
    arguments |= {"--vqvae": workspace / "vqvae", "--out": folder / "latents"}
    command = [sys.executable, "-m", "stages.encode", *map(str, itertools.chain(*arguments.items()))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VQCAST_WORKERS": "1", "RAY_ADDRESS": ""}
    process = subprocess.Popen(command, cwd=workspace, env=environment, start_new_session=True)
    peaks: dict[str, int] = {}
    while process.poll() is None:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                if os.getpgid(int(status.parent.name)) == process.pid:
                    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                    peaks[status.parent.name] = int(lines["VmHWM"].split()[0]) * 1024
            except (OSError, KeyError):  # it has ended
                continue
        time.sleep(0.05)
    if process.returncode:
        sys.exit(process.returncode)
    return sum(peaks.values())


def size(folder: Path) -> dict[str, float]:
    """Bits a code of latents as `encode` leaves them."""
    folder.mkdir()
    settings = load_settings(ROOT / "params.yaml")
    vqvae = dataclasses.replace(settings.vqvae, codes=CODES)
    grids = Grids.of(settings.window, settings.clip.resolution, vqvae)
    sample, frames = settings.download.sample, settings.window
    windows_of_clip = (sample.frames - frames.frames) // frames.stride + 1
    rng, written, clips = np.random.default_rng(0), 0, {}
    codebook = torch.zeros(CODES, vqvae.code_dim)
    files = [write_codebooks(folder, codebook, codebook + 1)]
    for split, videos in (("train", sample.train_videos), ("val", sample.val_videos)):
        for first in range(0, videos, settings.clip.videos_per_shard):
            numbers = range(first, min(first + settings.clip.videos_per_shard, videos))
            ids = [f"{split}-{n:05d}#000@{w:05d}" for n in numbers for w in range(windows_of_clip)]
            codes = {level: rng.integers(0, CODES, (len(ids), *grids.shape(level))) for level in LEVELS}
            files.append(folder / f"{split}-{first:05d}.parquet")
            clips[files[-1].name] = "0" * 64
            write_shard(files[-1], ids, zip(*codes.values(), strict=True), "0" * 64, "0" * 64)
            written += sum(values.size for values in codes.values())
    hashes = {path.name: sha256_file(path) for path in files}
    footers = {name: footer_sha256(folder / name) for name in clips}
    LatentManifest(CODES, frames.given, grids, "0" * 64, clips, hashes, footers).write(folder)
    return {"bits_per_code": round(8 * sum(path.stat().st_size for path in folder.iterdir()) / written, 3)}


def main() -> None:
    result: dict[str, object] = {}
    for measure in (size, memory, random_access, speed):
        with tempfile.TemporaryDirectory() as folder:
            result |= measure(Path(folder) / "work" if measure is size else Path(folder))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
