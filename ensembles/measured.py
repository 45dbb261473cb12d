"""An estimate, or the reason why there is none; intervals and shares of a gain."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ringtest.ensembles.wording import confidence
from ringtest.errors import ConfigError
from ringtest.estimate import NOTHING, Array, Estimate, ratio, to_units
from ringtest.inference import interval, standard_error

Units = NDArray[np.int64] | None
"""(n,) code of the independent unit of each item; None: every item is one."""
LEVEL = 0.95
"""Confidence level where none is asked for."""


@dataclass(frozen=True)
class Measured:
    """An estimate, or NOTHING with the reason."""

    estimate: Estimate
    """NOTHING where it could not be measured."""
    reason: str = ""
    """One sentence where there is no estimate, else empty."""

    @property
    def value(self) -> float:
        """The estimate's value; NaN where there is none."""
        return self.estimate.value

    @property
    def measured(self) -> bool:
        """Whether there is an estimate."""
        return not self.reason


def nothing(reason: str) -> Measured:
    """What could not be measured, and why."""
    return Measured(NOTHING, reason)


def linearised(value: float, effect: Array, units: Units) -> Estimate:
    """Estimate by the delta method.

    Args:
        value: the statistic, a smooth function of means over items.
        effect: (n,) its derivative in the direction of each item's deviation from those means.
        units: (n,) code 0..G-1 of the independent unit of each item; None: every item is one.
    """
    n = effect.shape[0]
    return Estimate(value, to_units(effect / n, units), n, "bootstrap")


def check_level(level: float) -> float:
    """A confidence level, or ConfigError."""
    if not 0 < level < 1:
        raise ConfigError("level", f"{level} is not between 0 and 1", "0.95 is usual")
    return level


def spread(estimate: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Two-sided t interval of outcomes in [0, 1], or of their difference; NaN below two items.

    Where all items have the same outcome nothing varies, and a t interval would be a point though
    there are two items only. Then what a share of ``unseen`` other items could do widens it.
    """
    if estimate.units >= 2 and constant(estimate):
        reach = unseen(_independent(estimate), level)
        middle = (1 - reach) * estimate.value
        return middle - reach, middle + reach
    return interval(estimate.value, standard_error(estimate), estimate.dof, check_level(level))


def _independent(estimate: Estimate) -> int:
    """Units that tell: rows of one unit count once, and units without a row not at all."""
    return min(estimate.n, estimate.units)


def constant(estimate: Estimate) -> bool:
    """Whether all items have one outcome, but for rounding."""
    return math.isfinite(estimate.value) and float(np.abs(estimate.influence).max()) < 1e-14


def unseen(n: int, level: float, sides: Literal[1, 2] = 2) -> float:
    """Largest share of other outcomes that n units without one allow: 1 - (alpha / sides)^(1 / n).

    The end of the exact binomial interval (Clopper and Pearson 1934). One-sided at 95 % it is about
    3 / n, the rule of three: for what only can lie on one side.
    """
    return -math.expm1(math.log((1 - check_level(level)) / sides) / n)


def bounds(share: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a mean of outcomes in [0, 1], cut to [0, 1]; exact where all are 0 or all 1."""
    low, high = spread(share, level)
    if share.units and share.value in (0.0, 1.0) and constant(share):
        reach = unseen(_independent(share), level)
        return (0.0, reach) if share.value == 0 else (1.0 - reach, 1.0)
    # NaN stays NaN: max(0.0, nan) would be 0
    return float(np.clip(low, 0.0, 1.0)), float(np.clip(high, 0.0, 1.0))


def share_of(top: Estimate, bottom: Estimate, name: str, level: float = LEVEL) -> Measured:
    """``top / bottom`` on the same items; not measurable where ``bottom`` may be 0 or is a loss.

    Args:
        top: numerator, such as student - mean member.
        bottom: denominator, such as ensemble - mean member.
        name: what the denominator is called in the reason.
        level: confidence level of the denominator's interval.

    Returns:
        The ratio, influences by the delta method; any real number, 1 where both are equal.
    """
    if not (top.units and bottom.units):
        return nothing(f"{name} was not measured")
    low, high = spread(bottom, level)
    if not (math.isfinite(low) and math.isfinite(high)):
        return nothing(f"{name} has no interval: {bottom.units} item")
    if low <= 0:
        return nothing(
            f"{name} is {bottom.value:+.4f}, and its {confidence(level)} interval "
            f"{low:+.4f} to {high:+.4f} " + ("spans 0" if high >= 0 else "lies below 0")
        )
    return Measured(ratio(top, bottom))


def mean_where(values: Array, chosen: NDArray[np.bool_], why: str) -> Measured:
    """Mean over the chosen items, with an influence for all (0 for the others).

    Args:
        values: (items,) outcomes; those of items not chosen are never read.
        chosen: (items,) which count.
        why: what the other items lack, for the reason.

    Not measurable with fewer than two chosen items: one has no spread to read.
    """
    m = int(chosen.sum())
    if m < 2:
        return nothing(f"{m} of {chosen.shape[0]} items {why}, and it takes two")
    x = np.where(chosen, values, 0.0)
    centre = float(x.sum() / m)
    influence = np.where(chosen, x - centre, 0.0) / m * math.sqrt(m / (m - 1))
    return Measured(Estimate(centre, influence, m, "bootstrap", float(m - 1)))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """``a - b`` on the same items; NOTHING where either is."""
    return a - b if a.units and b.units else NOTHING


def plain(ends: Iterable[float]) -> list[float | None]:
    """An interval as a report holds it: None where there is no finite end."""
    return [float(end) if math.isfinite(end) else None for end in ends]


def constant_minus(top: float, estimate: Estimate) -> Estimate:
    """``top - estimate``, such as 1 - coverage."""
    return replace(-estimate, value=top - estimate.value)
