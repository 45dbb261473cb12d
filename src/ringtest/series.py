"""Curves over severity: what a measure says of one condition as it grows stronger."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from ringtest import compare, estimate, inference, margins
from ringtest.compare import Failure, Paired
from ringtest.condition import Condition
from ringtest.estimate import Estimate
from ringtest.measure import ModelMeasure, NotMeasurable
from ringtest.measurement import AREA, ERROR_RATIO, RISE_RATIO, Measurement

_Line = tuple[str, str | None, str | None]
"""Statistic, concept and layer: what the readings of one line share."""


@dataclass
class Series:
    """What one student showed of the measures that have a curve, condition by condition.

    Clean rows are severity 0. Readings of slices are left out: each would be a curve of its own.
    """

    _clean: dict[str, list[Paired] | Failure] = field(default_factory=dict)
    _seen: dict[tuple[str, str], dict[float, list[Paired] | Failure]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _entries: dict[str, ModelMeasure] = field(default_factory=dict)

    def see(self, entry: ModelMeasure, condition: Condition, found: list[Paired] | Failure) -> None:
        """Readings under one condition; those that are no point of a curve are passed over."""
        # Picked at another strength, rows are others: there is no curve of the same ones.
        if not entry.curve or condition.selects:
            return
        self._entries[entry.id] = entry
        if condition.role == "clean":
            self._clean[entry.id] = found
        elif condition.severity is not None and condition.severity > 0:
            self._seen[entry.id, condition.id][condition.severity] = found

    def rows(self, seed: int) -> list[Measurement]:
        """Rows of context for each line that is known at severity 0 and two others or more.

        One for each of the measure's ``summaries``, by default the area: the trapezoids over
        [0, largest severity] over the largest severity. Differences are paired row by row. Where a
        point has no value, or a ratio nothing to stand on, the row says why instead.
        """
        out = []
        for (name, condition), points in self._seen.items():
            entry = self._entries[name]
            start = self._start(entry, points)
            if len(points) > 1 and start is not None:
                out += _rows(entry, condition, {0.0: start, **dict(sorted(points.items()))}, seed)
        return out

    def _start(
        self, entry: ModelMeasure, points: dict[float, list[Paired] | Failure]
    ) -> list[Paired] | Failure | None:
        if entry.unchanged is None:
            return self._clean.get(entry.id)
        some = next((p for p in points.values() if not isinstance(p, Failure)), [])
        return [_known(p, entry.unchanged) for p in some]


def weights(severities: Sequence[float]) -> list[float]:
    """Weights of the trapezoidal rule over rising severities from 0, over the largest: sum 1.

    >>> weights([0.0, 1.0, 2.0])
    [0.25, 0.5, 0.25]
    """
    gaps = np.diff(severities)
    both = (np.append(gaps, 0.0) + np.insert(gaps, 0, 0.0)) / 2
    return [float(w) for w in both / severities[-1]]


def _known(p: Paired, value: float) -> Paired:
    """A point at which every model has the same value, whatever its rows."""
    mine = p.reading.estimate
    flat = replace(mine, value=value, influence=np.zeros_like(mine.influence))
    return replace(
        p,
        reading=replace(p.reading, estimate=flat, reason=""),
        teacher=value,
        delta=replace(flat, value=0.0),
    )


def _rows(
    entry: ModelMeasure, condition: str, points: dict[float, list[Paired] | Failure], seed: int
) -> list[Measurement]:
    severities = [float(s) for s in points]
    params = {"severities": severities}
    failed = next((p for p in points.values() if isinstance(p, Failure)), None)
    if failed is not None:
        return [
            compare.failed_row(entry, condition, failed, statistic=name, params=params)
            for name in entry.summaries
        ]
    lines: dict[_Line, list[Paired]] = defaultdict(list)
    for found in points.values():
        for p in found if not isinstance(found, Failure) else ():
            r = p.reading
            if r.slice is None:
                lines[r.statistic, r.concept, r.layer].append(p)
    return [
        _row(entry, condition, line, params, name, seed)
        for line in lines.values()
        for name in entry.summaries
    ]


def _row(
    entry: ModelMeasure,
    condition: str,
    line: list[Paired],
    params: dict[str, list[float]],
    name: str,
    seed: int,
) -> Measurement:
    first = line[-1].reading
    fields = {
        "statistic": name,
        "params": {**params, "of": first.statistic},
        "concept": first.concept,
        "teacher_layer": line[-1].teacher_layer,
        "student_layer": first.layer,
    }
    why = next((p.reading.reason for p in line if p.reading.reason), "")
    if not why and len(line) < len(params["severities"]):
        why = "not read at every severity"
    if not why and len({p.delta.units for p in line}) > 1:
        why = "the rows of its severities are not the same"
    if why:
        return compare.failed_row(entry, condition, Failure("not_measurable", why), **fields)
    try:
        found = _SUMMARIES[name](line, params["severities"])
    except NotMeasurable as error:
        why = str(error)
        return compare.failed_row(entry, condition, Failure("not_measurable", why), **fields)
    fields["unit"] = found.unit or first.unit or entry.unit
    return compare.row(
        entry, condition, found.delta, found.teacher, found.student, seed=seed, **fields
    )


@dataclass(frozen=True)
class _Summary:
    """What is told of a line."""

    delta: Estimate
    """student - mean member."""
    teacher: float
    student: float
    unit: str = ""
    """Empty: that of the points."""


def _area(line: Sequence[Paired], severities: Sequence[float]) -> _Summary:
    shares = weights(severities)
    delta = estimate.combine([p.delta for p in line], shares)
    teacher = math.fsum(w * p.teacher for w, p in zip(shares, line, strict=True))
    return _Summary(
        delta, teacher, estimate.combine([p.reading.estimate for p in line], shares).value
    )


def _error_ratio(line: Sequence[Paired], _severities: Sequence[float]) -> _Summary:
    """Sum of the errors at all severities but 0, over the teacher's."""
    return _over_teacher(line[1:], [1.0] * (len(line) - 1), "error")


def _rise_ratio(line: Sequence[Paired], _severities: Sequence[float]) -> _Summary:
    """The same of the errors less those at severity 0."""
    return _over_teacher(line, [1.0 - len(line), *[1.0] * (len(line) - 1)], "rise of error")


def _over_teacher(line: Sequence[Paired], shares: list[float], what: str) -> _Summary:
    """A weighted sum of the student's points over that of the mean member's.

    NotMeasurable where the teacher's sum, by its interval, may be 0 or less.
    """
    if any(p.alone for p in line):
        raise NotMeasurable("there is no teacher to hold it against")
    mine = estimate.combine([p.reading.estimate for p in line], shares)
    theirs = mine - estimate.combine([p.delta for p in line], shares)
    se = inference.standard_error(theirs)
    low, _ = inference.interval(theirs.value, se, theirs.dof, margins.CI_LEVEL)
    # Without a single error there is no error of the error either.
    if not (theirs.value > 0 and low > 0):
        each = f"{theirs.value / sum(w > 0 for w in shares):.3g} a severity"
        raise NotMeasurable(f"the teacher's {what} ({each}) may be 0: nothing to divide by")
    found = estimate.ratio(mine, theirs)
    if not np.any(mine.influence):
        # No error at all has no error of its own, and would be certain.
        found = replace(found, influence=np.zeros(0))
    one = replace(found, value=found.value - 1.0)
    return _Summary(one, 1.0, found.value, "times the teacher's")


_SUMMARIES: Final[dict[str, Callable[[Sequence[Paired], Sequence[float]], _Summary]]] = {
    AREA: _area,
    ERROR_RATIO: _error_ratio,
    RISE_RATIO: _rise_ratio,
}
