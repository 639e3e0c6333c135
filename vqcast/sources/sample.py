"""The source `sample`: the embedded collection, drawn from a seed, in no need of a network."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqcast.embedded.motions import MOTIONS, Lot
from vqcast.embedded.synthesis import render
from vqcast.media.encoding import encode_mp4
from vqcast.settings.data import SampleSource
from vqcast.sources.manifest import SPLITS
from vqcast.sources.sources import Fetched, Video
from vqcast.sources.store import Store
from vqcast.work.code import import_closure
from vqcast.work.files import sha256_file

RATE = 25  # frames/s
CRF = 12
SIZES = ((128, 96), (96, 96), (96, 128), (160, 96), (128, 128))  # width, height
VIDEOS_PER_REQUEST = 8


@dataclass(frozen=True)
class Drawing:
    """All that a video of the collection is drawn from."""

    split: str
    index: int
    seed: int
    frames: int
    code: str  # hash of the code that draws

    @property
    def video(self) -> Video:
        return Video(
            video=f"{self.split}-{self.index:05d}",
            label=tuple(MOTIONS)[self.index % len(MOTIONS)],
            split=self.split,
            licence="CC0-1.0",
            attribution="vqcast sample collection",
        )

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()


class Sample:
    """Renders `train_videos` and `val_videos` videos; one that the store has is not drawn again."""

    def __init__(self, settings: SampleSource):
        self.settings = settings
        self.order: list[str] = []

    def plan(self) -> Sequence[tuple[Drawing, ...]]:
        settings, code = self.settings, _code()
        counts = zip(SPLITS, (settings.train_videos, settings.val_videos), strict=True)
        drawings = [
            Drawing(split, index, settings.seed, settings.frames, code)
            for split, count in counts
            for index in range(count)
        ]
        self.order = [drawing.video.video for drawing in drawings]
        starts = range(0, len(drawings), VIDEOS_PER_REQUEST)
        return [tuple(drawings[start : start + VIDEOS_PER_REQUEST]) for start in starts]

    def fetch(self, request: tuple[Drawing, ...], store: Store) -> list[Fetched]:
        fetched = []
        for drawing in request:
            stored = store.find(drawing.key)
            if stored is None:
                with store.workplace() as folder:
                    path = folder / "video.mp4"
                    encode_mp4(draw(drawing), RATE, path, CRF)
                    stored = store.move_in(path, ".mp4", drawing.key)
            fetched.append(Fetched(drawing.video, stored))
        return fetched

    def missing(self, fetched: Collection[Fetched]) -> list[Fetched]:
        return []


def draw(drawing: Drawing) -> np.ndarray:
    """The frames of a video: uint8 (T, H, W, 3)."""
    rng = np.random.default_rng([drawing.seed, SPLITS.index(drawing.split), drawing.index])
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    return render(MOTIONS[drawing.video.label](Lot(rng, drawing.frames)), width, height)


def _code() -> str:
    """Hash of the code that draws and encodes: other code may give other videos."""
    root = Path(__file__).resolve().parents[2]
    modules = {Path(__file__).resolve().relative_to(root)}
    for module in ("embedded/motions.py", "media/encoding.py"):
        modules.update(import_closure(root / "vqcast" / module, root))
    return hashlib.sha256(
        "".join(sha256_file(root / module) for module in sorted(modules)).encode()
    ).hexdigest()
