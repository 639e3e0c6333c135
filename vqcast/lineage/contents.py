"""What the tables, shards and models say of each other: rows counted, clips hashed, origins compared."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vqcast.clips.clips import CARRIED
from vqcast.clips.shards import Shard
from vqcast.clips.windows import Clips
from vqcast.codes.encoding import shards_to_encode
from vqcast.codes.latents import CODEBOOKS, LatentManifest
from vqcast.errors import VqcastError
from vqcast.lineage.locks import CLIPS, MODELS, RAW, Lock
from vqcast.sampling.store import Samples
from vqcast.settings.params import load_settings
from vqcast.sources.exclusions import IDLE
from vqcast.sources.manifest import CLIPS as CLIPS_SCHEMA
from vqcast.sources.manifest import RAW as RAW_SCHEMA
from vqcast.sources.manifest import read_manifest, read_notes
from vqcast.work.files import sha256_file
from vqcast.work.hashes import THREADS

STORE, SHARDS, LATENTS, SAMPLES = "data/raw", "data/clips", "data/latents", "data/samples"
READING = (VqcastError, OSError, pa.ArrowException, ValueError, KeyError, TypeError, IndexError)

Fault = tuple[str, str]  # file, what is wrong with it


def content_faults(root: Path, lock: Lock, notes: list[str]) -> Iterator[Fault]:
    """Every fault within what the stages of `lock` made; `notes` gets what could not be checked."""
    for needed, check in (
        ((RAW,), _store),
        ((RAW, CLIPS, SHARDS), _clips),
        ((), _models),
        ((CLIPS, SHARDS, f"{MODELS}vqvae", LATENTS), _latents),
        ((LATENTS, SAMPLES), _samples),
    ):
        if all(lock.hash(path) and (root / path).exists() for path in needed):
            try:
                yield from check(root, lock, notes)
            except READING as error:
                yield needed[-1] if needed else MODELS, f"cannot be read: {' '.join(str(error).split())}"


def _store(root: Path, lock: Lock, notes: list[str]) -> Iterator[Fault]:
    """The downloaded files are those that data/raw.parquet pins."""
    rows = [row for row in read_manifest(root / RAW, RAW_SCHEMA) if row["status"] == "ok"]
    there = [row for row in rows if (root / STORE / row["file"]).is_file()]
    notes += [note for note in read_notes(root / RAW) if IDLE in note]
    if len(there) < len(rows):
        notes.append(f"{len(rows) - len(there)} of {len(rows)} downloaded files are not in {STORE}")
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda row: sha256_file(root / STORE / row["file"]), there)
        for row, sha256 in zip(there, found, strict=True):
            if sha256 != row["sha256"]:
                yield (
                    f"{STORE}/{row['file']}",
                    f"differs: {RAW} says SHA-256 {row['sha256']} of {row['video']!r}",
                )


def _clips(root: Path, lock: Lock, notes: list[str]) -> Iterator[Fault]:
    """Every row of data/clips.parquet is of a video that was had, and is the clip at its place in a shard."""
    videos = {row["video"]: row for row in read_manifest(root / RAW, RAW_SCHEMA) if row["status"] == "ok"}
    by_shard: dict[str, list[dict]] = {}
    for row in read_manifest(root / CLIPS, CLIPS_SCHEMA):
        video = videos.get(row["video"])
        if video is None:
            yield CLIPS, f"clip {row['clip']!r} is of the video {row['video']!r}, which {RAW} has not"
            continue
        facts = {"video_sha256": video["sha256"]} | {name: video[name] for name in CARRIED}
        for name, value in facts.items():
            if row[name] != value:
                yield CLIPS, f"clip {row['clip']!r}: {name} is {row[name]!r}, and {RAW} says {value!r}"
        if row["status"] == "ok":
            by_shard.setdefault(row["shard"], []).append(row)
    for name in sorted(by_shard.keys() | {path.name for path in (root / SHARDS).iterdir()}):
        yield from _clip_shard(root / SHARDS / name, f"{SHARDS}/{name}", by_shard.get(name, []))


def _clip_shard(path: Path, name: str, rows: list[dict]) -> Iterator[Fault]:
    try:
        shard = Shard(path)
        if len(shard) != len(rows):
            yield name, f"holds {len(shard)} clips, and {CLIPS} lists {len(rows)}"
        for row in rows:
            clip, mp4 = shard[row["row"]]
            if clip != row["clip"]:
                yield name, f"row {row['row']} is {clip!r}, and {CLIPS} says {row['clip']!r}"
            elif hashlib.sha256(mp4).hexdigest() != row["sha256"]:
                yield name, f"the clip {clip!r} differs from the SHA-256 that {CLIPS} says"
    except READING as error:
        yield name, f"cannot be read: {' '.join(str(error).split())}"


def _models(root: Path, lock: Lock, notes: list[str]) -> Iterator[Fault]:
    """The weights are those that each config.json states, and all belong to one VQ-VAE."""
    configs = {}
    for path in lock.models:
        if not (root / path).exists():
            continue
        config = f"{path}/config.json"
        try:
            configs[path] = json.loads((root / config).read_text())
            if sha256_file(root / path / "model.safetensors") != configs[path]["sha256"]:
                yield f"{path}/model.safetensors", f"differs: its SHA-256 is not the one that {config} states"
        except READING as error:
            yield path, f"cannot be read: {' '.join(str(error).split())}"
    vqvae = configs.get(f"{MODELS}vqvae", {}).get("sha256")
    for path, config in configs.items():
        if vqvae and config.get("vqvae", vqvae) != vqvae:
            yield path, f"was trained on the codes of another VQ-VAE than {MODELS}vqvae"


def _latents(root: Path, lock: Lock, notes: list[str]) -> Iterator[Fault]:
    """Every latent shard holds all windows of its clips, as the VQ-VAE encodes them that lies there."""
    manifest = LatentManifest.read(root / LATENTS)
    vqvae = json.loads((root / MODELS / "vqvae/config.json").read_text())["sha256"]
    if manifest.vqvae != vqvae:
        yield f"{LATENTS}/manifest.json", f"is of another VQ-VAE than {MODELS}vqvae"
    window = load_settings(root / "params.yaml").window
    wanted = {shard.name: shard for shard in shards_to_encode(Clips(root / SHARDS, root / CLIPS), window)}
    for name in sorted(wanted.keys() | manifest.files.keys() - {CODEBOOKS}):
        path = f"{LATENTS}/{name}"
        if name not in manifest.files or name not in wanted:
            yield path, f"should be there as {CLIPS} has it" if name in wanted else f"has no clips in {CLIPS}"
            continue
        try:
            yield from _latent_shard(root / path, path, wanted[name], vqvae)
        except READING as error:
            yield path, f"cannot be read: {' '.join(str(error).split())}"
    for name, sha256 in manifest.files.items():
        place = root / LATENTS / name
        if not place.is_file():
            yield f"{LATENTS}/{name}", "is missing"
        elif sha256_file(place) != sha256:
            yield (
                f"{LATENTS}/{name}",
                f"differs: its SHA-256 is not the one that {LATENTS}/manifest.json states",
            )


def _latent_shard(place: Path, path: str, wanted, vqvae: str) -> Iterator[Fault]:
    metadata = pq.read_metadata(place).metadata or {}
    if metadata.get(b"vqvae") != vqvae.encode():
        yield path, f"holds codes of another VQ-VAE than {MODELS}vqvae"
    if metadata.get(b"clips") != wanted.clips.encode():
        yield path, f"holds codes of other clips than {CLIPS} lists"
    windows = pq.read_table(place, columns=["window"], partitioning=None)["window"].to_pylist()
    if windows != [ref.id for ref in wanted.windows]:
        yield path, f"holds {len(windows)} windows that are not the {len(wanted.windows)} of {CLIPS}"


def _samples(root: Path, lock: Lock, notes: list[str]) -> Iterator[Fault]:
    """Every validation window was sampled, as often as params.yaml says."""
    names = sorted(LatentManifest.read(root / LATENTS).files)
    columns = [
        pq.read_table(root / LATENTS / name, columns=["window"], partitioning=None)["window"]
        for name in names
        if name.startswith("val-")
    ]
    wanted = [window.as_py() for column in columns for window in column]
    samples = Samples(root / SAMPLES)
    if Counter(samples.windows) != Counter(wanted):
        yield SAMPLES, f"holds {len(samples.windows)} windows that are not the {len(wanted)} of {LATENTS}"
    times = load_settings(root / "params.yaml").sample.samples_per_window
    if samples.samples_per_window != times:
        yield SAMPLES, f"holds {samples.samples_per_window} samples a window, and params.yaml says {times}"
