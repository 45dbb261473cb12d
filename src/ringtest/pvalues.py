"""p-values of harm against a margin, Holm's procedure, and the rows that would settle a side.

Plain Python on purpose: a gate is to start in a fraction of the time that numpy and scipy take to
be imported. The tests hold Student's t against scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_NORMAL_FROM: Final = 1e6
"""Degrees of freedom from which Fisher's expansion around the normal is used."""
_STIRLING_FROM: Final = 40.0


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
    return min(1.0, family * student_t(df, -t)), student_t(df, t)


def student_t(df: float, t: float) -> float:
    """P(T <= t) of Student's t with ``df`` >= 1 degrees of freedom, to about 12 digits.

    P(T <= -t) = I_x(df/2, 1/2) / 2 with x = df / (df + t^2), the regularised incomplete beta
    function by its continued fraction (DLMF 8.17.22), on the side where that converges.
    """
    q = t * t / df
    if q == 0 or math.isinf(q):
        return 0.5 if q == 0 else float(t > 0)
    if df > _NORMAL_FROM:
        tail = _near_normal(df, abs(t))
    else:
        a, x, y = df / 2.0, 1.0 / (1.0 + q), q / (1.0 + q)
        front = math.exp(_log_gamma_ratio(a) + 0.5 * math.log(y / math.pi) - a * math.log1p(q))
        if x < (a + 1.0) / (a + 2.5):
            tail = 0.5 * front * _fraction(a, 0.5, x) / a
        else:
            tail = 0.5 - front * _fraction(0.5, a, y)
    return tail if t < 0 else 1.0 - tail


def _near_normal(df: float, t: float) -> float:
    """P(T > t) by Fisher's expansion in 1 / df."""
    density = math.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)
    first = t * (t * t + 1.0) / 4.0
    second = t * (3.0 * t**6 - 7.0 * t**4 - 5.0 * t * t - 3.0) / 96.0
    return 0.5 * math.erfc(t / math.sqrt(2.0)) + density * (first + second / df) / df


def _log_gamma_ratio(a: float) -> float:
    """log(gamma(a + 1/2) / gamma(a)); for large a by its series, where lgamma would cancel."""
    if a < _STIRLING_FROM:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    i = 1.0 / (a * a)
    return 0.5 * math.log(a) - (1 / 8 - (1 / 192 - (1 / 640 - 17 / 14336 * i) * i) * i) / a


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / ((1.0 - (a + b) * x / (a + 1.0)) or tiny)
    value = d
    for m in range(1, 10_000):
        k = a + 2.0 * m
        for term in (
            m * (b - m) * x / ((k - 1.0) * k),
            -(a + m) * (a + b + m) * x / (k * (k + 1.0)),
        ):
            d = 1.0 / ((1.0 + term * d) or tiny)
            c = (1.0 + term / c) or tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-16:
            break
    return value


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at level ``alpha``; NaN never is."""
    count = len(p_values)
    rejected = [False] * count
    order = sorted(range(count), key=lambda i: math.inf if math.isnan(p_values[i]) else p_values[i])
    for rank, index in enumerate(order):
        # `not (p <= limit)`: a NaN stops the procedure as a large p would.
        if not (p_values[index] <= alpha / (count - rank)):
            break
        rejected[index] = True
    return rejected


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for the false discovery rate: each at most q where that is to be q.

    Valid where the tests are independent or positively dependent, as one-sided tests of means over
    sets of rows are that overlap (Benjamini & Yekutieli 2001). NaN counts as 1.
    """
    count = len(p_values)
    plain = [1.0 if math.isnan(p) else p for p in p_values]
    adjusted, least = [1.0] * count, 1.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: -plain[i])):
        least = min(least, plain[index] * count / (count - rank))
        adjusted[index] = least
    return adjusted


def needed_n(harm: float, margin: float, se: float, n: int, alpha: float) -> int | None:
    """Rows that would settle the side of the margin, if the harm stayed as it is.

    Uses the normal quantile and power .8; None where harm sits on the margin or nothing is known.
    """
    from statistics import NormalDist

    distance = abs(harm - margin)
    if not (math.isfinite(distance) and math.isfinite(se)) or distance == 0 or se <= 0 or n <= 0:
        return None
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(0.8)
    # Bounded: at the margin itself the square would overflow.
    return math.ceil(n * min(z * se / distance, 1e9) ** 2)
