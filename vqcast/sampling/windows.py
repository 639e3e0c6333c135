"""Sampling every validation window into a folder of samples, a batch at a time."""

from pathlib import Path

import torch
from tqdm import tqdm

from vqcast.execution import device
from vqcast.latents import Latents
from vqcast.networks.bottom_prior import BottomPriorNetwork
from vqcast.networks.top_prior import TopPriorNetwork
from vqcast.networks.vqvae import VQVAE, Codes
from vqcast.pixels import to_pixels
from vqcast.sampling.predict import decode_predicted, numbers_a_window, random_numbers, sample_codes
from vqcast.sampling.store import join_samples, write_samples
from vqcast.settings import Sample


def sample_windows(
    latents: Latents,
    vqvae: VQVAE,
    top_prior: TopPriorNetwork,
    bottom_prior: BottomPriorNetwork,
    settings: Sample,
    scratch: Path,
) -> Path:
    """Sample every window of `latents`, and return the folder in `scratch` that then holds the samples.

    Each batch is kept as it comes, and none that `scratch` already holds is drawn again.
    """
    networks = (vqvae, top_prior, bottom_prior)
    folder = scratch / "samples"
    samples = range(settings.samples_per_window)
    wanted = [(index, sample) for index in range(len(latents)) for sample in samples]
    per_file = settings.windows_per_shard * len(samples)
    with tqdm(total=len(wanted), desc="sample", unit="sample", dynamic_ncols=True) as progress:
        for number, first in enumerate(range(0, len(wanted), per_file)):
            path = folder / f"samples-{number:05d}.arrow"
            chosen = wanted[first : first + per_file]
            if path.exists():
                progress.update(len(chosen))
                continue
            parts = []
            for start in range(0, len(chosen), settings.batch_size):
                batch = chosen[start : start + settings.batch_size]
                part = scratch / "parts" / f"{number:05d}-{start:08d}.arrow"
                if not part.exists():
                    write_samples(part, _sample_rows(latents, batch, networks, settings))
                parts.append(part)
                progress.update(len(batch))
            join_samples(path, parts)
            for part in parts:
                part.unlink()
    return folder


def _sample_rows(
    latents: Latents, batch: list[tuple[int, int]], networks: tuple, settings: Sample
) -> list[dict]:
    """Rows of one batch of (window number, sample number)."""
    vqvae, top_prior, bottom_prior = networks
    indices = [index for index, _ in batch]
    prefix = Codes(_tensor(latents.prefix_top[indices]), _tensor(latents.prefix_bottom[indices]))
    names = [(latents.windows[index], sample) for index, sample in batch]
    numbers = random_numbers(names, numbers_a_window(top_prior), settings.seed)
    codes = sample_codes(top_prior, bottom_prior, prefix, numbers, settings)
    pixels = to_pixels(decode_predicted(vqvae, codes, latents.manifest.given))
    videos = pixels.permute(0, 2, 3, 4, 1).cpu().numpy()
    return [
        {"window": window, "sample": sample, "top": top.ravel(), "bottom": bottom.ravel(), "video": video}
        for (window, sample), top, bottom, video in zip(
            names, codes.top.cpu().numpy(), codes.bottom.cpu().numpy(), videos, strict=True
        )
    ]


def _tensor(codes) -> torch.Tensor:
    return torch.from_numpy(codes.astype("int64")).to(device())
