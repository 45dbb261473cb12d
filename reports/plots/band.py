"""How near the student lies to the members, against how near they lie to each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator

from ringtest import margins
from ringtest.measurement import PASS_ONLY, Measurement
from ringtest.reports import view
from ringtest.reports.plots.common import (
    BAND,
    TEACHER,
    Line,
    choose,
    dumbbells,
    left_out,
    worst,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ringtest.report import Report

MEASURES: Final = ("similarity.cka", "similarity.neighbours", "outputs.agreement")
CERTIFIED: Final = "shift.certified."
OFF_SUPPORT: Final = "shift.off_support"
_FIRST: Final = ("clean", OFF_SUPPORT)
TICKS: Final[dict[str, tuple[list[float], Callable[[float], float]]]] = {
    "atanh": (
        [0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1],
        lambda cka: math.atanh(margins.CKA_RELIABILITY * cka),
    ),
    "log": ([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1], math.log),
}
"""Where an axis is labelled that is drawn on the scale on which it is judged."""


def _rank(line: Line) -> int:
    """The benchmark, off support and its mean, then elsewhere; each in the report's order."""
    if line.block not in _FIRST:
        return len(_FIRST) + 1
    return _FIRST.index(line.block) + (line.row is not None and line.row.condition == OFF_SUPPORT)


def _counts(row: Measurement, counted: set[str]) -> bool:
    """Whether a row is a mean off support, or under one of the conditions that it is over."""
    step = "" if row.severity is None else f"@{row.severity:g}"
    return row.condition == OFF_SUPPORT or f"{row.condition}{step}" in counted


def _harm(line: Line) -> float:
    """What is judged, or else seen; the benchmark and off support are always shown."""
    row = line.judged or line.row
    return math.inf if line.block in _FIRST or row is None else row.harm


def _where(drift: Measurement) -> str:
    largest = drift.params.get("largest")
    return f"{CERTIFIED}{largest}" if largest else drift.condition


def _label(row: Measurement, several: bool) -> str:
    if row.condition.startswith(CERTIFIED):
        name = view.clean(row.condition.removeprefix(CERTIFIED)).replace("_", " ")
        return "certified, worst" + ("" if several else f": {name}")
    if row.condition == OFF_SUPPORT:
        told = row.null == "references" or (row.null == "band void" and not several)
        return "off support, mean of all" + (f" ({view.NULL_SHORT[str(row.null)]})" if told else "")
    step = "" if row.severity is None else f" {row.severity:g}"
    return view.condition(row.condition).replace(".", ": ") + step


def _tolerated(ax: Axes, row: Measurement, judged: Measurement, y: float) -> None:
    """From where the null lies (the student without its harm) to one margin below it."""
    if judged.null == "level":
        _level(ax, row, judged, y)
        return
    null = row.student + judged.harm
    if not (math.isfinite(null) and math.isfinite(judged.margin)):
        return
    label = _once(ax, "what the student may lose")
    corner = (null - judged.margin, y - 0.4)
    ax.add_patch(
        Rectangle(corner, judged.margin, 0.8, color=BAND, alpha=0.35, lw=0, zorder=1, label=label)
    )


def _level(ax: Axes, row: Measurement, judged: Measurement, y: float) -> None:
    """A single teacher has no band: where a near-copy lies, which their mean must reach."""
    level = 1.0 - judged.margin
    kind = row.statistic.split("(")[0]
    at = TICKS[kind][1](level) if kind in TICKS else level
    label = _once(ax, "level of a near-copy (for the mean off support)")
    ax.vlines(at, y - 0.5, y + 0.5, color=TEACHER, lw=1.4, ls="--", zorder=1, label=label)


def _once(ax: Axes, label: str) -> str:
    """The label for the legend, unless it is there already."""
    return "" if label in ax.get_legend_handles_labels()[1] else label


def _scale(ax: Axes, row: Measurement) -> None:
    """Name the axis; ticks tell the similarity itself, on whatever scale it is drawn."""
    what = view.measure(row.measure)
    kind = row.statistic.split("(")[0]
    if kind in TICKS:
        at, scale = TICKS[kind]
        # Not set_xticks: it would widen the axis until all of them are in sight.
        ax.xaxis.set_major_locator(FixedLocator([scale(t) for t in at]))
        ax.xaxis.set_major_formatter(FixedFormatter([f"{t:g}" for t in at]))
        what = f"{what}, {kind} scale"
    ax.set_xlabel(f"{what} (higher is nearer to the members)")


class Band:
    """Similarity to the members, beside theirs to each other."""

    def find(self, report: Report, measure: str | None = None, several: bool = False) -> list[Line]:
        """The similarity under every condition; of the certified ones only the worst."""
        rows = report.verdict.rows
        levels = {r.measure: r for r in rows if r.null == "level" and r.headline}
        seen = choose(
            [
                r
                for r in rows
                # What can only pass repeats another row beside a margin of its own.
                if "student_raw" in r.params and r.null not in PASS_ONLY and not r.slice
            ],
            MEASURES,
            measure,
            "no similarity to the members",
            "audit a model whose layers or outputs can be compared with theirs",
        )
        name = seen[0].measure
        # Reversed: where a row is held against members and references, the members' comes first.
        drifts = {
            _where(r): r for r in reversed(rows) if r.measure == name and r.drifts and r.headline
        }
        means = [r for r in rows if r.measure == name and r.condition == OFF_SUPPORT]
        counted = {c for r in means for c in r.params.get("conditions", ())}
        lines = []
        for row in seen:
            certified = row.condition.startswith(CERTIFIED)
            if certified and row.condition not in drifts:
                continue
            judged = row if row.headline else drifts.get(row.condition)
            block = ".".join(row.condition.split(".")[:2])
            if block == OFF_SUPPORT and counted and not _counts(row, counted):
                # A strength that was asked for is no part of the mean, and has no level.
                block = row.condition
            if block == OFF_SUPPORT and judged is None:
                judged = levels.get(name)
            # The same for two students whose worst transformation, or null, differs.
            key = (
                "certified" if certified else row.condition,
                row.severity,
                row.null == "references",
            )
            lines.append(Line(block, key, _label(row, several), row, judged))
        kept = worst(sorted(lines, key=_rank), _harm)
        return kept + left_out(len(kept), len(lines), several)

    def size(self, lines: Sequence[Line], several: bool = False) -> tuple[float, float]:
        """A quarter of an inch a line."""
        return (3.3 if several else 7.0), 1.4 + 0.24 * len(lines)

    def draw(self, ax: Axes, lines: Sequence[Line], places: Sequence[Line]) -> None:
        """Members and student on every line, and what may be lost on those that are judged."""
        at = {place.key: y for y, place in enumerate(places)}
        dumbbells(ax, lines, places, "members to each other", "student to members")
        for line in lines:
            if line.row is not None and line.judged is not None:
                _tolerated(ax, line.row, line.judged, at[line.key])
        row = next(line.row for line in lines if line.row is not None)
        ax.autoscale_view(scaley=False)
        _scale(ax, row)
