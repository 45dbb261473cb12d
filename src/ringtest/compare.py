"""From readings to paired differences of the student and the teacher, and to rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ringtest import estimate as estimates
from ringtest import inference, margins
from ringtest.condition import Condition
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import Measure, ModelMeasure, NotMeasurable, Reading, Setting
from ringtest.measurement import Measurement, Status


@dataclass(frozen=True)
class Failure:
    """Why there is no comparison."""

    status: Status
    reason: str
    of_teacher: bool = False
    """Whether it was a member or a reference that failed, not the student."""


@dataclass(frozen=True)
class Paired:
    """A student's reading beside that of the mean member, on the same rows."""

    reading: Reading
    """The student's."""
    teacher_layer: str | None
    teacher: float
    delta: Estimate
    """student - mean member."""


def read(
    entry: ModelMeasure, evidence: Mapping[str, Evidence], names: Sequence[str], at: Setting
) -> dict[str, list[Reading] | Failure]:
    """Readings of each named model; a failure of one model stays its own."""
    out: dict[str, list[Reading] | Failure] = {}
    for name in names:
        out[name] = guarded(evidence[name], lambda e: entry.read(e, at))
    return out


def guarded(evidence: Evidence, function: Callable[[Evidence], Any]) -> Any:
    """What the function says of evidence, or a `Failure` that says why it does not."""
    if evidence.failed or (evidence.clean is not None and evidence.clean.failed):
        return Failure("error", f"{evidence.subject} {evidence.failed}")
    try:
        return function(evidence)
    except NotMeasurable as error:
        return Failure("not_measurable", f"{evidence.subject}: {error}")
    # A measure that crashes is an error in the report, never a pass and never a lost audit.
    except Exception as error:
        return Failure("error", f"{evidence.subject}: {type(error).__name__}: {error}")


def pair(
    readings: Mapping[str, list[Reading] | Failure], members: Sequence[str], student: str
) -> list[Paired] | Failure:
    """The student's readings beside the mean member's: same statistic, concept, slice and depth."""
    theirs = []
    for name in members:
        of_member = readings[name]
        if isinstance(of_member, Failure):
            return of_member
        theirs.append(of_member)
    mine = readings[student]
    if isinstance(mine, Failure):
        return mine
    out = []
    for reading in mine:
        matches = [_nearest(reading, candidates) for candidates in theirs]
        found = [m for m in matches if m is not None]
        if len(found) < len(members):
            continue
        why = next((r.reason for r in (reading, *found) if r.reason), "")
        if why:
            unread = replace(reading, estimate=estimates.NOTHING, reason=why)
            out.append(Paired(unread, found[0].layer, math.nan, estimates.NOTHING))
            continue
        if any(m.estimate.units != reading.estimate.units for m in found):
            continue
        teacher = estimates.mean([m.estimate for m in found])
        delta = reading.estimate - teacher
        out.append(Paired(reading, found[0].layer, teacher.value, delta))
    return out


def _nearest(reading: Reading, candidates: Sequence[Reading]) -> Reading | None:
    same = [
        c
        for c in candidates
        if (c.statistic, c.concept, c.slice) == (reading.statistic, reading.concept, reading.slice)
    ]
    return min(same, key=lambda c: abs(c.depth - reading.depth), default=None)


def row(
    entry: Measure,
    condition: str,
    delta: Estimate,
    teacher: float,
    student: float,
    *,
    seed: int,
    **fields: Any,
) -> Measurement:
    """A row from a paired difference: harm, standard error and interval filled in."""
    se = inference.standard_error(delta, seed)
    df = delta.dof
    low, high = inference.interval(delta.value, se, df, margins.CI_LEVEL)
    sign = -1.0 if entry.direction == "higher" else 1.0
    return Measurement(
        entry.id,
        entry.area,
        condition,
        teacher=teacher,
        student=student,
        delta=delta.value,
        # + 0.0 turns -0.0 into 0.0.
        harm=sign * delta.value + 0.0,
        se=se,
        df=df if math.isfinite(se) else math.nan,
        ci_low=low,
        ci_high=high,
        ci_level=margins.CI_LEVEL,
        n=delta.n,
        unit=fields.pop("unit", entry.unit),
        direction=entry.direction,
        **fields,
    )


def context_rows(
    entry: ModelMeasure, condition: Condition, found: list[Paired] | Failure, seed: int
) -> list[Measurement]:
    """One context row for each paired reading."""
    if isinstance(found, Failure):
        return [failed_row(entry, condition.id, found, severity=condition.severity)]
    return [_context_row(entry, condition, p, seed) for p in found]


def _context_row(entry: ModelMeasure, condition: Condition, p: Paired, seed: int) -> Measurement:
    fields = {
        "severity": condition.severity,
        "params": {"depth": p.reading.depth} if p.reading.layer else {},
        "statistic": p.reading.statistic,
        "concept": p.reading.concept,
        "slice": p.reading.slice,
        "teacher_layer": p.teacher_layer,
        "student_layer": p.reading.layer,
    }
    if p.reading.reason:
        why = Failure("not_measurable", p.reading.reason)
        return failed_row(entry, condition.id, why, **fields)
    value = p.reading.estimate.value
    return row(entry, condition.id, p.delta, p.teacher, value, seed=seed, **fields)


def failed_row(entry: Measure, condition: str, why: Failure, **fields: Any) -> Measurement:
    """A row that says why there is no number."""
    return Measurement(
        entry.id,
        entry.area,
        condition,
        status=why.status,
        reason=why.reason,
        unit=entry.unit,
        direction=entry.direction,
        **fields,
    )
