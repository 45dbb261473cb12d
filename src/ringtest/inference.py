"""Standard errors, intervals and p-values: the only place where they are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ringtest import margins
from ringtest.estimate import Array, Estimate, t_quantile

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
    counts = _counts(columns.shape[0], seed, resamples)
    step = max(1, _CHUNK // max(columns.shape[0], 1))
    parts = [counts[i : i + step].astype(np.float64) @ columns for i in range(0, resamples, step)]
    return np.concatenate(parts)


_CHUNK = 1 << 21


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


def p_values(harm: float, margin: float, se: float, df: float, family: int) -> tuple[float, float]:
    """One-sided p-values ``(p_fail, p_pass)`` of harm against its margin.

    ``p_fail`` tests H0: harm <= margin, multiplied by ``family`` where the harm is the largest of
    so many; ``p_pass`` tests H0: harm >= margin. With se = 0 both are 0 or 1 by the side of the
    margin, and at the margin itself nothing is rejected. Anything not finite gives NaN.
    """
    if not all(math.isfinite(v) for v in (harm, margin, se, df)) or se < 0 or df < 1 or family < 1:
        return math.nan, math.nan
    distance = harm - margin
    if se == 0:
        return float(not distance > 0), float(not distance < 0)
    t = distance / se
    p_fail = min(1.0, family * float(special.stdtr(df, -t)))
    return p_fail, float(special.stdtr(df, t))


def holm(p_values: Sequence[float], alpha: float) -> NDArray[np.bool_]:
    """Which hypotheses Holm's step-down procedure rejects at level ``alpha``; NaN never is."""
    p = np.asarray(p_values, dtype=np.float64)
    rejected = np.zeros(p.shape[0], dtype=bool)
    order = np.argsort(np.where(np.isnan(p), np.inf, p), kind="stable")
    for rank, index in enumerate(order):
        # `not (p <= limit)`: a NaN stops the procedure as a large p would.
        if not (p[index] <= alpha / (p.shape[0] - rank)):
            break
        rejected[index] = True
    return rejected


def needed_n(harm: float, margin: float, se: float, n: int, alpha: float) -> int | None:
    """Rows that would settle the side of the margin, if the harm stayed as it is.

    Uses the normal quantile and power .8; None where harm sits on the margin or nothing is known.
    """
    distance = abs(harm - margin)
    if not (math.isfinite(distance) and math.isfinite(se)) or distance == 0 or se <= 0 or n <= 0:
        return None
    z = float(special.ndtri(1 - alpha) + special.ndtri(0.8))
    # Bounded: at the margin itself the square would overflow.
    return math.ceil(n * min(z * se / distance, 1e9) ** 2)
