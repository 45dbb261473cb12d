"""How strong a disturbance must be to move a model's outputs by a given amount."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from ringtest.measure import NotMeasurable

WEAKEST: Final = 2.0**-7
"""Strength that is tried first."""
STRONGEST: Final = 2.0**4
"""Beyond it nothing is tried: a model that bears so much is not measurable."""
TOLERANCE: Final = 0.005
"""Relative error of the movement at which the search ends."""
_LOOSE: Final = 0.05
_HALVINGS: Final = 40
_STEP: Final = 1.1
"""Factor on the strength over which the slope is read."""


@dataclass(frozen=True)
class Match:
    """A strength at which the outputs move as far as was asked."""

    strength: float
    moved: Tensor
    """(m,) squared movement of each row there, over the mean squared distance of random pairs."""
    apart: Tensor
    """(m,) share of each row in that distance; its mean is 1."""
    slope: float
    """Growth of the mean movement per unit of the logarithm of the strength."""


def match(points: Callable[[float], Tensor], target: float) -> Match:
    """The least strength found at which the outputs move by the target.

    The movement is mean_i |p_i(s) - p_i(0)|^2 over the mean of |p_i(0) - p_j(0)|^2 over pairs of
    different rows: 0 for no movement, 1 where outputs are as far from what they were as from those
    of another row. The strength is doubled from WEAKEST until the movement passes the target, then
    bisected.

    Args:
        points: (m, k) outputs at a strength, as points; the draws are the same for all strengths.
        target: movement that is asked for, above 0.

    Raises NotMeasurable if outputs do not vary, if even STRONGEST moves them less, or if they jump
    over the target.
    """
    clean = points(0.0).double()
    m = len(clean)
    each = (clean - clean.mean(0)).square().sum(1) * (2 * m / max(m - 1, 1))
    pairs = float(each.mean())
    if not (m > 1 and 0 < pairs < math.inf):
        raise NotMeasurable("has outputs that do not vary, so that none can be matched")

    def moved(strength: float) -> Tensor:
        return (points(strength).double() - clean).square().sum(1) / pairs

    def far(strength: float) -> float:
        value = float(moved(strength).mean())
        return value if math.isfinite(value) else math.inf

    low, high = 0.0, WEAKEST
    while (reached := far(high)) < target:
        if high >= STRONGEST:
            raise NotMeasurable(
                f"moves its outputs by {reached:.2g} of the distance of random rows"
                f" at a noise of {STRONGEST:g}, and was to move them by {target:g}"
            )
        low, high = high, 2 * high
    strength = high
    for _ in range(_HALVINGS):
        if abs(reached / target - 1) <= TOLERANCE:
            break
        strength = math.sqrt(low * high) if low else high / 2
        reached = far(strength)
        low, high = (strength, high) if reached < target else (low, strength)
    if not abs(reached / target - 1) <= _LOOSE:
        raise NotMeasurable(f"has outputs that jump over a movement of {target:g}")
    rise = far(strength * _STEP) - far(strength / _STEP)
    return Match(strength, moved(strength), each / pairs, rise / (2 * math.log(_STEP)))
