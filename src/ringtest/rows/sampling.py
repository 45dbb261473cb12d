"""A seeded, stratified sample of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringtest.blocks import row_hash
from ringtest.rows.tables import codes

_LEAST = 5
"""Columns that would cut the sample into strata of fewer rows, on average, do not stratify."""


def stratified(
    n: int, size: int, columns: Sequence[NDArray[Any] | None], seed: int = 0
) -> NDArray[np.int64]:
    """Rows, ascending, that keep the shares of every combination of values.

    Args:
        n: number of rows.
        size: rows to keep; all if there are no more.
        columns: (n,) values each; real numbers, and what would make too many strata, are left out.
        seed: decides which rows of a stratum are kept.

    Returns:
        (min(n, size),) row numbers. Each stratum has its share, rounded by largest remainder; one
        that would come out empty gets a row while there are rows to give.
    """
    if n <= size:
        return np.arange(n, dtype=np.int64)
    strata = np.zeros(n, dtype=np.int64)
    for values in columns:
        if values is None or values.ndim != 1 or values.dtype.kind == "f":
            continue
        finer = codes(strata * n + codes(values))
        if (int(finer.max()) + 1) * _LEAST <= size:
            strata = finer
    counts = np.bincount(strata)
    exact = counts * (size / n)
    quota = np.maximum(np.floor(exact), 1).astype(np.int64)
    # What rounding left over, to the largest remainders; what minimums took, from the largest.
    while (missing := size - int(quota.sum())) != 0:
        order = np.argsort(quota - exact, kind="stable")
        if missing > 0:
            quota[order[:missing]] += 1
        else:
            able = [i for i in order[::-1] if quota[i] > 1][:-missing]
            quota[able] -= 1
    hashes = row_hash(n, seed)
    order = np.lexsort((hashes, strata))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.arange(n) - starts[strata[order]]
    return np.sort(order[rank < quota[strata[order]]]).astype(np.int64)
