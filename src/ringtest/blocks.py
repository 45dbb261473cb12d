"""The block of 256 rows, the seeds that hang on it, and the deterministic sample of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ringtest import margins

BLOCK: Final = 256
"""The one unit of forward batch, random seed, sharding and caching."""


def blocks(n: int) -> Iterator[tuple[int, slice]]:
    """Number and rows of each block of consecutive rows."""
    return enumerate(parts(n))


def parts(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive parts of n rows."""
    for low in range(0, n, size):
        yield slice(low, min(low + size, n))


def derive(seed: int, *parts: object) -> int:
    """A seed in [0, 2**63) that depends on every part and on nothing else."""
    text = "|".join([str(seed), *(str(p) for p in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: object) -> torch.Generator:
    """A CPU generator seeded by :func:`derive`."""
    return torch.Generator().manual_seed(derive(seed, *parts))


def seed_from(rng: torch.Generator) -> int:
    """A seed for generators of one's own."""
    return int(torch.randint(2**62, (), generator=rng, device=rng.device))


def row_hash(n: int, seed: int = 0) -> NDArray[np.uint64]:
    """A well-mixed 64-bit hash of every row's index (splitmix64), (n,)."""
    x = np.arange(n, dtype=np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 1) % 2**64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def sample_rows(n: int, size: int = margins.SAMPLE) -> NDArray[np.int64]:
    """Indices, ascending, of the rows whose representation is kept: those of least hash.

    It depends on n and size alone, so every model and condition keeps the same rows.
    """
    if n <= size:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.argsort(row_hash(n), kind="stable")[:size]).astype(np.int64)


def folds(
    n: int, count: int, units: NDArray[np.int64] | None = None, seed: int = 1
) -> NDArray[np.int64]:
    """Equal groups by the rank of a seeded hash, round robin; units stay whole; never file order.

    Returns:
        (n,) group number 0..count-1 of each row.
    """
    if units is None:
        rank = np.empty(n, dtype=np.int64)
        rank[np.argsort(row_hash(n, seed), kind="stable")] = np.arange(n)
        return rank % count
    codes, inverse = np.unique(units, return_inverse=True)
    return folds(codes.shape[0], count, None, seed)[inverse]
