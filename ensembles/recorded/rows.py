"""From estimates of recordings to rows of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ringtest import compare
from ringtest.ensemble_rows import ensemble_row
from ringtest.ensembles.measured import bounds, constant, plain, spread
from ringtest.ensembles.wording import percent, percents, points
from ringtest.estimate import NOTHING, Estimate
from ringtest.measure import Reading, RecordedMeasure
from ringtest.measurement import Measurement

Ends = tuple[float, float]
NO_INTERVAL: Final = "no interval"


def row(
    entry: RecordedMeasure,
    statistic: str,
    teacher: Estimate,
    student: Estimate = NOTHING,
    *,
    seed: int,
    severity: float | None = None,
    lower: bool = False,
    reason: str = "",
    intervals: tuple[Ends | None, Ends | None] = (None, None),
    params: dict[str, Any] | None = None,
    unit: str = "",
) -> Measurement:
    """One context row.

    Args:
        entry: the measure.
        statistic: what the numbers are.
        teacher: NOTHING where it has no such number.
        student: the same; paired with the teacher, on the same items.
        seed: of the standard error's bootstrap.
        severity: such as k.
        lower: whether lower is better.
        reason: why neither could be measured, where neither was.
        intervals: of teacher and student; None: that of a mean of outcomes in [0, 1].
        params: what else the row tells.
        unit: where it is another than the measure's.
    """
    values = {"teacher": teacher, "student": student}
    told = dict(params or {})
    for (side, value), given in zip(values.items(), intervals, strict=True):
        if measured(value):
            told[f"{side}_interval"] = plain(bounds(value) if given is None else given)
    if not measured(student):
        student = NOTHING
    if measured(teacher) or not student.units:
        why = "" if measured(teacher) else reason or "was not measured"
        reading = Reading(student, statistic, teacher=teacher, params=told, reason=why, unit=unit)
        made = ensemble_row(entry, entry.told_as, reading, seed, severity)
    else:
        # The student's alone: a budget that the teacher's samples do not reach, say
        fields = {"severity": severity, "params": told, "statistic": statistic}
        made = compare.as_level(
            compare.row(
                entry, entry.told_as, student, math.nan, student.value, seed=seed,
                unit=unit or entry.unit, **fields,
            )
        )  # fmt: skip
    if measured(teacher) and student.units and constant(student - teacher):
        made.ci_low, made.ci_high = spread(student - teacher)
    return replace(made, direction="lower", harm=-made.harm + 0.0) if lower else made


def measured(estimate: Estimate) -> bool:
    """Whether there is a number."""
    return estimate.units > 0 and math.isfinite(estimate.value)


def gained(estimate: Estimate) -> str:
    """A difference of shares with its interval: ``+3.4 points (+1.0 to +5.8)``."""
    low, high = possible(spread(estimate))
    ends = f"{points(low)} to {points(high)}" if math.isfinite(low) else NO_INTERVAL
    return f"{points(estimate.value)} points ({ends})"


def possible(ends: Ends) -> Ends:
    """An interval of a difference of shares, cut to [-1, 1]; NaN stays NaN."""
    return float(np.clip(ends[0], -1.0, 1.0)), float(np.clip(ends[1], -1.0, 1.0))


def share(estimate: Estimate) -> str:
    """A share with its interval: ``50.3 % (48.0 to 52.6 %)``."""
    return level(estimate.value, *bounds(estimate))


def level(value: float, low: float, high: float) -> str:
    """A share and the ends of its interval, of which one item has none."""
    ends = percents(low, high, 1) if math.isfinite(low) else NO_INTERVAL
    return f"{percent(value, 1)} ({ends})"


def joined(sentences: Sequence[str]) -> str:
    """Sentences one after another, without those that are empty."""
    return " ".join(s for s in sentences if s)
