"""Mean member -> ensemble -> selected -> oracle, and the student placed on that line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ringtest import margins
from ringtest.ensembles.measured import LEVEL, Measured, constant, nothing, spread
from ringtest.errors import DataError
from ringtest.estimate import Array, Estimate, ratio
from ringtest.inference import bootstrap, interval


@dataclass(frozen=True)
class Step:
    """One level of the waterfall."""

    name: str
    value: Estimate
    """Accuracy, 0..1."""
    low: float
    """Interval of the accuracy."""
    high: float
    rise: Estimate
    """Value - that of the step before (first step: the value; student: over the mean member)."""
    rise_low: float
    """Interval of the rise, paired by item."""
    rise_high: float


@dataclass(frozen=True)
class Placed:
    """(student - mean member) / (a step - mean member)."""

    of: str
    """Name of the step."""
    share: Measured
    """0: the student is at the mean member, 1: at the step; not measurable where the interval of
    the step's gain spans 0."""
    low: float
    """Percentile interval from the paired bootstrap; NaN where not measurable."""
    high: float


@dataclass(frozen=True)
class Waterfall:
    """The steps in order, and the student's place."""

    steps: tuple[Step, ...]
    """Mean member, ensemble, and where given selected and oracle."""
    student: Step
    """Its rise is over the mean member."""
    placed: tuple[Placed, ...]
    """The student's share of the gain of every step but the first."""
    items: int
    level: float


def waterfall(
    member: Estimate,
    ensemble: Estimate,
    student: Estimate,
    selected: Estimate | None = None,
    oracle: Estimate | None = None,
    seed: int = 0,
    resamples: int = margins.RESAMPLES,
    level: float = LEVEL,
) -> Waterfall:
    """Place the student on the way from the mean member to the oracle.

    Args:
        member: accuracy of the mean member, 0..1, with influence by item.
        ensemble: of the combined members, or of the majority vote.
        student: of the student.
        selected: of what the verifier picks; None: there is none.
        oracle: coverage; None: unknown.
        seed: of the one bootstrap over items, shared by all steps and shares.
        resamples: number of resamples.
        level: of all intervals.

    Returns:
        Steps with t intervals on bootstrap standard errors, shares with percentile intervals.

    Raises:
        DataError: a step that is NOTHING, other items, fewer than two items.
    """
    if resamples < 2:
        raise DataError("resamples", f"{resamples} have no spread", "give 2 or more")
    line = {"mean member": member, "ensemble": ensemble, "selected": selected, "oracle": oracle}
    given = {name: e for name, e in line.items() if e is not None}
    models = {**given, "student": student}
    for name, e in models.items():
        if not math.isfinite(e.value) or not np.isfinite(e.influence).all():
            raise DataError(name, "was not measured", "leave the step out")
        if e.units != member.units:
            raise DataError(
                name, f"is on {e.units} items, the mean member on {member.units}", "use the same"
            )
    if member.units < 2:
        raise DataError("items", f"{member.units} has no interval", "give at least two items")
    columns = np.column_stack([e.influence for e in models.values()])
    drawn = dict(zip(models, bootstrap(columns, seed, resamples).T, strict=True))
    names = list(given)
    before = dict(zip(names[1:], names[:-1], strict=True)) | {"student": names[0]}
    steps = {name: _step(name, models, drawn, before.get(name), level) for name in models}
    placed = tuple(_placed(name, models, drawn, names[0], level) for name in names[1:])
    return Waterfall(
        tuple(steps[name] for name in names), steps["student"], placed, member.units, level
    )


def _step(
    name: str,
    models: dict[str, Estimate],
    drawn: dict[str, Array],
    before: str | None,
    level: float,
) -> Step:
    value, draws = models[name], drawn[name]
    rise = value if before is None else value - models[before]
    risen = draws if before is None else draws - drawn[before]
    return Step(
        name,
        value,
        *_interval(value, draws, level),
        rise,
        *_interval(rise, risen, level),
    )


def _interval(value: Estimate, draws: Array, level: float) -> tuple[float, float]:
    if constant(value):
        return spread(value, level)
    return interval(value.value, float(draws.std(ddof=1)), value.dof, level)


def _placed(
    name: str, models: dict[str, Estimate], drawn: dict[str, Array], start: str, level: float
) -> Placed:
    top, bottom = models["student"] - models[start], models[name] - models[start]
    gained = drawn[name] - drawn[start]
    low, high = _interval(bottom, gained, level)
    if low <= 0 <= high:
        why = (
            f"{name} - {start} is {_points(bottom.value)} points, "
            f"{level:.0%} interval {_points(low)} to {_points(high)}, which holds 0"
        )
        return Placed(name, nothing(why), math.nan, math.nan)
    shares = (top.value + drawn["student"] - drawn[start]) / (bottom.value + gained)
    ends = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return Placed(name, Measured(ratio(top, bottom)), float(ends[0]), float(ends[1]))


def sentence(w: Waterfall) -> str:
    """The waterfall in words: every step with its rise, then the student and its shares."""
    first, *later = w.steps
    parts = [f"Of {w.items:,} items the mean member has {first.value.value:.1%} right"]
    parts += [f"the {s.name} {s.value.value:.1%} ({_rise(s)})" for s in later]
    said = ", ".join(parts) + "."
    student = w.student
    said += (
        f" The student has {student.value.value:.1%}, {_rise(student)} over the mean member "
        f"({w.level:.0%} intervals)."
    )
    for p in w.placed:
        if p.share.measured:
            said += (
                f" That is {p.share.estimate.value:.0%} ({p.low:.0%} to {p.high:.0%}) "
                f"of the gain of the {p.of}."
            )
        else:
            said += f" Its share of the gain of the {p.of} is not measurable: {p.share.reason}."
    return said


def _rise(s: Step) -> str:
    return f"{_points(s.rise.value)} points, {_points(s.rise_low)} to {_points(s.rise_high)}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
