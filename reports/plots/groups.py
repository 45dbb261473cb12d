"""Every judged row as harm over margin: the forest plot behind the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import seaborn as sns

from ringtest.measurement import Measurement
from ringtest.reports import view
from ringtest.reports.plots.common import BAND, STATUS, TEACHER, Line, Missing, list_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ringtest.decision import Verdict
    from ringtest.report import Report

LOW, HIGH = -2.0, 8.0
"""Beyond these an arrow stands at the edge, with its number."""
MOST_ROWS: Final = 12
"""Rows of one group that are drawn: those with the most harm."""


def _heading(verdict: Verdict, group: str, several: bool) -> str:
    """The group, and where one panel stands alone what became of it."""
    name = view.clean(group).capitalize()
    judged = verdict.groups.get(group)
    if judged is None or several:
        return name
    note = "" if judged.rows else ", nothing measured it"
    return f"{name}: {view.STATUS[judged.status].word}{note}"


def _key(row: Measurement) -> object:
    # A band may be void for one student and not for another: the line is the same.
    null = row.null if row.null in ("references", "pass only") else ""
    return (row.group, row.measure, row.condition, row.slice, row.concept, null)


def _label(row: Measurement, several: bool) -> str:
    """The place; what is worst there differs between students."""
    largest = row.params.get("largest")
    if not largest:
        return view.place(row)
    name = "" if several else f": {view.clean(largest).replace('_', ' ')}"
    return f"{view.condition(row.condition)}, worst{name}"


def _ratio(row: Measurement) -> float:
    ratio = row.harm / row.margin if row.margin > 0 else math.nan
    return ratio if math.isfinite(ratio) else -math.inf


def _limits(ratios: list[float]) -> tuple[float, float]:
    """Room for what is inside, and the whole axis where something lies beyond it."""
    low = min([-0.7, *(r for r in ratios if math.isfinite(r))])
    high = max([2.0, *ratios])
    return max(LOW, low - 0.3), min(HIGH, high + 0.7)


def _look(status: str) -> tuple[str, str]:
    return STATUS.get(status, ("X", TEACHER))


def _marks(ax: Axes, status: str, points: list[tuple[float, float]]) -> None:
    mark, colour = _look(status)
    fill = ax.get_facecolor() if status == "inconclusive" else colour
    x, y = zip(*points, strict=True)
    sns.scatterplot(x=x, y=y, ax=ax, marker=mark, s=42, color=fill, edgecolor=colour, zorder=4,
                    linewidth=1.4, label=view.STATUS[status].word, legend=False)  # fmt: skip


def _whisker(ax: Axes, row: Measurement, y: float) -> None:
    low, high = (max(LOW, min(HIGH, v / row.margin)) for v in view.harm_interval(row))
    if math.isfinite(low):
        ax.hlines(y, low, high, color=_look(row.status)[1], lw=1.6, zorder=3)


def _unmeasured(ax: Axes, row: Measurement, y: float) -> None:
    words = "no margin" if row.measured else "not measured"
    ax.text(0.04, y, words, va="center", fontsize="small", style="italic", color=TEACHER)


def _beyond(ax: Axes, ratio: float, y: float, colour: str) -> None:
    edge, mark, side = (HIGH, ">", "right") if ratio > HIGH else (LOW, "<", "left")
    ax.plot([edge], [y], marker=mark, ms=7, color=colour, clip_on=False, zorder=4)
    ax.annotate(view.shown(ratio), (edge, y), xytext=(-9 if side == "right" else 9, 0), ha=side,
                textcoords="offset points", va="center", fontsize="small", annotation_clip=False,
                backgroundcolor=ax.get_facecolor(), zorder=3.5)  # fmt: skip


class Groups:
    """The forest plot of harm over margin."""

    def find(self, report: Report, measure: str | None = None, several: bool = False) -> list[Line]:
        """Headlines by group, each group under a heading."""
        if measure is not None:
            raise Missing("is drawn with all judged measures", "leave measure out")
        verdict = report.verdict
        lines: list[Line] = []
        for group, rows in view.headlines(verdict):
            lines.append(Line(group, group, _heading(verdict, group, several)))
            kept = sorted(rows, key=_ratio, reverse=True)[:MOST_ROWS]
            lines += [Line(group, _key(r), _label(r, several), r) for r in rows if r in kept]
        if not lines:
            raise Missing("holds no judged row", "audit with more rows, or with the layers visible")
        return lines

    def size(self, lines: Sequence[Line], several: bool = False) -> tuple[float, float]:
        """A fifth of an inch a line."""
        return (3.3 if several else 7.0), 1.3 + 0.21 * len(lines)

    def draw(self, ax: Axes, lines: Sequence[Line], places: Sequence[Line]) -> None:
        """One mark a row, its shape the status, with the interval of its harm."""
        at = {place.key: y for y, place in enumerate(places)}
        ax.axvspan(LOW, 1, color=BAND, alpha=0.15, lw=0, zorder=0, label="within the margin")
        ax.axvline(0, color=TEACHER, lw=0.8, ls=":")
        ax.axvline(1, color=TEACHER, lw=1.2)
        inside: dict[str, list[tuple[float, float]]] = {}
        for line in lines:
            if line.row is None:
                continue
            y, ratio = at[line.key], _ratio(line.row)
            if not math.isfinite(ratio):
                _unmeasured(ax, line.row, y)
                continue
            _whisker(ax, line.row, y)
            if LOW <= ratio <= HIGH:
                inside.setdefault(line.row.status, []).append((ratio, y))
            else:
                _beyond(ax, ratio, y, _look(line.row.status)[1])
        for status, points in sorted(inside.items()):
            _marks(ax, status, points)
        list_axis(ax, places)
        rows = [line.row for line in lines if line.row is not None]
        ax.set_xlim(*_limits([_ratio(r) for r in rows]))
        level = next((100 * r.ci_level for r in rows if math.isfinite(r.ci_level)), math.nan)
        spread = f", {level:g} % interval" if math.isfinite(level) else ""
        ax.set_xlabel(f"harm ÷ margin{spread} (lower is better)")
