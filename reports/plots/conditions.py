"""A score, or the agreement with the members, under every condition and severity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ringtest.measurement import AREA, Measurement
from ringtest.reports import view
from ringtest.reports.plots.common import (
    MOST,
    Line,
    better,
    choose,
    dumbbells,
    left_out,
    worst,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ringtest.report import Report

MEASURES: Final = ("outputs.score", "outputs.agreement", "outputs.consistency")
FAMILIES: Final = ("shift.off_support", "shift.certified")
"""Rows that sum up other rows."""


def _kept(by_condition: dict[str, list[Measurement]]) -> dict[str, list[Measurement]]:
    """In the report's order; whole conditions, those with the most harm, if not all fit."""
    worst_first = sorted(
        by_condition,
        key=lambda c: (
            c != "clean",
            -max((r.harm for r in by_condition[c] if math.isfinite(r.harm)), default=math.inf),
        ),
    )
    room = MOST
    kept: dict[str, list[Measurement]] = {}
    for condition in worst_first:
        room -= len(by_condition[condition])
        if room >= 0 or not kept:
            kept[condition] = worst(by_condition[condition], lambda r: r.harm)
    return {c: kept[c] for c in by_condition if c in kept}


def _label(row: Measurement, first: bool) -> str:
    """The condition at its first line, then only what differs."""
    name = view.condition(row.condition).replace(".", ": ") if first else ""
    steps = [f"{row.severity:g}"] if row.severity is not None else []
    return " ".join([name, *steps, *([row.concept] if row.concept else [])]).strip()


class Conditions:
    """Teacher and student by condition and severity."""

    def find(self, report: Report, measure: str | None = None, several: bool = False) -> list[Line]:
        """All rows of one measure but those of slices, drifts and families."""
        plain = [
            r
            for r in report.verdict.rows
            if r.slice is None
            and r.null != "drift"
            and r.condition not in FAMILIES
            and r.statistic != AREA
        ]
        fix = "audit a model with targets, or whose outputs can be compared"
        rows = choose(plain, MEASURES, measure, "neither score nor agreement by condition", fix)
        by_condition: dict[str, list[Measurement]] = {}
        for row in sorted(rows, key=lambda r: r.condition != "clean"):
            by_condition.setdefault(row.condition, []).append(row)
        lines = [
            Line(condition, (condition, row.severity, row.concept), _label(row, first=k == 0), row)
            for condition, kept in _kept(by_condition).items()
            for k, row in enumerate(sorted(kept, key=lambda r: r.severity or 0.0))
        ]
        return lines + left_out(len(lines), len(rows), several)

    def size(self, lines: Sequence[Line], several: bool = False) -> tuple[float, float]:
        """A fifth of an inch a line."""
        return (3.3 if several else 7.0), 1.3 + 0.19 * len(lines)

    def draw(self, ax: Axes, lines: Sequence[Line], places: Sequence[Line]) -> None:
        """Teacher and student side by side on every line."""
        dumbbells(ax, lines, places, "teacher (mean member)", "student")
        row = next(line.row for line in lines if line.row is not None)
        what = view.measure(row.measure)
        unit = row.unit if row.statistic in ("", "mean") else row.statistic
        named = unit if what == "score" and unit else what
        ax.set_xlabel(f"{named} ({better(row)})", parse_math=False)
