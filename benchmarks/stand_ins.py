"""Stand-ins for what the units of every stage make, for benchmarks.scale: a collection as large as one likes.

They have as many files, rows, windows and row groups as Kinetics-600 at the sizes of its preset would have,
and next to no content: one small clip under many names, codes that are all alike, frames of a few pixels.
Each function makes, in the current folder, what its stage finds where all its units are done already.
"""

import hashlib
import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from benchmarks.stages import ROOT
from vqcast.clips.clips import ShardPlan, shaping_clips
from vqcast.clips.shards import write_shard
from vqcast.clips.windows import Clips
from vqcast.codes import latents as latent_shards
from vqcast.codes.encoding import Encoder, ShardToEncode, shards_to_encode
from vqcast.codes.latents import LEVELS, Latents, footer_sha256
from vqcast.codes.models import read_config
from vqcast.features.features import open_features
from vqcast.media.encoding import encode_mp4
from vqcast.metrics.scores import Scoring, batches_of, score_windows
from vqcast.networks.grids import Grids
from vqcast.sampling.store import write_samples
from vqcast.sampling.windows import chosen_windows
from vqcast.settings.params import Settings, load_settings
from vqcast.sources.archives import archive_key
from vqcast.sources.exclusions import Exclusions
from vqcast.sources.store import Store
from vqcast.work.files import open_scratch
from vqcast.work.finished import FinishedShards

VAL_SHARE = 0.07  # of Kinetics-600's training and validation videos
LABELS = 600
CLIPS_AN_ARCHIVE = 1000
WINDOWS_A_CLIP = 15  # of 250 frames, 16 apart
PREDICTED = 4096  # windows; whole batches, each of which stands for the first
SIZE = 16  # pixels
SMALL_VQVAE = {"hidden": 8, "residual": 8, "residual_layers": 1, "codes": 16, "code_dim": 8}
SMALL_PRIOR = {"hidden": 16, "residual": 8, "layers": 2, "heads": 2, "attention_every": 2}
SMALL_PRIOR |= {"condition_hidden": 8, "condition_residual": 8, "condition_layers": 1}
ONE_STEP = {"steps": 1, "batch_size": 2, "accumulate": 1, "warmup_steps": 1}


def make_parameters(annotations: list[str], val_windows: int) -> None:
    """The preset for Kinetics-600, with networks and clips so small that they take no time.

    As many windows lie in a clip; its frames are fewer. PREDICTED windows are predicted and judged: how many
    is said by sample.windows, and does not grow with the collection.
    """
    document = yaml.safe_load((ROOT / "presets/kinetics600.yaml").read_text())
    document["download"]["kinetics"]["annotations"] = annotations
    document["download"]["kinetics_archives"]["lists"] = ["archives.txt"]
    document["clip"]["resolution"] = SIZE
    document["window"]["stride"] = 1
    document["sample"]["windows"] = min(PREDICTED, val_windows)
    document["vqvae"] |= SMALL_VQVAE
    for prior in ("top_prior", "bottom_prior"):
        document[prior] |= SMALL_PRIOR
    for training in ("train_vqvae", "train_top_prior", "train_bottom_prior"):
        document[training] |= ONE_STEP
    Path("params.yaml").write_text(yaml.safe_dump(document))


def download(videos: int) -> None:
    """Annotation files of `videos` segments, a list of archives, and a store that holds every clip.

    The clips of an archive are one file.
    """
    for folder in ("data/kinetics", "data/videos", "data/systems"):
        Path(folder).mkdir(parents=True)
    Path("data/exclude.csv").write_text("id,reason,date\n")
    val = round(videos * VAL_SHARE / 16) * 16  # so that they fill batches
    make_parameters(["train.txt", "val.txt"], val * WINDOWS_A_CLIP)
    store, urls = Store("data/raw"), []
    Path("data/raw/requests").mkdir(parents=True)
    for split, numbers in (("train", range(val, videos)), ("val", range(val))):
        with open(f"data/kinetics/{split}.txt", "w") as file:
            file.write("label,youtube_id,time_start,time_end,split\n")
            file.writelines(f"label {n % LABELS},v{n:010d},5,15,{split}\n" for n in numbers)
        for first in range(0, len(numbers), CLIPS_AN_ARCHIVE):
            urls.append(f"http://127.0.0.1:9/{split}/part_{first}.tar.gz")  # where nobody answers
            clips = [f"v{n:010d}_000005_000015" for n in numbers[first : first + CLIPS_AN_ARCHIVE]]
            keys = [archive_key(urls[-1], clip) for clip in clips]
            with store.workplace() as folder:
                (folder / "clip").write_bytes(b"\0" + urls[-1].encode())
                store.move_in(folder / "clip", ".mp4", keys[0])
            for key in keys[1:]:
                os.link(f"data/raw/requests/{keys[0]}", f"data/raw/requests/{key}")
            note = {"archive": urls[-1], "clips": dict.fromkeys(clips)}
            store.remember(archive_key(urls[-1]), note)
    Path("data/kinetics/archives.txt").write_text("\n".join(urls) + "\n")


def clip() -> None:
    """Finished shards, whose clips are one small video."""
    settings = load_settings()
    frames = settings.window.frames + (WINDOWS_A_CLIP - 1) * settings.window.stride
    pixels = np.random.default_rng(0).integers(0, 255, (frames, SIZE, SIZE, 3), np.uint8)
    encode_mp4(pixels, 25, Path("clip.mp4"), 40)
    mp4 = Path("clip.mp4").read_bytes()
    sha256 = hashlib.sha256(mp4).hexdigest()
    scratch = open_scratch("clip", [shaping_clips(settings.clip), settings.window.frames], [])
    shards = FinishedShards(scratch / "shards", ".arrow")
    plan = ShardPlan("data/raw.parquet", settings.clip.videos_per_shard, Exclusions({}))
    for number, key in enumerate(plan.keys):
        alike = {"status": "ok", "start": 0.0, "end": frames / 25, "frames": frames, "fps": 25.0}
        alike |= {"width": 640, "height": 360, "bytes": len(mp4), "sha256": sha256}
        rows = [
            {"clip": f"{one['video']}#000", "video": one["video"], "video_sha256": one["sha256"], **alike}
            for one in plan.videos(number)
        ]
        with shards.appearing(key, {"rows": rows, "clips": len(rows)}) as path:
            write_shard(((row["clip"], mp4) for row in rows), path)


def encoder_and_shards(settings: Settings) -> tuple[Encoder, list[ShardToEncode]]:
    """What the encode stage makes before its units."""
    scratch = open_scratch("encode", [settings.window, settings.encode], ["models/vqvae/config.json"])
    sha256 = read_config("models/vqvae", "vqvae")["sha256"]
    batch_size, clips = settings.encode.batch_size, Path("data/clips")
    encoder = Encoder("models/vqvae", sha256, settings.window, batch_size, clips, scratch / "shards")
    return encoder, shards_to_encode(Clips(clips, "data/clips.parquet"), settings.window)


def encode() -> None:
    """Finished latent shards of as many row groups as those of the preset have."""
    settings = load_settings()
    preset = load_settings(ROOT / "presets/kinetics600.yaml")
    small, large = (codes_a_window(some) for some in (settings, preset))
    latent_shards.CODES_A_GROUP = small * (latent_shards.CODES_A_GROUP // large)
    encoder, shards = encoder_and_shards(settings)
    codes = [np.zeros(shape, np.uint16) for shape in shapes(settings).values()]
    for shard in shards:
        note: dict[str, str] = {}
        with encoder.finished.appearing(shard.clips, note) as path:
            rows = itertools.repeat(codes, len(shard.windows))
            latent_shards.write_shard(path, shard.windows.ids(), rows, encoder.vqvae_sha256, shard.clips)
            note["footer"] = footer_sha256(path)


def shapes(settings: Settings) -> dict[str, tuple[int, int, int]]:
    """Size (T, H, W) of each of LEVELS."""
    grids = Grids.of(settings.window, settings.clip.resolution, settings.vqvae)
    return {level: grids.shape(level) for level in LEVELS}


def codes_a_window(settings: Settings) -> int:
    return sum(map(math.prod, shapes(settings).values()))


MODELS = [f"models/{name}" for name in ("vqvae", "top_prior", "bottom_prior")]


def predicted_windows(settings: Settings) -> list[str]:
    """The ids of the validation windows that are predicted and judged."""
    ids = list(Latents("data/latents", "val").window_ids())
    return [ids[number] for number in chosen_windows(ids, settings.sample.windows)]


def sample() -> None:
    """Whole files of samples."""
    settings = load_settings()
    inputs = ["data/latents/manifest.json", *(f"{model}/config.json" for model in MODELS)]
    scratch = open_scratch("sample", [settings.sample], inputs)
    (scratch / "samples").mkdir()
    frames = settings.window.frames - settings.window.given
    video = np.zeros((frames, SIZE, SIZE, 3), np.uint8)
    codes = {level: np.zeros(math.prod(shapes(settings)[level]), np.uint16) for level in ("top", "bottom")}
    rows = (
        {"window": window, "sample": number, **codes, "video": video}
        for window in predicted_windows(settings)
        for number in range(settings.sample.samples_per_window)
    )
    a_file = settings.sample.windows_per_shard * settings.sample.samples_per_window
    for number, some in enumerate(in_lists(rows, a_file)):
        write_samples(scratch / f"samples/samples-{number:05d}.arrow", some)


def evaluate() -> None:
    """The scores of every batch, which are those of the first one."""
    settings = load_settings()
    places = ["data/clips", "data/clips.parquet", "data/latents", *MODELS, "data/samples", "data/systems"]
    scoring = Scoring(*places, settings.window, settings.evaluate)
    inputs = [
        "data/clips.parquet",
        "data/latents/manifest.json",
        *(f"{model}/config.json" for model in MODELS),
    ]
    inputs += sorted(map(str, Path("data/samples").glob("samples-*.arrow")))
    identity = [settings.window, settings.evaluate, [], open_features(settings.evaluate).weights_sha256]
    scratch = open_scratch("evaluate", identity, inputs)
    score_windows(scoring, settings.evaluate.batch_size, scratch)
    first, *others = batches_of(len(predicted_windows(settings)), settings.evaluate, scratch)
    for batch in others:
        os.link(first.file, batch.file)


def in_lists(items: Iterator, length: int) -> Iterator[list]:
    return iter(lambda: list(itertools.islice(items, length)), [])
