"""Where the model comes from, as far as it is the same wherever the page is made: no time, host or path."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow.compute as pc

from vqcast.codes.models import read_config
from vqcast.page.credits import host_of
from vqcast.sources.manifest import CLIPS, SPLITS, read_table
from vqcast.work.files import sha256_file

MODELS = ("vqvae", "top_prior", "bottom_prior")  # what config.json of each calls itself


@dataclass(frozen=True)
class Link:
    """What a stage made on the way from videos to figures, and the SHA-256 that pins it."""

    stage: str
    file: str
    sha256: str | None  # None: it follows from what stands above it
    seed: int | None = None


@dataclass(frozen=True)
class Provenance:
    links: list[Link]
    videos: dict[str, int]  # by split
    clips: dict[str, int]
    by_licence: dict[str, dict[str, int]]  # videos by split, of each licence
    by_source: dict[str, dict[str, int]]  # the same of each host that videos were had from
    audit: str  # the command that goes on from here


def provenance(
    manifest: str, latents: str, samples: str, evaluate: str, models: dict[str, str], seeds: dict[str, int]
) -> Provenance:
    """The chain from the clips of `manifest` to the figures in `evaluate`.

    models: the folders of MODELS. seeds: of the stages that draw random numbers.
    """
    table = read_table(manifest, CLIPS, ["video", "split", "licence", "url", "status"])
    table = table.filter(pc.field("status") == "ok")
    clips = Counter(table["split"].to_pylist())
    videos = table.group_by(["video", "split", "licence", "url"]).aggregate([]).to_pylist()
    made = {
        "clip": (manifest, sha256_file(manifest)),
        "train_vqvae": _weights(models, "vqvae"),
        "encode": (f"{latents}/manifest.json", sha256_file(f"{latents}/manifest.json")),
        "train_top_prior": _weights(models, "top_prior"),
        "train_bottom_prior": _weights(models, "bottom_prior"),
        "sample": (samples, None),
        "evaluate": (evaluate, sha256_file(evaluate)),
    }
    return Provenance(
        [Link(stage, *what, seeds.get(stage)) for stage, what in made.items()],
        _by_split(videos),
        {split: clips[split] for split in SPLITS},
        _grouped(videos, lambda video: video["licence"] or "none stated"),
        _grouped(videos, lambda video: host_of(video["url"]) or "no URL"),
        f"python pipeline.py audit model {models['top_prior']}",
    )


def _weights(models: dict[str, str], kind: str) -> tuple[str, str]:
    return f"{models[kind]}/model.safetensors", read_config(models[kind], kind)["sha256"]


def _grouped(videos: list[dict], key: Callable[[dict], str]) -> dict[str, dict[str, int]]:
    """Videos of each split by `key`, the most frequent first."""
    groups: dict[str, list[dict]] = {}
    for video in videos:
        groups.setdefault(key(video), []).append(video)
    return {
        name: _by_split(groups[name]) for name in sorted(groups, key=lambda name: (-len(groups[name]), name))
    }


def _by_split(videos: list[dict]) -> dict[str, int]:
    counts = Counter(video["split"] for video in videos)
    return {split: counts[split] for split in SPLITS}
