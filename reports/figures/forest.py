"""The judged rows as a forest plot: harm over margin, with its interval."""

from __future__ import annotations

import math
from typing import Final

from matplotlib.axes import Axes

from ringtest.decision import Verdict
from ringtest.measurement import Measurement
from ringtest.reasons import number
from ringtest.reports import view
from ringtest.reports.figures import svg

WIDTH: Final = 860
LEFT, PLOT, RIGHT = 290, 320, 250
LINE, HEAD, TOP, FOOT = 22, 30, 26, 44
LOW, HIGH = -1.0, 4.0
MOST_SETS = 12
"""Rows of one group that are drawn; the worst come first, the table has them all."""


def forest(verdict: Verdict, name: str) -> str | None:
    """SVG of every judged row, by group; None if there is none."""
    groups = [(group, _worst_first(rows)) for group, rows in view.headlines(verdict)]
    if not groups:
        return None
    lines = sum(min(max(len(rows), 1), MOST_SETS) for _, rows in groups)
    cut = sum(len(rows) > MOST_SETS for _, rows in groups)
    inner = len(groups) * HEAD + (lines + cut) * LINE
    with svg.style():
        figure = svg.canvas(WIDTH, TOP + inner + FOOT)
        axes = svg.box(figure, LEFT, TOP, PLOT, inner)
        axes.set_xlim(LOW, HIGH)
        axes.set_ylim(inner, 0)
        _frame(axes)
        y = 0.0
        for group, rows in groups:
            _heading(axes, verdict, group, rows, y)
            y += HEAD
            for row in rows[:MOST_SETS]:
                said = len(rows) == 1 and row.status == _status(verdict, group, rows)
                _row(axes, row, y + LINE / 2, said)
                y += LINE
            if not rows:
                note = view.without_rows(verdict, group)
                _text(axes, -LEFT + 14, y + LINE / 2, note, "muted", 10.5)
                y += LINE
            if len(rows) > MOST_SETS:
                note = f"and {len(rows) - MOST_SETS} with less harm, in the table below"
                _text(axes, -LEFT + 14, y + LINE / 2, note, "muted", style="italic")
                y += LINE
        return svg.to_svg(figure, name, _spoken(groups))


def _worst_first(rows: list[Measurement]) -> list[Measurement]:
    """In the report's order, unless there are too many to show."""
    if len(rows) <= MOST_SETS:
        return rows
    return sorted(rows, key=lambda r: -_ratio(r) if math.isfinite(_ratio(r)) else -math.inf)


def _ratio(row: Measurement) -> float:
    return row.harm / row.margin if row.margin > 0 else math.nan


def _frame(axes: Axes) -> None:
    axes.set_xticks([-1, 0, 1, 2, 3, 4])
    axes.set_xticklabels(["−1", "0", "1", "2", "3", "4"])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("harm ÷ margin  (worse →)")
    axes.axvspan(LOW, 1, color=svg.COLOURS["band"], alpha=0.10, lw=0)
    axes.axvline(0, color=svg.COLOURS["line"], lw=1)
    axes.axvline(1, color=svg.COLOURS["ink"], lw=1.2)
    for x, text, colour in ((0, "as the teacher", "muted"), (1, "margin", "ink")):
        axes.annotate(text, (x, 0), xytext=(0, 8), textcoords="offset points", ha="center",
                      fontsize=10, color=svg.COLOURS[colour], annotation_clip=False)  # fmt: skip
    _text(axes, PLOT + 14, -12, "harm of margin", "muted", size=10)
    _text(axes, PLOT + 128, -12, "status", "muted", size=10)


def _text(
    axes: Axes, x: float, y: float, text: str, colour: str, size: float = 11, **font: str
) -> None:
    """Text at pixels from the plot's left edge and rows' own height."""
    axes.annotate(text, (0, y), xycoords=("axes fraction", "data"), xytext=(x, 0),
                  textcoords="offset points", va="center", color=svg.COLOURS[colour], fontsize=size,
                  annotation_clip=False, **font)  # type: ignore[arg-type] # fmt: skip


def _status(verdict: Verdict, group: str, rows: list[Measurement]) -> str | None:
    """Status of a group; of the benchmark, which is none, that of its only row."""
    judged = verdict.groups.get(group)
    if judged is not None:
        return judged.status
    return rows[0].status if len(rows) == 1 else None


def _heading(axes: Axes, verdict: Verdict, group: str, rows: list[Measurement], y: float) -> None:
    middle = y + HEAD * 0.62
    axes.plot([-LEFT / PLOT, 1 + RIGHT / PLOT], [y + 2, y + 2], clip_on=False, lw=0.7,
              color=svg.COLOURS["line"], transform=axes.get_yaxis_transform())  # fmt: skip
    _text(axes, -LEFT, middle, view.clean(group).capitalize(), "ink", weight="bold")
    status = _status(verdict, group, rows)
    if status is not None:
        look = view.STATUS[status]
        _text(axes, PLOT + 128, middle, f"{look.mark} {look.word}", _ink(look.css), weight="bold")


def _ink(css: str) -> str:
    return "muted" if css == "none" else css


def _row(axes: Axes, row: Measurement, y: float, said: bool) -> None:
    look = view.STATUS[row.status]
    # What it is held against stands behind the place, whose end may be cut.
    null = view.NULL_SHORT.get(str(row.null), "")
    _text(axes, -LEFT + 14, y, view.shorten(view.place(row), 46 - len(null)), "ink", size=10.5)
    axes.annotate(null, (0, y), xycoords=("axes fraction", "data"), xytext=(-12, 0), ha="right",
                  textcoords="offset points", va="center", color=svg.COLOURS["muted"], fontsize=9.5,
                  annotation_clip=False)  # fmt: skip
    _text(axes, PLOT + 14, y, f"{view.shown(row.harm)} of {view.shown(row.margin)}", "muted", 10.5)
    if not said:  # by the heading
        _text(axes, PLOT + 128, y, f"{look.mark} {look.word}", _ink(look.css), 10.5)
    ratio = _ratio(row)
    if not math.isfinite(ratio):
        words = "no margin" if row.measured else "not measured"
        _text(axes, 8, y, words, "muted", 9.5, style="italic")
        return
    colour = svg.COLOURS[look.css]
    low, high = (v / row.margin for v in view.harm_interval(row))
    if math.isfinite(low) and high > LOW and low < HIGH:
        axes.plot([max(low, LOW), min(high, HIGH)], [y, y], color=colour, lw=1.8)
    beyond = min(max(ratio, LOW + 0.06), HIGH - 0.06)
    marker = ">" if ratio > HIGH else "<" if ratio < LOW else svg.MARKER.get(row.status, "x")
    axes.plot([beyond], [y], marker=marker, ms=7.5, color=colour, mew=1.4,
              mfc=svg.COLOURS["paper"] if row.status == "inconclusive" else colour)  # fmt: skip


def _spoken(groups: list[tuple[str, list[Measurement]]]) -> str:
    parts = [
        f"{view.clean(group)}, {view.place(row)}: {view.STATUS[row.status].word}, "
        f"harm {number(row.harm)} of margin {number(row.margin)}"
        for group, rows in groups
        for row in rows[:3]
    ]
    return "Harm against margin of every judged row. " + "; ".join(parts[:24]) + "."
