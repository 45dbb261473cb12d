"""An estimate and where its uncertainty comes from: the influence of every independent unit.

Everything that ringtest compares is a paired difference of estimates on the same rows, or a
difference of estimates on two separate sets of rows. Keeping the influence of each unit makes
both plain arithmetic: influences of paired estimates add row by row, those of separate sets
stand side by side, and the variance is their sum of squares either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with the influence of each resampling unit on it."""

    value: float
    """The estimate; NaN where it could not be computed."""
    influence: Array
    """(units,) contribution of each unit, scaled so that var(value) = sum(influence**2)."""
    n: int
    """Number of rows behind the value."""
    method: Literal["bootstrap", "jackknife"] = "jackknife"
    """How the standard error is read off: by resampling units (outcomes) or as it stands."""
    df: float | None = None
    """Degrees of freedom of the standard error; None: number of units - 1."""

    @property
    def units(self) -> int:
        """Number of independent units."""
        return int(self.influence.shape[0])

    @property
    def dof(self) -> float:
        """Degrees of freedom used for intervals and tests (at least 1)."""
        return float(self.df) if self.df is not None else float(max(self.units - 1, 1))

    def __add__(self, other: Estimate) -> Estimate:
        """Sum of two estimates on the *same* units (paired)."""
        return combine([self, other], [1.0, 1.0])

    def __sub__(self, other: Estimate) -> Estimate:
        """Paired difference: both estimates are on the same units."""
        return combine([self, other], [1.0, -1.0])

    def __mul__(self, factor: float) -> Estimate:
        """Scale the value and its influences."""
        return replace(self, value=self.value * factor, influence=self.influence * factor)

    def __neg__(self) -> Estimate:
        """Turn the sign."""
        return self * -1.0

    def minus_independent(self, other: Estimate) -> Estimate:
        """Difference of estimates on two *separate* sets of rows: variances add.

        Degrees of freedom follow Welch and Satterthwaite.
        """
        va, vb = float(np.sum(self.influence**2)), float(np.sum(other.influence**2))
        total = va + vb
        df = (
            total**2 / (va**2 / self.dof + vb**2 / other.dof)
            if total > 0
            else min(self.dof, other.dof)
        )
        return Estimate(
            self.value - other.value,
            np.concatenate([self.influence, -other.influence]),
            min(self.n, other.n),
            self.method,
            df,
        )


NOTHING: Final = Estimate(math.nan, np.zeros(0), 0, "bootstrap")
"""What is known where nothing could be measured."""


def combine(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Weighted sum of estimates on the same units.

    Raises ValueError if the units differ: paired arithmetic over other rows is meaningless.
    """
    first = estimates[0]
    if any(e.units != first.units for e in estimates):
        raise ValueError("paired estimates must be on the same units")
    value = float(sum(w * e.value for w, e in zip(weights, estimates, strict=True)))
    influence = weights[0] * first.influence
    for w, e in zip(weights[1:], estimates[1:], strict=True):
        influence += w * e.influence
    dofs = [e.df for e in estimates if e.df is not None]
    return Estimate(
        value,
        influence,
        min(e.n for e in estimates),
        first.method,
        min(dofs) if dofs else None,
    )


def ratio(top: Estimate, bottom: Estimate) -> Estimate:
    """Ratio of two estimates on the same units; influences by the delta method.

    NOTHING where ``bottom`` is 0. Whether it lies far enough from 0 is the caller's to see.
    """
    if bottom.value == 0 or not math.isfinite(bottom.value):
        return NOTHING
    value = top.value / bottom.value
    return replace(combine([top, bottom], [1.0, -value]) * (1.0 / bottom.value), value=value)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of estimates on the same units."""
    return combine(estimates, [1.0 / len(estimates)] * len(estimates))


def row_mean(values: Array | NDArray[np.bool_], units: NDArray[np.int64] | None = None) -> Estimate:
    """Mean of one outcome per row.

    Args:
        values: (n,) outcomes.
        units: (n,) code 0..G-1 of the independent unit of each row; None: every row is one.

    The influence of unit g is sum over its rows of (x_i - mean) / n, times sqrt(G / (G - 1)).
    """
    x = np.asarray(values, dtype=np.float64)
    n = x.shape[0]
    if n == 0:
        return NOTHING
    centre = float(x.mean())
    return Estimate(centre, to_units((x - centre) / n, units), n, "bootstrap")


def median(values: Array, units: NDArray[np.int64] | None = None) -> Estimate:
    """Median of one outcome per row; outcomes may be infinite (censored).

    Args:
        values: (n,) outcomes.
        units: (n,) code 0..G-1 of the independent unit of each row; None: every row is one.

    The standard error is the farther reach of the two ranks that bound the median in 95 % of
    samples, over 1.96: so the interval holds them both, also where the outcomes of many rows are
    the same and those of one side lie far (McKean & Schrader 1984 take the mean of both sides). A
    row's influence has the sign of its side; rows of one unit count together. NOTHING if one of
    the ranks is infinite, or an outcome NaN.
    """
    given = np.asarray(values, dtype=np.float64)
    x = np.sort(given)
    n = x.shape[0]
    if n == 0 or np.isnan(x[-1]):
        return NOTHING
    centre, middle = float(np.median(x)), (n - 1) / 2
    side = np.sign(given - centre) if math.isfinite(centre) else np.zeros(n)
    side = (side - side.mean()) / max(2 * float(side.std()), _TINY)
    counted = to_units(side, units)
    # How far the number of rows on one side may be from half of them; all on one outcome: as ever.
    half = _NORMAL_95 * (math.sqrt(float(np.sum(counted**2))) or math.sqrt(n) / 2)
    low, high = max(math.floor(middle - half), 0), min(math.ceil(middle + half), n - 1)
    if not math.isfinite(x[high]) or not math.isfinite(x[low]):
        return NOTHING
    # Of few rows there are no such ranks: the reach goes on as it does up to the last one.
    reach = max(x[high] - centre, centre - x[low]) * half / max(min(half, high - middle), 0.5)
    return Estimate(centre, counted * float(reach) / half, n, "bootstrap")


_NORMAL_95: Final = 1.959964
_TINY: Final = float(np.finfo(np.float64).tiny)


def weighted_mean(values: Array, weights: Array, units: NDArray[np.int64] | None) -> Estimate:
    """Mean of (n,) outcomes under fixed, non-negative (n,) weights that sum to 1."""
    x, w = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    centre = float(w @ x)
    return Estimate(centre, to_units(w * (x - centre), units), int((w > 0).sum()), "bootstrap")


def to_units(influence: Array, units: NDArray[np.int64] | None) -> Array:
    """Sum row influences within units, with the small-sample factor sqrt(G / (G - 1))."""
    summed: Array = influence
    if units is not None:
        counts = int(units.max()) + 1
        summed = np.bincount(units, influence, counts).astype(np.float64, copy=False)
    g = summed.shape[0]
    return summed * math.sqrt(g / max(g - 1, 1))


def from_deletions(
    value: float, deleted: Array, n: int, units: NDArray[np.int64] | None = None
) -> Estimate:
    """Jackknife estimate from delete-one values.

    Args:
        value: the statistic on all units.
        deleted: (G,) the statistic without unit g; or (n,) without row i when ``units`` is given,
            in which case row influences are summed within units.
        n: rows behind the value.
        units: (n,) unit code of each row, or None.

    The jackknife variance is (G-1)/G sum (deleted - mean)^2.
    """
    g = deleted.shape[0]
    centred = deleted - deleted.mean()
    if units is None:
        return Estimate(value, -centred * np.sqrt((g - 1) / max(g, 1)), n)
    # Row i's share of the value is -(g-1)/g times its deletion effect; rows of one unit add up.
    return Estimate(value, to_units(-centred * (g - 1) / g, units), n)


def t_quantile(level: float, df: float) -> float:
    """Two-sided t quantile for a confidence level in (0, 1)."""
    return float(special.stdtrit(df, 0.5 + level / 2.0))
