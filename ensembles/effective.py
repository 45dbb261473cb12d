"""How many independent votes the members amount to, with an interval, and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from ringtest import inference
from ringtest.ensembles.measured import Measured, nothing
from ringtest.ensembles.pairwise import Pairwise
from ringtest.estimate import Array

Answer = Literal["one", "some", "many", "open"]
_NO_INFLUENCE: Final = 1e-12
"""Rounding; one item of a million that parts the members has 1e-6."""


@dataclass(frozen=True)
class Effective:
    """n_eff = M / (1 + (M - 1) rho), rho the mean correlation of the members' being right.

    1: all are right and wrong together. M: their errors are independent. Above M: they offset each
    other. Correlated errors come from hard items as well as from likeness in training; for what a
    vote can gain it is the same. Source: Kish 1965's design effect, (1 + (M - 1) rho).
    """

    members: int
    votes: Measured
    rho: Measured
    spread: float
    """Mean over members of accuracy (1 - accuracy)."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the votes: that of rho, whose sampling is the more even, carried over.

        Where all members are right on the same items, resampling these can never part them: the
        upper end is then what the rule of three leaves, with disagreement d = 2 spread (1 - rho)
        on at most 1 - (1 - level)^(1/units) of the items. NaN where there is no estimate.
        """
        rho = self.rho.estimate
        se = inference.standard_error(rho)
        if not math.isfinite(se):
            return math.nan, math.nan
        low, high = inference.interval(rho.value, se, rho.dof, level)
        if np.abs(rho.influence).max() < _NO_INFLUENCE:
            unseen = 1.0 - (1.0 - level) ** (1.0 / rho.units)
            low = rho.value - unseen / (2.0 * self.spread)
        return self._votes(min(high, 1.0)), self._votes(low)

    def words(self, level: float = 0.95) -> str:
        """The verdict in words: whole votes that the interval leaves, and nothing tuned."""
        m = self.members
        if self.votes.reason:
            return f"votes not measurable: {self.votes.reason}"
        low, high = self.interval(level)
        if not math.isfinite(low):
            units = self.rho.estimate.units
            return f"votes not measurable: the number of independent items is {units}"
        top = f"{high:.1f}" if high < m + 0.5 else f"over {m}"
        number = f"{self.votes.value:.1f} effective votes of {m}"
        number += f" ({100 * level:g} % interval {low:.1f} to {top})"
        # An interval that rounds to one vote throughout, or to M.
        if high < 1.5:
            return f"one opinion held {m} times: {number}; as votes there is nothing to distil"
        if low >= m - 0.5:
            return f"{m} real votes: {number}"
        if low < 1.5 and high >= m - 0.5:
            return f"one opinion or {m} votes, too few items to tell: {number}"
        return number

    def answer(self, level: float = 0.95) -> Answer:
        """What :meth:`words` say, in one: ``one`` opinion, ``many`` (all M), ``some``, ``open``."""
        low, high = (math.nan, math.nan) if self.votes.reason else self.interval(level)
        if not math.isfinite(low):
            return "open"
        if high < 1.5:
            return "one"
        if low >= self.members - 0.5:
            return "many"
        return "open" if low < 1.5 and high >= self.members - 0.5 else "some"

    def _votes(self, rho: float) -> float:
        below = 1.0 + (self.members - 1) * rho
        return self.members / below if below > 0 else math.inf


def effective(rho: Pairwise, accuracies: Array) -> Effective:
    """Number of effective votes from the correlations of all pairs."""
    members = len(rho.values)
    mean = rho.mean
    spread = float((accuracies * (1 - accuracies)).mean())
    if mean.reason:
        return Effective(members, mean, mean, spread)
    below = 1.0 + (members - 1) * mean.value
    # 1'R1 / M of a correlation matrix R: never negative but for rounding.
    if below < 1e-12:
        why = "the members' errors offset each other exactly, so their number has no bound"
        return Effective(members, nothing(why), mean, spread)
    slope = -members * (members - 1) / below**2
    votes = replace(mean.estimate * slope, value=members / below)
    return Effective(members, Measured(votes), mean, spread)
