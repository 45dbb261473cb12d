"""How alike two members answer: measures of pairs, and their means over all pairs.

Each is a smooth function of a mean that belongs to the pair (both right, same answer, overlap of
probabilities) and one that belongs to each member (right, probability of the target). So the
influence of an item is the derivative times its deviation from those means, and that of a mean over
pairs is one matrix product, whatever the number of pairs.

With accuracies a, b, share of both right j, n11 = j, n10 = a - j, n01 = b - j, n00 = 1 - a - b + j:

====================  ===================================  =====================================
id                    value                                alike when
====================  ===================================  =====================================
disagreement          share of different answers           0
error_disagreement    n10 + n01                            0
double_fault          n00                                  as large as the share of errors
q                     (n11 n00 - n10 n01) / (sum of both)  1; 0 for independent errors
rho                   (j - a b) / sqrt(var a var b)        1; 0 for independent errors
error_consistency     Cohen's kappa of being right         1; 0 for independent errors
capa                  kappa_p of the probabilities         larger; 0 by chance given accuracies
capa_discrete         the same of the answers alone        1; 0 by chance given accuracies
====================  ===================================  =====================================

A share of which no case was seen is 0 with influences of 0: none seen, not none.

Sources: Kuncheva & Whitaker 2003; Geirhos et al. 2020 (arXiv:2006.16736) for error consistency;
Goel et al. 2025 (arXiv:2502.04313) for CAPA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ringtest.ensembles.measured import Measured, Units, linearised, nothing
from ringtest.ensembles.table import Table
from ringtest.errors import DataError
from ringtest.estimate import Array, Estimate

_ROUNDING: Final = 1e-12


class Second(Protocol):
    """What belongs to each pair at each item: too much to hold, so only weighted sums are made."""

    def __call__(self, weights: Array) -> Array:
        """(M, M) symmetric weights of ordered pairs, the diagonal left out -> (n,) sums."""
        ...


@dataclass(frozen=True)
class Moments:
    """Means over items that pair measures are made of, and what each item adds to them."""

    first: Array
    """(M, n) what belongs to each member."""
    second: Second
    """What belongs to each pair."""
    means: Array
    """(M, M) mean over items of what belongs to each pair; the diagonal is not used."""


@dataclass(frozen=True)
class Formula:
    """A measure of all pairs and its derivatives, (M, M) each."""

    value: Array
    by_second: Array
    by_first: Array
    """Entry (a, b): with respect to the mean of member a."""


@dataclass(frozen=True)
class Pairwise:
    """One measure of all pairs of members."""

    values: Array
    """(M, M) symmetric; NaN on the diagonal and where a pair has no value."""
    moments: Moments
    formula: Formula
    units: Units
    reason: str = ""
    """Why some pair has no value; empty where all have one."""

    @property
    def mean(self) -> Measured:
        """Mean over all pairs; NOTHING if one of them has no value."""
        if self.reason:
            return nothing(self.reason)
        return Measured(self._weighted(of_all_pairs(len(self.values))))

    def pair(self, a: int, b: int) -> Measured:
        """The value of two members, by their numbers."""
        members = len(self.values)
        if not (0 <= a < members and 0 <= b < members and a != b):
            raise DataError("pair", f"({a}, {b})", f"give two of the members 0 to {members - 1}")
        if np.isnan(self.values[a, b]):
            return nothing(self.reason)
        weights = np.zeros((members, members))
        weights[a, b] = weights[b, a] = 0.5
        return Measured(self._weighted(weights))

    def _weighted(self, weights: Array) -> Estimate:
        """Weighted sum over ordered pairs; symmetric weights with a diagonal of 0 that sum to 1."""
        effect = effects(weights, self.formula, self.moments.second, self.moments.first)
        value = float((weights * np.where(weights > 0, self.values, 0.0)).sum())
        return linearised(value, effect - effect.mean(), self.units)


def effects(weights: Array, formula: Formula, second: Second, first: Array) -> Array:
    """(n,) derivative of a weighted sum over pairs in the direction of each item, uncentred.

    Args:
        weights: (M, M) symmetric, of ordered pairs, with a diagonal of 0.
        formula: of all pairs; what has no value has no weight.
        second: what belongs to each pair.
        first: (M, n) what belongs to each member.
    """
    used = weights > 0
    by_second = weights * np.where(used, formula.by_second, 0.0)
    by_first = 2.0 * (weights * np.where(used, formula.by_first, 0.0)).sum(1)
    effect: Array = second(by_second) + by_first @ first
    return effect


def of_all_pairs(members: int) -> Array:
    """(M, M) weights of the mean over all pairs."""
    return (1.0 - np.eye(members)) / (members * (members - 1))


@dataclass(frozen=True)
class SameAnswers:
    """Weighted number of ordered pairs that give the same class, per item."""

    predictions: NDArray[np.int32]

    def __call__(self, weights: Array) -> Array:
        """See :class:`Second`."""
        total = np.zeros(self.predictions.shape[1])
        for a, b in zip(*np.nonzero(np.triu(weights, 1)), strict=True):
            total += 2 * weights[a, b] * (self.predictions[a] == self.predictions[b])
        return total


@dataclass(frozen=True)
class BothRight:
    """Weighted number of ordered pairs that are right, per item."""

    correct: Array

    def __call__(self, weights: Array) -> Array:
        """See :class:`Second`."""
        return np.asarray(np.einsum("mn,mn->n", weights @ self.correct, self.correct))


@dataclass(frozen=True)
class Overlap:
    """Weighted sum over ordered pairs of the overlap of their probabilities, per item."""

    overlap: Array

    def __call__(self, weights: Array) -> Array:
        """See :class:`Second`."""
        return np.asarray(2 * weights[np.triu_indices(len(weights), 1)] @ self.overlap)


def agreement(table: Table) -> Array:
    """(M, M) share of items with the same answer; 1 on the diagonal."""
    members = len(table.predictions)
    out = np.eye(members)
    for a, b in zip(*np.triu_indices(members, 1), strict=True):
        out[a, b] = out[b, a] = np.mean(table.predictions[a] == table.predictions[b])
    return out


def disagreement(table: Table, units: Units = None) -> Pairwise:
    """Share of different answers, which needs no targets."""
    members = len(table.predictions)
    same = Moments(
        np.zeros((members, table.items)), SameAnswers(table.predictions), agreement(table)
    )
    square = np.ones((members, members))
    return _pairwise(same, Formula(1.0 - same.means, -square, 0 * square), units, None, "")


def of_errors(table: Table, units: Units = None) -> dict[str, Pairwise]:
    """Measures of being right or wrong together; the table has targets."""
    c = table.correct.astype(np.float64)
    right = Moments(c, BothRight(c), c @ c.T / c.shape[1])
    p, j = c.mean(1), right.means
    a, b = p[:, None], p[None, :]
    # Rounding may leave a share of none below 0.
    n11, n10, n01, n00 = j, a - j, b - j, np.maximum(1 - a - b + j, 0.0)
    square = np.ones_like(j)
    with np.errstate(divide="ignore", invalid="ignore"):
        u, w = n11 * n00, n10 * n01
        q, top = (u - w) / (u + w), 2 / (u + w) ** 2
        chance = a + b - 2 * a * b
        kappa = 2 * (j - a * b) / chance
        formulas = {
            "error_disagreement": Formula(n10 + n01, -2 * square, square),
            "double_fault": Formula(n00, square, -square),
            "q": Formula(q, top * (w * (n00 + n11) + u * (n10 + n01)), top * (-w * n11 - u * n01)),
            "rho": correlation(p, j),
            "error_consistency": Formula(
                kappa, 2 / chance, (-2 * b - kappa * (1 - 2 * b)) / chance
            ),
        }
    constant = (c.min(1) == c.max(1))[:, None] | (c.min(1) == c.max(1))[None, :]
    # Counted, so that no rounding decides whether there is anything to divide by.
    count = c @ c.T
    right_by, n = c.sum(1), c.shape[1]
    none = (count * (n - right_by[:, None] - right_by + count) == 0) & (
        (right_by[:, None] - count) * (right_by - count) == 0
    )
    why = _constant(c)
    either = "no item tells: n11 n00 and n10 n01 are both 0 for a pair"
    missing: dict[str, tuple[NDArray[np.bool_], str]] = {
        "q": (none, why or either),
        "rho": (constant, why),
        "error_consistency": (constant, why),
    }
    return {
        name: _pairwise(right, f, units, *missing.get(name, (None, "")))
        for name, f in formulas.items()
    }


def correlation(p: Array, joint: Array) -> Formula:
    """Correlation of being right, from (M,) accuracies and (M, M) shares of both right."""
    a, b = p[:, None], p[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.outer(p * (1 - p), p * (1 - p)))
        rho = np.clip((joint - a * b) / spread, -1.0, 1.0)
        return Formula(rho, 1 / spread, -b / spread - rho * (1 - 2 * a) / (2 * a * (1 - a)))


def capa(table: Table, classes: int, units: Units = None) -> dict[str, Pairwise]:
    """Agreement beyond what chance gives two models of these accuracies; the table has targets."""
    assert table.of_target is not None
    c = table.correct.astype(np.float64)
    upper = np.triu_indices(len(c), 1)
    overlap = np.zeros((len(c), len(c)))
    overlap[upper] = table.overlap.mean(1)
    soft = Moments(table.of_target, Overlap(table.overlap), overlap + overlap.T)
    hard = Moments(c, SameAnswers(table.predictions), agreement(table))
    out = {}
    for name, of in (("capa", soft), ("capa_discrete", hard)):
        m, other = of.first.mean(1), 1.0 / (classes - 1)
        a, b = m[:, None], m[None, :]
        chance = a * b + other * (1 - a) * (1 - b)
        left = 1 - chance
        # Of a member that is surely right (of two classes: or surely wrong) the formula makes 0,
        # whatever the other says.
        fixed = (m > 1 - _ROUNDING) | ((classes == 2) & (m < _ROUNDING))
        missing = fixed[:, None] | fixed[None, :] | (left < _ROUNDING)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = (of.means - chance) / left
            by_a = (of.means - 1) / left**2 * (b - other * (1 - b))
            formula = Formula(value, 1 / left, by_a)
        who = f"member {np.argmax(fixed)} is always right, or wrong"
        why = f"{who}, so chance explains every agreement"
        out[name] = _pairwise(of, formula, units, missing, why)
    return out


def _pairwise(
    moments: Moments,
    formula: Formula,
    units: Units,
    missing: NDArray[np.bool_] | None,
    reason: str,
) -> Pairwise:
    values = np.array(formula.value)
    off = ~np.eye(len(values), dtype=bool)
    lacking = off & (np.zeros_like(off) if missing is None else missing)
    values[~off | lacking] = np.nan
    return Pairwise(values, moments, formula, units, reason if lacking.any() else "")


def _constant(correct: Array) -> str:
    """Names the members that are right on all items, or on none."""
    for share, word in ((1.0, "every item"), (0.0, "no item")):
        who = np.flatnonzero((correct == share).all(1))
        if who.size:
            some = ", ".join(map(str, who[:5])) + (", ..." if who.size > 5 else "")
            return f"member {some} is right on {word}, so nothing can go with it"
    return ""
