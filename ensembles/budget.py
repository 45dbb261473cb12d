"""Would more samples close the gap? Accuracy by budget, its limits, costs (2504.14047)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from ringtest.ensembles.candidates import Candidates, tally
from ringtest.ensembles.ceiling import numbers_of_samples
from ringtest.ensembles.measured import LEVEL, bounds, spread, unseen
from ringtest.ensembles.selection import best_of, pass_at_k
from ringtest.ensembles.votes import DRAWS, How, majority
from ringtest.errors import DataError
from ringtest.estimate import Array, Estimate, row_mean

Rule = Literal["coverage", "majority", "verifier"]
"""What is made of k samples: the right one if there is one, a vote, the verifier's pick."""

RARE = 0.05
"""Chance that an item's limit is misjudged, and that of the rule of three."""


_ROUNDING = 1e-12


@dataclass(frozen=True)
class Spend:
    """One model, one rule, k samples of each item."""

    name: str
    k: int
    cost: float
    """Of an item: k samples, and what the rule adds; in the unit of the cost per sample."""
    accuracy: Estimate
    """Mean over items, 0..1; paired with other models on the same items."""
    low: float
    """Interval of the accuracy."""
    high: float
    how: How = "exact"
    """Whether a vote's expectation is exact or from seeded draws."""


def curve(
    c: Candidates,
    rule: Rule,
    name: str,
    ks: Sequence[int] | None = None,
    cost: float = 1.0,
    fixed: float = 0.0,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Spend, ...]:
    """Accuracy against number of samples.

    Args:
        c: candidates of one model; answers for ``majority``, scores for ``verifier``.
        rule: what is made of the samples.
        name: the model's.
        ks: numbers of samples; None: 1, 2, 4, ... and n.
        cost: of one sample with its check, in any unit that is shared by what is compared.
        fixed: of an item, whatever k.
        level: of the intervals.
        draws: subsets where the expected vote cannot be exact.
        seed: of these.

    Raises:
        DataError: k > n, costs that are negative or not finite, an unknown rule.
    """
    for field, value in (("cost", cost), ("fixed", fixed)):
        if not (math.isfinite(value) and value >= 0):
            raise DataError(field, f"{value} is no cost", "give a finite number from 0")
    spends = []
    for k in numbers_of_samples(c, ks):
        how: How = "exact"
        if rule == "coverage":
            accuracy = pass_at_k(c, k)
        elif rule == "majority":
            vote = majority(c, k, draws, seed)
            accuracy, how = vote.estimate, vote.how
        elif rule == "verifier":
            accuracy = best_of(c, k)
        else:
            raise DataError("rule", f"{rule!r} is unknown", "coverage, majority or verifier")
        spends.append(Spend(name, k, fixed + k * cost, accuracy, *bounds(accuracy, level), how))
    return tuple(spends)


@dataclass(frozen=True)
class Limit:
    """Accuracy with samples without end."""

    value: Estimate
    """As the samples have it: of every item the share of right ones among its most frequent
    answers."""
    possible: Estimate
    """Share of items whose right answer may be the most frequent, in the chance sense below."""
    low: float
    """Interval that also allows for limits of items which n samples cannot tell."""
    high: float


def majority_limit(c: Candidates, level: float = LEVEL) -> Limit:
    """Accuracy of the majority vote as k grows: 1 where the model's most likely answer is right.

    Args:
        c: candidates with answers.
        level: of the interval.

    Returns:
        The plug-in value splits ties. With few samples an item's most frequent answer need not be
        its most likely one, so the interval's high end counts every item whose right answer is not
        significantly rarer than any other answer seen (one-sided sign test on the two at
        ``RARE``, divided by the number of other answers), and its low end only those whose right
        answer is significantly ahead of all. Of items that may have the right answer at most
        ``RARE`` are left out, for which both ends are corrected.
    """
    value = majority(c).estimate
    counts = tally(c.need_codes())
    right = tally(c.need_codes(), c.correct.astype(np.float64)) > 0
    own = np.where(right, counts, 0).max(axis=1)
    rival = np.where(right, 0, counts).max(axis=1)
    others = np.maximum(((counts > 0) & ~right).sum(axis=1), 1)
    possible = row_mean(stats.binom.cdf(own, own + rival, 0.5) > RARE / others)
    # No answer ahead by chance alone: among unseen answers too there may be one
    certain = row_mean(stats.binom.cdf(rival, own + rival, 0.5) <= RARE)
    low = (bounds(certain, level)[0] - RARE) / (1 - RARE)
    high = bounds(possible, level)[1] / (1 - RARE)
    return Limit(value, possible, *(float(np.clip(end, 0.0, 1.0)) for end in (low, high)))


@dataclass(frozen=True)
class CoverageLimit:
    """What is known of coverage beyond the samples at hand."""

    solved: Estimate
    """Share of items solved at least once."""
    never: int
    """Items never solved in n samples."""
    rate: float
    """Of a never solved item a sample may be right this often, at 95 %: 1 - .05^(1/n), about 3/n
    (the rule of three)."""

    c: Candidates

    def at(self, k: float, level: float = LEVEL) -> tuple[Estimate, float]:
        """Upper estimate of coverage with k samples and the end of its interval; k may be infinite.

        Every item counts with the largest rate that its samples allow, by the one-sided exact
        binomial limit at ``RARE`` (for items never solved that is ``rate``). Its own share of right
        samples would not do: coverage is concave in it, so that the mean over items is too low by
        more than its interval. Of all items at most ``RARE`` may lie above their limit, for which
        the end is corrected. At k = infinity it is 1: no number of failures shows that an item is
        never solved.
        """
        if not k >= 1:
            raise DataError("k", f"{k} is no number of samples", "give 1 or more, or infinity")
        right, n = self.c.correct.sum(axis=1), self.c.samples
        most = stats.beta.ppf(1 - RARE, right + 1, np.maximum(n - right, 1))
        most = np.where(right == n, 1.0, np.where(right == 0, self.rate, most))
        estimate = row_mean(_ever(most, k))
        return estimate, min(bounds(estimate, level)[1] / (1 - RARE), 1.0)


def _ever(rate: Array, k: float) -> Array:
    """1 - (1 - rate)^k for rates above 0."""
    sure = rate >= 1
    ever: Array = np.where(sure, 1.0, -np.expm1(k * np.log1p(-np.where(sure, 0.5, rate))))
    return ever


def coverage_limit(c: Candidates) -> CoverageLimit:
    """Coverage at the samples at hand, and how often items never solved may still be solved."""
    never = int((~c.correct.any(axis=1)).sum())
    rate = unseen(c.samples, 1 - RARE, sides=1)
    return CoverageLimit(pass_at_k(c, c.samples), never, rate, c)


@dataclass(frozen=True)
class Gap:
    """Whether more samples of the student reach the teacher."""

    label: Literal["no budget closes the gap", "reached", "open"]
    """``no budget``: the student's limit and curve lie below the whole of the teacher's curve;
    ``reached``: a budget of the student's lies above the teacher's curve's start; ``open``:
    neither."""
    out_of_reach: tuple[int, ...]
    """Budgets of the teacher that the student's limit and curve lie below."""
    reached_with: int | None
    """The student's fewest samples whose accuracy lies above the teacher's with fewest."""


def gap(
    student: Sequence[Spend], limit: Limit, teacher: Sequence[Spend], level: float = LEVEL
) -> Gap:
    """Judge whether the student's limit lies below the teacher's curve.

    Args:
        student: its curve, on the same items as the teacher's.
        limit: the student's, under the rule of its curve (coverage has none: it tends to 1).
        teacher: the teacher's curve.
        level: confidence level.

    Returns:
        A teacher's budget is out of reach only where the end of the limit's interval lies below the
        accuracy there *and* the interval of the paired difference, with all items that may still
        turn out right counted as right, lies below 0; and that of each of the student's budgets,
        too, since a vote may fall with more samples: its limit is then not its best. 'No budget'
        asks it of every budget (each must hold, so no correction for their number); 'reached' is
        corrected for the number of the student's budgets that were tried.
    """
    if not (student and teacher):
        raise DataError("curve", "is empty", "give at least one budget")
    if any(s.accuracy.units != limit.value.units for s in (*student, *teacher)):
        raise DataError("curve", "is on other items", "give student and teacher the same items")
    best = limit.possible, *(s.accuracy for s in student)
    beyond = tuple(
        t.k
        for t in teacher
        if limit.high < t.accuracy.value
        and all(spread(accuracy - t.accuracy, level)[1] < 0 for accuracy in best)
    )
    tried, first = 1 - (1 - level) / len(student), min(teacher, key=lambda t: t.k)
    above = [s.k for s in student if spread(s.accuracy - first.accuracy, tried)[0] > 0]
    if len(beyond) == len(teacher):
        return Gap("no budget closes the gap", beyond, None)
    return Gap("reached" if above else "open", beyond, min(above) if above else None)


def pareto(spends: Sequence[Spend]) -> tuple[Spend, ...]:
    """Those that no other beats: cheaper or as cheap, and as accurate or more; by rising cost.

    Of two with the same cost and accuracy the first given stays. By the values alone; whether two
    differ is in their intervals.
    """
    if any(not math.isfinite(s.accuracy.value) for s in spends):
        raise DataError("accuracy", "NaN in a budget", "leave out what was not measured")
    order = sorted(spends, key=lambda s: (s.cost, -s.accuracy.value))
    best = np.maximum.accumulate([-math.inf, *(s.accuracy.value for s in order)])
    # Two samples vote like one, but for rounding
    above = best[:-1] + _ROUNDING
    return tuple(s for s, least in zip(order, above, strict=True) if s.accuracy.value > least)
