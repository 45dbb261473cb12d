"""From readings of an ensemble to rows: the teacher, and one student beside it."""

from __future__ import annotations

import math

from ringtest.compare import Failure, as_level, failed_row, row
from ringtest.condition import Condition
from ringtest.measure import EnsembleMeasure, Measure, Reading
from ringtest.measurement import Measurement


def ensemble_rows(
    entry: EnsembleMeasure, condition: Condition, found: list[Reading] | Failure, seed: int
) -> list[Measurement]:
    """One context row for each reading of an ensemble."""
    if isinstance(found, Failure):
        return [failed_row(entry, condition.id, found, severity=condition.severity)]
    return [ensemble_row(entry, condition.id, r, seed, condition.severity) for r in found]


def ensemble_row(
    entry: Measure, condition: str, r: Reading, seed: int, severity: float | None = None
) -> Measurement:
    """A row that stands for itself: what the teacher has, and the student if it has it, too.

    Where there is no student, the standard error is that of the teacher's value.
    """
    fields = {
        "severity": severity,
        "params": dict(r.params),
        "statistic": r.statistic,
        "slice": r.slice,
        "unit": r.unit or entry.unit,
    }
    if r.reason or r.teacher is None:
        why = Failure("not_measurable", r.reason or "the teacher has no value")
        return failed_row(entry, condition, why, **fields)
    if r.estimate.units:
        delta, value = r.estimate - r.teacher, r.estimate.value
        return row(entry, condition, delta, r.teacher.value, value, seed=seed, **fields)
    alone = row(entry, condition, r.teacher, r.teacher.value, math.nan, seed=seed, **fields)
    return as_level(alone)
