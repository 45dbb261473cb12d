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
    references: float = math.nan
    """Mean of the references, where they were read."""
    alone: str = ""
    """Why there is nothing to hold the reading against; then ``delta`` is the reading itself."""
    control: Estimate | str | None = None
    """Mean of the controls, where there are any, or why it cannot be told."""


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
        return Failure(evidence.failure, f"{evidence.subject} {evidence.failed}")
    try:
        return function(evidence)
    except NotMeasurable as error:
        return Failure("not_measurable", f"{evidence.subject}: {error}")
    # A measure that crashes is an error in the report, never a pass and never a lost audit.
    except Exception as error:
        return Failure("error", f"{evidence.subject}: {type(error).__name__}: {error}")


def pair(
    readings: Mapping[str, list[Reading] | Failure],
    members: Sequence[str],
    student: str,
    references: Sequence[str] = (),
    *,
    level: bool = False,
) -> list[Paired] | Failure:
    """The student's readings beside the mean member's: same statistic, concept, slice and depth.

    Args:
        readings: of each model, by its name.
        members: names of the teacher's members.
        student: name of the student.
        references: names of the references that were read, too.
        level: whether a reading says something even where a single teacher has nothing beside it.
    """
    theirs = []
    mine = readings[student]
    out = []
    if not isinstance(mine, Failure):
        out = [_told(r, r.teacher) for r in mine if r.teacher is not None]
        mine = [r for r in mine if r.teacher is None]
    for name in members:
        of_member = readings[name]
        if isinstance(of_member, Failure):
            alone = level and len(members) == 1 and of_member.status == "not_measurable"
            if alone and not isinstance(mine, Failure):
                why = of_member.reason
                return out + [_alone(r, why, _mean(r, readings, references)) for r in mine]
            return of_member
        theirs.append(of_member)
    if isinstance(mine, Failure):
        return mine
    for reading in mine:
        matches = [nearest(reading, candidates) for candidates in theirs]
        found = [m for m in matches if m is not None]
        if len(found) < len(members):
            continue
        of_members = zip(members, found, strict=True)
        why = reading.reason or next((f"{m}: {r.reason}" for m, r in of_members if r.reason), "")
        if why:
            unread = replace(reading, estimate=estimates.NOTHING, reason=why)
            out.append(Paired(unread, found[0].layer, math.nan, estimates.NOTHING))
            continue
        if any(m.estimate.units != reading.estimate.units for m in found):
            continue
        teacher = estimates.mean([m.estimate for m in found])
        delta = reading.estimate - teacher
        honest = _mean(reading, readings, references)
        out.append(Paired(reading, found[0].layer, teacher.value, delta, honest))
    return out


def over_control(entry: Measure, p: Paired, seed: int) -> dict[str, Any]:
    """What a row tells of the controls: their value, and the student's paired difference to it.

    No control can be a pass or a failure, so no other field of a row knows of them. Shares of rows
    have an interval as Agresti and Min's (2005), with two rows added on which half a time one of
    the two is right alone: where they part on few rows, a sample may hold none of them.
    """
    if p.control is None or p.reading.reason:
        return {}
    if isinstance(p.control, str):
        return {"control_reason": p.control}
    over = p.reading.estimate - p.control
    se = inference.standard_error(over, seed)
    if not math.isfinite(se):
        return {"control": p.control.value, "control_reason": "too few rows for an interval"}
    if _of_rows(entry, p.reading):
        se = math.hypot(se, 1 / min(over.n, over.units))
    reach = inference.interval(over.value, se, over.dof, margins.CI_LEVEL)
    return {"control": p.control.value, "over_control": [over.value, *reach]}


def _of_rows(entry: Measure, reading: Reading) -> bool:
    """Whether it is a share of rows: each is 0 or 1."""
    return (reading.unit or entry.unit) == "share" or reading.statistic == "accuracy"


def _told(reading: Reading, teacher: Estimate) -> Paired:
    """A reading that knows what the teacher reads in its place."""
    return Paired(reading, None, teacher.value, reading.estimate - teacher)


def _alone(reading: Reading, why: str, references: float) -> Paired:
    return Paired(reading, None, math.nan, reading.estimate, references, why)


def _mean(
    reading: Reading, readings: Mapping[str, list[Reading] | Failure], names: Sequence[str]
) -> float:
    """Mean of what some models read in the place of a reading; NaN unless all of them did."""
    values = []
    for name in names:
        found = readings[name]
        match = None if isinstance(found, Failure) else nearest(reading, found)
        values.append(math.nan if match is None else match.estimate.value)
    return sum(values) / len(values) if values else math.nan


def nearest(reading: Reading, candidates: Sequence[Reading]) -> Reading | None:
    """Of candidates of the same statistic, concept and slice the one at the nearest depth."""
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
    params = {**p.reading.params, **({"depth": p.reading.depth} if p.reading.layer else {})}
    if math.isfinite(p.references):
        params["references"] = p.references
    params |= over_control(entry, p, seed)
    fields = {
        "severity": condition.severity,
        "params": params,
        "statistic": p.reading.statistic,
        "concept": p.reading.concept,
        "slice": p.reading.slice,
        "teacher_layer": p.teacher_layer,
        "student_layer": p.reading.layer,
        "unit": p.reading.unit or entry.unit,
    }
    if p.reading.reason:
        why = Failure("not_measurable", p.reading.reason)
        return failed_row(entry, condition.id, why, **fields)
    value = p.reading.estimate.value
    made = row(entry, condition.id, p.delta, p.teacher, value, seed=seed, reason=p.alone, **fields)
    return as_level(made) if p.alone else made


def mark_unmoved(rows: Sequence[Measurement]) -> None:
    """Tell of every context row of outputs where ``shift.size`` saw no shift: ``no_shift``.

    That nothing was lost there is no strength. Nothing else changes: what was lost was lost.
    """
    still = {
        (r.condition, r.severity)
        for r in rows
        if r.measure == "shift.size" and r.params.get("no_shift") is True
    }
    for r in rows:
        seen = r.measure.startswith("outputs.") and (r.condition, r.severity) in still
        if seen and r.status == "context":
            r.params = {**r.params, "no_shift": True}


def as_level(made: Measurement) -> Measurement:
    """A row of which only one side's value and its standard error are known."""
    nothing = math.nan
    return replace(made, delta=nothing, harm=nothing, ci_low=nothing, ci_high=nothing)


def failed_row(entry: Measure, condition: str, why: Failure, **fields: Any) -> Measurement:
    """A row that says why there is no number."""
    return Measurement(
        entry.id,
        entry.area,
        condition,
        status=why.status,
        reason=why.reason,
        unit=fields.pop("unit", entry.unit),
        direction=entry.direction,
        **fields,
    )
