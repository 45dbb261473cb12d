"""How many independent votes the members amount to, with an interval, and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from ringtest import inference
from ringtest.ensembles.measured import LEVEL, Measured, Units, check_level, nothing, unseen
from ringtest.ensembles.pairwise import BothRight, Pairwise, correlation, effects, of_all_pairs
from ringtest.ensembles.wording import confidence
from ringtest.estimate import NOTHING, Array, Estimate, to_units

Answer = Literal["one", "some", "many", "open"]
"""One opinion; some votes, fewer than members; as many as members; or the interval tells not."""
_ADDED: Final = 2.0
"""Items of either kind that are added for the interval: half of 1.96 squared."""
_NO_INFLUENCE: Final = 1e-12
"""Rounding; one item of a million that parts the members has 1e-6."""


def votes(rho: float, members: int) -> float:
    """Effective number of members M / (1 + (M - 1) rho); infinite where errors offset all others.

    Args:
        rho: mean correlation of pairs of members, -1/(M-1)..1.
        members: M.

    Source: Kish 1965's design effect, (1 + (M - 1) rho).

    >>> votes(1.0, 5), votes(0.0, 5)
    (1.0, 5.0)
    """
    below = 1.0 + (members - 1) * rho
    return members / below if below > 0 else math.inf


def estimate(rho: Estimate, members: int) -> Estimate:
    """The same with the influences, by the delta method, of a correlation with a bound."""
    value = votes(rho.value, members)
    return replace(rho * (-(members - 1) * value**2 / members), value=value)


@dataclass(frozen=True)
class Verdict:
    """A number of votes with its interval, and what it says."""

    value: float
    low: float
    high: float
    members: int
    level: float = LEVEL

    @property
    def answer(self) -> Answer:
        """What the interval leaves when it is rounded to whole votes; nothing tuned."""
        one, many = self.low < 1.5, self.high >= self.members - 0.5
        if self.high < 1.5:
            return "one"
        if self.low >= self.members - 0.5:
            return "many"
        return "open" if (one and many) or math.isnan(self.low + self.high) else "some"

    def words(self, things: str, number: int | None = None) -> str:
        """The verdict as the beginning of a sentence, in lower case and without a full stop.

        Args:
            things: what the independent units are, such as "items".
            number: how many of them; None: not said.
        """
        m = self.members
        top = f"{self.high:.1f}" if self.high < m + 0.5 else f"over {m}"
        ends = f"all over {m}" if self.low >= m + 0.5 else f"{self.low:.1f} to {top}"
        said = f"{self.value:.1f} effective votes of {m} "
        said += f"({confidence(self.level)} interval {ends})"
        said += "" if number is None else f" over {number} {things}"
        if self.answer == "one":
            return f"one opinion held {m} times: {said}; as votes there is nothing to distil"
        if self.answer == "many":
            return f"{m} real votes: {said}"
        if self.answer == "open":
            return f"one opinion or {m} votes, too few {things} to tell: {said}"
        return said


@dataclass(frozen=True)
class Effective:
    """n_eff = M / (1 + (M - 1) rho), rho the mean correlation of the members' being right.

    1: all are right and wrong together. M: their errors are independent. Above M: they offset each
    other. Correlated errors come from hard items as well as from likeness in training; for what a
    vote can gain it is the same.
    """

    members: int
    votes: Measured
    rho: Measured
    spread: float
    """Mean over members of accuracy (1 - accuracy)."""
    padded: Estimate = NOTHING
    """Of rho, on the items and four that were not seen: how far the interval reaches at least."""

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Interval of the votes: that of rho, whose sampling is the more even, carried over.

        Members that are right nine times in ten are wrong together on so few items that none may
        have been seen, and then resampling says that there are none. So the interval reaches as far
        as it also does with four items more: two on which all are wrong (or right, whichever is
        rarer) and two on which one is, as Agresti and Coull (1998) do for a share.

        Where all members are right on the same items, the upper end is what the rule of three
        leaves, with disagreement d = 2 spread (1 - rho) on at most 1 - (1 - level)^(1/units) of
        the items. NaN where there is no estimate.
        """
        check_level(level)
        rho = self.rho.estimate
        if rho.units < 2:
            return math.nan, math.nan
        ends = np.array(
            [
                inference.interval(e.value, inference.standard_error(e), rho.dof, level)
                for e in (rho, self.padded)
                if e.units
            ]
        )
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        if np.abs(rho.influence).max() < _NO_INFLUENCE:
            low = rho.value - unseen(rho.units, level, sides=1) / (2.0 * self.spread)
        return votes(min(high, 1.0), self.members), votes(low, self.members)

    def verdict(self, level: float = LEVEL) -> Verdict:
        """Number, interval and answer; NaN, and ``open``, where there is none."""
        if self.votes.reason:
            return Verdict(math.nan, math.nan, math.nan, self.members, level)
        return Verdict(self.votes.value, *self.interval(level), self.members, level)

    def answer(self, level: float = LEVEL) -> Answer:
        """What :meth:`words` say, in one: ``one`` opinion, ``many`` (all M), ``some``, ``open``."""
        return self.verdict(level).answer

    def words(self, level: float = LEVEL) -> str:
        """The verdict in words: whole votes that the interval leaves, and nothing tuned."""
        if self.votes.reason:
            return f"votes not measurable: {self.votes.reason}"
        verdict = self.verdict(level)
        if not math.isfinite(verdict.low):
            units = self.rho.estimate.units
            return f"votes not measurable: the number of independent items is {units}"
        return verdict.words("items")


def effective(rho: Pairwise, accuracies: Array) -> Effective:
    """Number of effective votes from the correlations of all pairs."""
    members = len(rho.values)
    mean = rho.mean
    spread = float((accuracies * (1 - accuracies)).mean())
    if mean.reason:
        return Effective(members, mean, mean, spread)
    padded = _padded(rho.moments.first, rho.units)
    # 1'R1 / M of a correlation matrix R: never negative but for rounding.
    if 1.0 + (members - 1) * mean.value < 1e-12:
        why = "the members' errors offset each other exactly, so their number has no bound"
        return Effective(members, nothing(why), mean, spread, padded)
    counted = Measured(estimate(mean.estimate, members))
    return Effective(members, counted, mean, spread, padded)


def _padded(correct: Array, units: Units) -> Estimate:
    """Mean correlation with two items of all rare outcomes and two of one member's added.

    Args:
        correct: (M, n) 1 where right.
        units: (n,) code of the independent unit of each item, or None: an added item then weighs as
            much as a unit does.
    """
    members, n = correct.shape
    groups = n if units is None else int(units.max()) + 1
    size = n / groups
    rare = 0.0 if correct.mean() >= 0.5 else 1.0
    alone = np.where(np.eye(members, dtype=bool), rare, 1 - rare)
    added = np.column_stack([np.full(members, rare), alone])
    times = np.array([_ADDED, *[_ADDED / members] * members])
    total = n + 2 * _ADDED * size
    everything = np.column_stack([correct, added])
    weight = np.concatenate([np.ones(n), times * size]) / total
    means = everything @ weight
    formula = correlation(means, (everything * weight) @ everything.T)
    pairs = of_all_pairs(members)
    effect = effects(pairs, formula, BothRight(everything), everything)
    effect -= effect @ weight
    influence = np.concatenate(
        [to_units(effect[:n] / total, units), np.sqrt(times) * size * effect[n:] / total]
    )
    return Estimate(float((pairs * formula.value).sum()), influence, n, "jackknife")
