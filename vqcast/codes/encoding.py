"""Encoding every window of every clip, once: a latent shard for each shard of clips.

On a CPU, processes encode a shard each. A GPU is fed by threads that decode ahead, in batches that go on from
one shard to the next. Every batch that the network sees has the same size, so that a window's codes do not
depend on which windows share its batch: wherever a resumed run starts, and whichever shards are new, the
bytes of a shard are the same.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from vqcast.clips.ahead import read_ahead
from vqcast.clips.pixels import to_unit_range
from vqcast.clips.windows import ClipReader, Clips, WindowRef, Windows
from vqcast.codes.latents import LEVELS, WHOLE_LEVELS, footer_sha256, write_shard
from vqcast.codes.models import load_vqvae
from vqcast.networks.vqvae import VQVAE
from vqcast.settings.data import Window
from vqcast.sources.manifest import SPLITS
from vqcast.work.environment import device, on_ray, prepare_networks, reading_threads
from vqcast.work.execution import run_units
from vqcast.work.finished import FinishedShards


@dataclass(frozen=True)
class ShardToEncode:
    """A latent shard, before its codes are known."""

    name: str
    clips: str  # hash of the clips, which is its key among the finished shards of one VQ-VAE
    windows: Windows


def shards_to_encode(clips: Clips, window: Window) -> list[ShardToEncode]:
    """A latent shard for each shard of clips, bearing its name."""
    return [
        ShardToEncode(f"{Path(name).stem}.parquet", windows.clips_sha256(), windows)
        for split in SPLITS
        for name, windows in clips.windows(split, window).by_shard()
    ]


@dataclass(frozen=True)
class Encoder:
    """Encodes shards of clips with one VQ-VAE, and finishes each as soon as its last window is through."""

    vqvae: str  # its folder
    vqvae_sha256: str
    window: Window
    batch_size: int
    clips: Path  # folder of clip shards
    folder: Path  # of the finished shards, for this VQ-VAE, window and batch size alone

    @property
    def levels(self) -> tuple[str, ...]:
        """What is written of every window."""
        return WHOLE_LEVELS if _loaded(self.vqvae, self.vqvae_sha256).settings.sees_given else LEVELS

    @property
    def finished(self) -> FinishedShards:
        return FinishedShards(self.folder, ".parquet")

    def encode_all(self, shards: Sequence[ShardToEncode]) -> None:
        """Encode shards: side by side, or one after the other on this machine's GPU."""
        if device().type == "cpu" or on_ray():
            for _ in run_units(self.encode_one, shards, "encode", networks=True):
                pass
        else:
            prepare_networks()
            windows = sum(len(shard.windows) for shard in shards)
            with tqdm(total=windows, desc="encode", unit="window", dynamic_ncols=True) as progress:
                self.encode(shards, progress.update)

    def encode_one(self, shard: ShardToEncode) -> None:
        """Encode a shard, unless that was done just before its node died."""
        if not self.finished.whole([shard.clips]):
            self.encode([shard])

    def encode(
        self, shards: Sequence[ShardToEncode], done: Callable[[int], object] = lambda windows: None
    ) -> None:
        """Encode shards in this process, decoding ahead from each to the next; `done` is told of windows."""
        codes = self.codes(shards, done)
        for shard in shards:
            self._finish(shard, itertools.islice(codes, len(shard.windows)))

    def _finish(self, shard: ShardToEncode, codes: Iterator[list[np.ndarray]]) -> None:
        note: dict[str, str] = {}
        with self.finished.appearing(shard.clips, note) as path:
            write_shard(path, shard.windows.ids(), codes, self.vqvae_sha256, shard.clips, self.levels)
            note["footer"] = footer_sha256(path)

    def codes(
        self, shards: Sequence[ShardToEncode], done: Callable[[int], object] = lambda windows: None
    ) -> Iterator[list[np.ndarray]]:
        """The codes of every window of the shards, one after another: an array (T, H, W) a level."""
        vqvae = _loaded(self.vqvae, self.vqvae_sha256)
        for batch in decoding_ahead(shards, self.clips, self.window.frames, self.batch_size):
            levels = [codes.cpu().numpy() for codes in self.codes_of(vqvae, batch)]
            done(len(batch))
            yield from (list(window) for window in zip(*levels, strict=True))

    @torch.inference_mode()
    def codes_of(self, vqvae: VQVAE, batch: torch.Tensor) -> list[torch.Tensor]:
        """Codes (B, T, H, W) of every level; the prefix codes see the given frames and nothing later."""
        batch = batch.permute(0, 4, 1, 2, 3)  # in memory, it is as the network likes it
        count = len(batch)
        if count < self.batch_size:  # the last ones of a run
            batch = batch[torch.arange(self.batch_size) % count]
        video = to_unit_range(batch)
        levels = vqvae.encode_window(video, self.window.given)
        if not vqvae.settings.sees_given:
            levels = (*vqvae.encode_given(video[:, :, : self.window.given]), *levels)
        return [codes[:count] for codes in levels]


def decoding_ahead(
    shards: Sequence[ShardToEncode], clips: Path, frames: int, batch_size: int
) -> Iterator[torch.Tensor]:
    """Batches of the shards' windows, uint8 (B, T, H, W, 3), which go on from one shard to the next.

    clips: the folder of clip shards.
    """
    windows = _Frames(ClipReader(clips), frames)
    return read_ahead(windows, _Batches(shards, batch_size), reading_threads())


@functools.lru_cache(maxsize=1)  # a worker encodes many shards
def _loaded(folder: str, sha256: str) -> VQVAE:
    return load_vqvae(folder)


class _Frames(Dataset):
    """The frames of the windows that are asked for: uint8 (T, H, W, 3) each."""

    def __init__(self, reader: ClipReader, frames: int):
        self.reader, self.frames = reader, frames

    def __getitems__(self, refs: list[WindowRef]) -> list[torch.Tensor]:
        """Windows of one clip, which may overlap, are decoded in one go."""
        windows = []
        for _, group in itertools.groupby(refs, lambda ref: ref.clip):
            its_refs = list(group)
            first = its_refs[0].start
            frames = self.reader.read(its_refs[0], its_refs[-1].start - first + self.frames)
            starts = (ref.start - first for ref in its_refs)
            windows += [torch.from_numpy(frames[start : start + self.frames]) for start in starts]
        return windows


class _Batches:
    """The windows of shards in batches that go on from one shard to the next."""

    def __init__(self, shards: Sequence[ShardToEncode], batch_size: int):
        self.shards, self.batch_size = shards, batch_size

    def __iter__(self) -> Iterator[list[WindowRef]]:
        windows = itertools.chain.from_iterable(shard.windows for shard in self.shards)
        return iter(lambda: list(itertools.islice(windows, self.batch_size)), [])
