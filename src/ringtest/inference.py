"""Standard errors, intervals and p-values: the only place where they are made.

The p-values themselves stand in :mod:`ringtest.pvalues`, which a gate can import without numpy.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ringtest import margins
from ringtest.estimate import Array, Estimate, t_quantile
from ringtest.pvalues import holm, needed_n, p_values

_CLOSED_FORM_UNITS = 10_000
"""From here on the bootstrap of a mean differs from its closed form only by Monte-Carlo noise."""


def standard_error(estimate: Estimate, seed: int = 0) -> float:
    """Standard error of an estimate; NaN if it has fewer than two units or is not finite.

    Outcomes (method ``bootstrap``) are resampled over their units, paired by construction since
    the influences are of the difference; jackknife estimates are read off as they stand.
    """
    if estimate.units < 2 or not math.isfinite(estimate.value):
        return math.nan
    if not np.isfinite(estimate.influence).all():
        return math.nan
    closed = float(np.sqrt(np.sum(estimate.influence**2)))
    if estimate.method == "jackknife" or estimate.units > _CLOSED_FORM_UNITS or closed == 0:
        return closed
    return float(bootstrap(estimate.influence[:, None], seed).std(axis=0, ddof=1)[0])


def bootstrap(columns: Array, seed: int = 0, resamples: int = margins.RESAMPLES) -> Array:
    """Resampled totals of per-unit contributions.

    Args:
        columns: (units, p) contribution of every unit to p totals, centred at 0 for influences.
        seed: same seed and number of units: same resamples, whatever the columns.
        resamples: number of resamples B.

    Returns:
        (B, p) totals. Everything passed together is resampled together, hence paired.
    """
    units = columns.shape[0]
    if units * resamples <= _CHUNK:
        return _numbers(units, seed, resamples) @ columns
    counts = _counts(units, seed, resamples)
    step = max(1, _CHUNK // max(units, 1))
    parts = [counts[i : i + step].astype(np.float64) @ columns for i in range(0, resamples, step)]
    return np.concatenate(parts)


_CHUNK = 1 << 21
"""Counts that are turned into numbers at once: 16 MiB."""


@lru_cache(maxsize=4)
def _numbers(units: int, seed: int, resamples: int) -> Array:
    """`_counts` as they are multiplied: turning bytes into numbers takes as long as the product."""
    return _counts(units, seed, resamples).astype(np.float64)


@lru_cache(maxsize=4)
def _counts(units: int, seed: int, resamples: int) -> NDArray[np.uint8]:
    """How often each unit is drawn in each resample, (B, units); bytes, since it is kept."""
    rng = np.random.default_rng([seed, units, 0xB007])
    counts = np.empty((resamples, units), dtype=np.uint8)
    step = max(1, _CHUNK // max(units, 1))
    for low in range(0, resamples, step):
        rows = min(step, resamples - low)
        draws = rng.integers(0, units, size=(rows, units), dtype=np.int64)
        draws += units * np.arange(rows)[:, None]
        drawn = np.bincount(draws.ravel(), minlength=rows * units)
        counts[low : low + rows] = drawn.reshape(rows, units)
    return counts


def interval(delta: float, se: float, df: float, level: float) -> tuple[float, float]:
    """Two-sided t interval of a difference."""
    if not (math.isfinite(delta) and math.isfinite(se) and df >= 1):
        return math.nan, math.nan
    half = t_quantile(level, df) * se
    return delta - half, delta + half


__all__ = ["bootstrap", "holm", "interval", "needed_n", "p_values", "standard_error"]
