"""How well a codebook is used, and what its codes take."""

import numpy as np

from vqcast.codes.latents import Latents


def code_counts(codes: np.ndarray, codebook: int) -> np.ndarray:
    """How often each of `codebook` codes occurs, (codebook,)."""
    return np.bincount(codes.reshape(-1), minlength=codebook)


def slice_counts(latents: Latents, chosen: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """How often each code occurs in each slice of the `chosen` windows (N,), bool, or of all.

    By level, top and bottom: (T, K). The codes are read a row group at a time.
    """
    codebook = latents.manifest.codes
    counts = {
        level: np.zeros((latents.manifest.grids.shape(level)[0], codebook), int)
        for level in ("top", "bottom")
    }
    for numbers, group in latents.row_groups(chosen):
        wanted = slice(None) if chosen is None else chosen[numbers.start : numbers.stop]
        for level, its_counts in counts.items():
            for codes, of_slice in zip(group.codes[level][wanted].swapaxes(0, 1), its_counts, strict=True):
                of_slice += code_counts(codes, codebook)
    return counts


def usage(counts: np.ndarray) -> float:
    """Share of the codes that occur."""
    return float((counts > 0).mean())


def entropy_bits(counts: np.ndarray) -> float:
    """Unigram entropy in bits a code: what coding each code by its frequency alone would take."""
    frequencies = counts[counts > 0] / counts.sum()
    return float(-(frequencies * np.log2(frequencies)).sum())


def perplexity(counts: np.ndarray) -> float:
    """Number of equally frequent codes that would have the same entropy."""
    return 2 ** entropy_bits(counts)
