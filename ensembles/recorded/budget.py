"""``ensemble.budget``: would more samples of the student close the gap, and what do they cost?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ringtest.ensembles import budget
from ringtest.ensembles.budget import Gap, Limit, Rule, Spend
from ringtest.ensembles.candidates import Candidates
from ringtest.ensembles.measured import bounds, plain
from ringtest.ensembles.recorded import Recorded
from ringtest.ensembles.recorded.rows import joined, level, row
from ringtest.ensembles.wording import percent
from ringtest.estimate import NOTHING, Estimate
from ringtest.measure import RecordedMeasure, measure
from ringtest.measurement import Measurement

Answer = Literal["no budget", "may close", "closed", "open"]

BEYOND = 10
"""So many times the samples at hand is how far coverage is told ahead."""
_CURVES: dict[Rule, str] = {
    "majority": "accuracy of the majority",
    "verifier": "accuracy of the verifier's pick",
    "coverage": "coverage",
}


@dataclass(frozen=True)
class _Side:
    """One model's candidates, and what a sample of it costs."""

    name: str
    candidates: Candidates
    given: float | None
    """What a sample costs; None: it was not said."""
    cost: float

    @property
    def priced(self) -> bool:
        """Whether its cost was given."""
        return self.given is not None

    def curve(self, rule: Rule, seed: int) -> tuple[Spend, ...]:
        """Its curve; empty where it lacks what the rule needs."""
        c = self.candidates
        if (rule == "majority" and c.codes is None) or (rule == "verifier" and c.scores is None):
            return ()
        return budget.curve(c, rule, self.name, cost=self.cost, seed=seed)


def answer(gap: Gap, limit: Limit, teacher: Sequence[Spend]) -> Answer:
    """Whether more samples of the student reach the teacher, as far as the intervals say.

    ``may close``: none of the budgets at hand does, but the interval of the student's limit lies
    above the teacher's single sample.
    """
    if gap.label == "no budget closes the gap":
        return "no budget"
    if gap.label == "reached":
        return "closed"
    first = min(teacher, key=lambda t: t.k)
    return "may close" if limit.low > first.high else "open"


def words(
    gap: Gap,
    limit: Limit,
    teacher: Sequence[Spend],
    student: Sequence[Spend],
    priced: bool = True,
) -> str:
    """The answer in words, with the numbers it rests on; costs only where both were given."""
    first, best = min(teacher, key=lambda t: t.k), max(teacher, key=lambda t: t.k)
    tends = (
        "With samples without end the student's vote has "
        f"{level(limit.value.value, limit.low, limit.high)} right"
    )
    if limit.low <= 0 and limit.high >= 1:
        few = "are too few" if student[-1].k > 1 else "is too little"
        tends = f"{_samples(student[-1])} of an item {few} to tell what the student's vote tends to"
    theirs = _said(first) + (f", {_said(best)}" if best is not first else "")
    said = [f"{tends}; the teacher has {theirs}."]
    found = answer(gap, limit, teacher)
    if found == "no budget":
        said.append("No budget of the student closes the gap, not even to the teacher's fewest.")
    elif found == "closed":
        with_k = next(s for s in student if s.k == gap.reached_with)
        costs = f", at a cost of {with_k.cost:g}", f", at {first.cost:g}"
        own, theirs = costs if priced else ("", "")
        said.append(
            f"With {_samples(with_k)}{own}, the student lies above the teacher with "
            f"{_samples(first)}{theirs}."
            if with_k.k > 1
            else f"There is no gap to the teacher with {_samples(first)}: the student lies above "
            "it with as many."
        )
    elif found == "may close":
        said.append(
            f"More samples may close the gap to the teacher with {_samples(first)}; none of the "
            "student's budgets at hand does for certain."
        )
    else:
        said.append("Whether more samples close the gap cannot be told from these.")
    if gap.out_of_reach and found != "no budget":
        said.append(
            "Out of the student's reach, whatever its budget, is the teacher with "
            f"{min(gap.out_of_reach)} samples or more."
            if set(gap.out_of_reach) == {t.k for t in teacher if t.k >= min(gap.out_of_reach)}
            else ""
        )
    return joined(said)


@measure
class Budget(RecordedMeasure):
    """Accuracy over the number of samples, its limits, cost, and who is best at each cost.

    Curves have k as their severity; ``params`` hold the cost of an item at k and whether no other
    budget of either beats it (``pareto``). ``limit of the majority`` is that of the vote with
    samples without end. Coverage has no limit but 1: ``limit of coverage`` is what the samples at
    hand cover, and its params say how far it can come with ten times as many, by the rule of three
    for items that were never solved. Items are the units of every interval.
    Source: Chen et al. 2025 (arXiv 2504.14047).
    """

    id = "ensemble.budget"
    about = "accuracy over samples and cost, its limits, and whether a budget closes the gap"
    direction = "higher"
    range = (0.0, 1.0)
    unit = "accuracy"
    told_as = "candidates"
    source = "Chen et al. 2025, arXiv:2504.14047"

    def read(self, recorded: Recorded, student: str | None, seed: int) -> list[Measurement]:
        """Curves, limits, cost; nothing without the teacher's candidates."""
        if recorded.candidates is None:
            return []
        own, of = None, recorded.of(student)
        price = _or_1(recorded.cost, of.cost)
        teacher = _Side("teacher", recorded.candidates, recorded.cost, price)
        if of.candidates is not None:
            price = _or_1(of.cost, recorded.cost)
            own = _Side("student", of.candidates, of.cost, price)
        curves = {
            rule: (teacher.curve(rule, seed), () if own is None else own.curve(rule, seed))
            for rule in _CURVES
        }
        rows = []
        for rule, statistic in _CURVES.items():
            rows += self._curve(statistic, *curves[rule], seed)
        return [
            *rows,
            *self._majority(teacher, own, curves["majority"], seed),
            self._coverage(teacher, own, all(curves["majority"]), seed),
            *self._cost(recorded, student),
        ]

    def _majority(
        self,
        teacher: _Side,
        own: _Side | None,
        curves: tuple[tuple[Spend, ...], tuple[Spend, ...]],
        seed: int,
    ) -> list[Measurement]:
        if not curves[0]:
            return []
        limit = budget.majority_limit(teacher.candidates)
        mine, told = None, {}
        if own is not None and curves[1]:
            mine = budget.majority_limit(own.candidates)
            gap = budget.gap(curves[1], mine, curves[0])
            told = {
                "words": words(gap, mine, *curves, priced=teacher.priced and own.priced),
                "answer": answer(gap, mine, curves[0]),
                "out_of_reach": list(gap.out_of_reach),
                "reached_with": gap.reached_with,
            }
        made = row(
            self, "limit of the majority", limit.value, NOTHING if mine is None else mine.value,
            seed=seed, params=told,
            intervals=((limit.low, limit.high), None if mine is None else (mine.low, mine.high)),
        )  # fmt: skip
        return [made]

    def _coverage(self, teacher: _Side, own: _Side | None, voted: bool, seed: int) -> Measurement:
        told: dict[str, Any] = {}
        ends: list[tuple[float, float] | None] = []
        values: list[Estimate] = []
        for prefix, side in (("", teacher), ("student_", own)):
            if side is None:
                values.append(NOTHING)
                ends.append(None)
                continue
            found = budget.coverage_limit(side.candidates)
            ahead = BEYOND * side.candidates.samples
            top, end = found.at(ahead)
            values.append(found.solved)
            # No number of failures shows that an item is never solved
            ends.append((bounds(found.solved)[0], 1.0))
            told |= {
                f"{prefix}never": found.never,
                f"{prefix}rate": found.rate,
                f"{prefix}ahead": [ahead, *plain((top.value, end))],
            }
        told["words"] = _never(told, teacher)
        if own is not None and not voted:
            # Every coverage tends to 1, so it decides nothing
            told |= {"answer": "open", "words": f"{told['words']} {_NO_VOTE}"}
        return row(
            self, "limit of coverage", *values, seed=seed, params=told, intervals=(ends[0], ends[1])
        )

    def _cost(self, recorded: Recorded, student: str | None) -> list[Measurement]:
        """The cost of a sample of each, as it was given: a number without an interval."""
        given = recorded.cost, recorded.of(student).cost
        if given == (None, None) or recorded.candidates is None:
            return []
        theirs, mine = (math.nan if cost is None else cost for cost in given)
        return [
            Measurement(
                self.id,
                self.area,
                self.told_as,
                statistic="cost",
                teacher=theirs,
                student=mine,
                n=recorded.candidates.items,
                unit="cost of a sample",
                direction="lower",
            )
        ]

    def _curve(
        self, statistic: str, teacher: Sequence[Spend], student: Sequence[Spend], seed: int
    ) -> list[Measurement]:
        best = {(s.name, s.k) for s in budget.pareto([*teacher, *student])}
        theirs, mine = ({s.k: s for s in curve} for curve in (teacher, student))
        rows = []
        for k in sorted({*theirs, *mine}):
            told: dict[str, Any] = {}
            pair = []
            for prefix, spend in (("", theirs.get(k)), ("student_", mine.get(k))):
                pair.append(NOTHING if spend is None else spend.accuracy)
                if spend is not None:
                    told |= {
                        f"{prefix}cost": spend.cost,
                        f"{prefix}pareto": (spend.name, k) in best,
                        **({"how": spend.how} if spend.how != "exact" else {}),
                    }
            ends = [None if s is None else (s.low, s.high) for s in (theirs.get(k), mine.get(k))]
            rows.append(
                row(
                    self, statistic, *pair, seed=seed, severity=k, params=told,
                    intervals=(ends[0], ends[1]),
                )
            )  # fmt: skip
        return rows


_NO_VOTE = "What a vote tends to cannot be told without the answers of both."


def _never(told: dict[str, Any], teacher: _Side) -> str:
    n, never = teacher.candidates.samples, told["never"]
    if not never:
        return f"Every item was solved in {n} samples."
    ahead, top, end = told["ahead"]
    return (
        f"{never:,} of {teacher.candidates.items:,} items were never solved in {n} samples; of "
        f"such an item up to {100 * told['rate']:.2g} % of samples may be right, so with {ahead:,} "
        f"samples coverage is at most {percent(top, 1)} (95 % interval up to {percent(end, 1)})."
    )


def _said(spend: Spend) -> str:
    return f"{level(spend.accuracy.value, spend.low, spend.high)} with {_samples(spend)}"


def _samples(spend: Spend) -> str:
    return "1 sample" if spend.k == 1 else f"{spend.k:,} samples"


def _or_1(*costs: float | None) -> float:
    """The first cost that was given, else 1."""
    return next((c for c in costs if c is not None), 1.0)
