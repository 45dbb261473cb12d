"""Curves over severity: what a measure says of one condition as it grows stronger."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ringtest import compare, estimate
from ringtest.compare import Failure, Paired
from ringtest.condition import Condition
from ringtest.measure import ModelMeasure
from ringtest.measurement import AREA, Measurement

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
        if not entry.curve:
            return
        self._entries[entry.id] = entry
        if condition.role == "clean":
            self._clean[entry.id] = found
        elif condition.severity is not None and condition.severity > 0:
            self._seen[entry.id, condition.id][condition.severity] = found

    def rows(self, seed: int) -> list[Measurement]:
        """One row of context for each line that is known at severity 0 and two others or more.

        Its values are the trapezoids over [0, largest severity] over the largest severity, the
        difference paired row by row. Where a point has no value, the row says why instead.
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
        return [compare.failed_row(entry, condition, failed, statistic=AREA, params=params)]
    lines: dict[_Line, list[Paired]] = defaultdict(list)
    for found in points.values():
        for p in found if not isinstance(found, Failure) else ():
            r = p.reading
            if r.slice is None:
                lines[r.statistic, r.concept, r.layer].append(p)
    return [_row(entry, condition, line, params, seed) for line in lines.values()]


def _row(
    entry: ModelMeasure,
    condition: str,
    line: list[Paired],
    params: dict[str, list[float]],
    seed: int,
) -> Measurement:
    first = line[-1].reading
    fields = {
        "statistic": AREA,
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
    shares = weights(params["severities"])
    delta = estimate.combine([p.delta for p in line], shares)
    teacher = math.fsum(w * p.teacher for w, p in zip(shares, line, strict=True))
    student = estimate.combine([p.reading.estimate for p in line], shares).value
    return compare.row(entry, condition, delta, teacher, student, seed=seed, **fields)
