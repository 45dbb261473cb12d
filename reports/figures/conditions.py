"""Teacher against student by condition: scores, corruptions by severity, nearness to members."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from ringtest.measurement import AREA, Measurement
from ringtest.reports import view
from ringtest.reports.figures import curves, dots
from ringtest.reports.figures.curves import Curve

MOST_ROWS = 14
MOST_KINDS = 12
CORRUPTION: Final = "shift.corruption."
_NEAR: Final = {
    "similarity.cka": "CKA with members",
    "similarity.neighbours": "Neighbour overlap with members",
    "outputs.agreement": "Agreement with members",
    "outputs.consistency": "Consistency with itself",
}

Panel = tuple[str, list[Measurement]]


def scores(rows: tuple[Measurement, ...], name: str) -> str | None:
    """Score by condition and by slice, teacher beside student."""
    found = [
        r
        for r in rows
        if r.measure == "outputs.score" and r.statistic != AREA and math.isfinite(r.student)
    ]
    plain = [r for r in found if r.slice is None and not r.condition.startswith(CORRUPTION)]
    slices = [r for r in found if r.slice is not None and r.condition == "clean"]
    panels = [("By condition", plain), ("By slice", slices)]
    return _pairs([p for p in panels if p[1]], name, "Scores", _where, tolerance=False)


def nearness(rows: tuple[Measurement, ...], name: str) -> str | None:
    """Similarity to the members off support and elsewhere, against what is tolerated."""
    found = [r for r in rows if r.headline and r.measure in _NEAR and math.isfinite(r.student)]
    panels: dict[tuple[str, str], list[Measurement]] = {}
    for row in found:
        panels.setdefault((row.measure, row.statistic), []).append(row)
    named = []
    for (measure, statistic), mine in panels.items():
        scale = f", {view.clean(statistic)}" if "(" in statistic else ""
        named.append((f"{_NEAR[measure]}{scale}", mine))
    return _pairs(named, name, "Nearness to the members", _against, tolerance=True)


def _where(row: Measurement) -> str:
    return view.clean(row.slice) if row.slice else view.place(row)


def _against(row: Measurement) -> str:
    null = view.NULL_SHORT.get(str(row.null), "")
    return f"{view.place(row)} ({null})"


def _pairs(
    panels: list[Panel],
    name: str,
    spoken: str,
    label: Callable[[Measurement], str],
    tolerance: bool,
) -> str | None:
    """Panels of rows; in each row the teacher's mark and the student's, with its interval."""
    kept = []
    for title, rows in panels:
        few = _worst(rows)
        more = (
            f" (the {len(few)} of {len(rows)} with the most harm)" if len(rows) > len(few) else ""
        )
        kept.append(dots.Panel(title + more, [_dot(r, label(r), tolerance) for r in few]))
    return dots.panels(kept, name, spoken)


def _dot(row: Measurement, label: str, tolerance: bool) -> dots.Dot:
    """A row, and with ``tolerance`` what the student may lose: one margin from the teacher."""
    sign = -1 if row.direction == "higher" else 1
    margin = sign * row.margin if tolerance and math.isfinite(row.margin) else 0.0
    low, high = row.teacher + row.ci_low, row.teacher + row.ci_high
    return dots.Dot(label, row.teacher, row.student, low, high, margin)


def _worst(rows: list[Measurement]) -> list[Measurement]:
    """In the report's order, unless there are too many to show."""
    if len(rows) <= MOST_ROWS:
        return rows
    return sorted(rows, key=lambda r: -r.harm if math.isfinite(r.harm) else math.inf)[:MOST_ROWS]


def corruptions(rows: tuple[Measurement, ...], name: str) -> str | None:
    """Score over severity, one small panel a kind of corruption."""
    return _curves(rows, name, lambda condition: condition.startswith(CORRUPTION))


def strengths(rows: tuple[Measurement, ...], name: str) -> str | None:
    """Score over eps, noise and whatever else was seen at several severities, but corruptions."""
    return _curves(rows, name, lambda condition: not condition.startswith(CORRUPTION))


def _curves(rows: tuple[Measurement, ...], name: str, chosen: Callable[[str], bool]) -> str | None:
    """Score from the benchmark on, one small panel a condition; all on one scale."""
    mine = [r for r in rows if r.measure == "outputs.score" and r.slice is None]
    clean = [r for r in mine if r.condition == "clean" and math.isfinite(r.student)][:1]
    kinds: dict[str, list[Measurement]] = {}
    for row in mine:
        if row.severity is not None and math.isfinite(row.student) and chosen(row.condition):
            kinds.setdefault(row.condition, []).append(row)
    kinds = {k: found for k, found in kinds.items() if len(found) > 1}
    worst = sorted(kinds, key=lambda k: -max(r.harm for r in kinds[k]))[:MOST_KINDS]
    areas = {r.condition: r.delta for r in mine if r.statistic == AREA}
    found = [
        Curve(
            view.sentence_case(view.condition(kind)),
            f"area {view.shown(areas[kind])}" if kind in areas else "",
            [*clean, *sorted(kinds[kind], key=lambda r: r.severity or 0.0)],
            "score",
            by="severity",
        )
        for kind in kinds
        if kind in worst
    ]
    return curves.boxes(found, name, "Score")
