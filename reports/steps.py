"""The way from the mean member to the oracle, and the student on it, as rows of a report say it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ringtest.measurement import Measurement
from ringtest.reports import names, view

MEASURE: Final = "ensemble.waterfall"
ORDER: Final = ("mean member", "ensemble", "selected", "oracle")
"""Steps in the order of the picture; others follow as they come."""

Span = tuple[float, float]
NOWHERE: Final[Span] = (math.nan, math.nan)


@dataclass(frozen=True)
class Scale:
    """How values of one unit are written: shares in percent, others as they are."""

    unit: str

    @property
    def shares(self) -> bool:
        """Whether its values are shares of the items."""
        return self.unit in _SHARES

    @property
    def word(self) -> str:
        """What a value is, for the head of a table."""
        return "right" if self.shares else view.clean(names.statistic(self.unit))

    def level(self, value: float) -> str:
        """A value; a dash where there is none."""
        return percent(value) if self.shares else view.shown(value)

    def levels(self, ends: Span) -> str:
        """Its interval; empty where there is none."""
        return percents(ends) if self.shares else _to(*map(view.shown, ends))

    def rise(self, value: float) -> str:
        """A difference with its sign."""
        if self.shares:
            return "–" if not math.isfinite(value) else f"{_signed(100 * value)} points"
        return _plus(value)

    def rises(self, ends: Span) -> str:
        """Its interval; empty where there is none."""
        if self.shares:
            return _to(*("–" if not math.isfinite(v) else _signed(100 * v) for v in ends))
        return _to(*map(_plus, ends))


_SHARES: Final = ("accuracy", "share", "")


@dataclass(frozen=True)
class Step:
    """One level of the waterfall."""

    name: str
    value: float
    span: Span
    """Interval of the value."""
    rise: float
    """Over the step before; NaN for the first."""
    rise_span: Span
    share: float
    """Of the way from the first step to this one that the student has gone; NaN where unknown."""
    share_span: Span
    share_reason: str
    """Why there is no share; empty where nobody asked."""


@dataclass(frozen=True)
class Waterfall:
    """All levels that were measured under one condition."""

    condition: str
    steps: tuple[Step, ...]
    student: float
    """NaN where there is none."""
    student_span: Span
    sentence: str
    """All of it in words."""
    n: int
    scale: Scale


def waterfalls(rows: Iterable[Measurement]) -> list[Waterfall]:
    """One for each condition with at least two levels, in the order of the rows."""
    held: dict[str, dict[str, Measurement]] = {}
    for row in rows:
        if row.measure == MEASURE and math.isfinite(row.teacher):
            held.setdefault(row.condition, {}).setdefault(row.statistic, row)
    return [_waterfall(list(found.values())) for found in held.values() if len(found) > 1]


def _waterfall(rows: Sequence[Measurement]) -> Waterfall:
    last = len(ORDER)
    rows = sorted(rows, key=lambda r: ORDER.index(r.statistic) if r.statistic in ORDER else last)
    before = [math.nan, *(row.teacher for row in rows)]
    students = [r for r in rows if math.isfinite(r.student)]
    return Waterfall(
        rows[0].condition,
        tuple(_step(row, prior) for row, prior in zip(rows, before, strict=False)),
        students[0].student if students else math.nan,
        student_span(students[0]) if students else NOWHERE,
        next((text(r, "sentence") for r in rows if text(r, "sentence")), ""),
        rows[0].n,
        Scale(rows[0].unit),
    )


def _step(row: Measurement, before: float) -> Step:
    return Step(
        view.clean(row.statistic),
        row.teacher,
        span(row, "teacher_interval"),
        row.teacher - before,
        span(row, "rise_interval"),
        single(row, "share"),
        span(row, "share_interval"),
        text(row, "share_reason"),
    )


def single(row: Measurement, key: str) -> float:
    """A number among a row's params, else NaN: a report may come from anywhere."""
    return _finite(row.params.get(key))


def several(row: Measurement, key: str, count: int) -> tuple[float, ...]:
    """So many finite numbers among a row's params, else as many NaN."""
    values = row.params.get(key)
    if not isinstance(values, list | tuple) or len(values) != count:
        return (math.nan,) * count
    found = tuple(map(_finite, values))
    return found if all(map(math.isfinite, found)) else (math.nan,) * count


def _finite(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else math.nan


def span(row: Measurement, key: str) -> Span:
    """An interval among a row's params."""
    low, high = several(row, key, 2)
    return low, high


def student_span(row: Measurement) -> Span:
    """Interval of the student's own value."""
    return span(row, "student_interval")


def text(row: Measurement, key: str) -> str:
    """Words among a row's params, safe to show."""
    value = row.params.get(key)
    return view.clean(value) if isinstance(value, str) else ""


def percent(value: float, digits: int = 1) -> str:
    """An accuracy or a share; a dash where there is none."""
    return "–" if not math.isfinite(value) else f"{_number(100 * value, digits)} %"


def percents(ends: Span, digits: int = 1) -> str:
    """An interval of accuracies or shares; empty where there is none."""
    low, high = (_number(100 * v, digits) if math.isfinite(v) else "–" for v in ends)
    said = _to(low, high)
    return f"{said} %" if said else ""


def _to(low: str, high: str) -> str:
    return "" if "–" in (low, high) else f"{low} to {high}"


def _number(value: float, digits: int) -> str:
    rounded = f"{value:.{digits}f}"
    return rounded.lstrip("-") if float(rounded) == 0 else rounded.replace("-", "−")


def _signed(value: float) -> str:
    rounded = f"{value:+.1f}"
    return "0.0" if float(rounded) == 0 else rounded.replace("-", "−")


def _plus(value: float) -> str:
    return f"{'+' if value > 0 else ''}{view.shown(value)}"
