"""Dots with intervals: a line for each row, the teacher's mark and the student's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib.axes import Axes

from ringtest.reports import view
from ringtest.reports.figures import svg

WIDTH: Final = 860
LEFT, PLOT = 290, 450
LINE, HEAD, FOOT = 24, 34, 40


@dataclass(frozen=True)
class Dot:
    """One line."""

    label: str
    teacher: float
    """NaN where there is nothing to compare with."""
    student: float
    low: float = math.nan
    """Where the student may lie as well."""
    high: float = math.nan
    tolerated: float = 0.0
    """How far the student may lie from the teacher, signed; drawn as a bar."""


@dataclass(frozen=True)
class Panel:
    """Lines on one axis."""

    title: str
    dots: Sequence[Dot]
    note: str = ""
    """Said behind the title."""
    zero: str = ""
    """What 0 stands for: the area below is shaded."""


def panels(found: Sequence[Panel], name: str, spoken: str) -> str | None:
    """All panels, one below the other; None if there are none."""
    if not found:
        return None
    heights = [len(panel.dots) * LINE for panel in found]
    with svg.style():
        figure = svg.canvas(WIDTH, sum(heights) + len(found) * (HEAD + FOOT))
        top = 0.0
        for panel, height in zip(found, heights, strict=True):
            top += HEAD
            axes = svg.box(figure, LEFT, top, PLOT, height)
            title = axes.annotate(panel.title, (0, 1), xycoords="axes fraction", xytext=(-LEFT, 14),
                                  textcoords="offset points", weight="bold")  # fmt: skip
            if panel.note:
                axes.annotate(panel.note, (1, 0), xycoords=title, xytext=(8, 0), va="bottom",
                              textcoords="offset points", fontsize=10,
                              color=svg.COLOURS["muted"])  # fmt: skip
            _lines(axes, panel)
            top += height + FOOT
        words = [
            f"{dot.label}: teacher {view.shown(dot.teacher)}, student {view.shown(dot.student)}"
            for panel in found
            for dot in panel.dots[:8]
        ]
        return svg.to_svg(figure, name, f"{spoken}, teacher and student. {'; '.join(words)}.")


def _lines(axes: Axes, panel: Panel) -> None:
    dots = panel.dots
    if panel.zero:
        axes.axvline(0, lw=0)  # lies within the axis, whatever the values
    axes.set_ylim(len(dots) - 0.5, -0.5)
    axes.set_yticks(range(len(dots)), [view.shorten(dot.label, 46) for dot in dots])
    axes.tick_params(axis="y", length=0, pad=10, labelcolor=svg.COLOURS["ink"], labelsize=10.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.use_sticky_edges = False
    axes.margins(x=0.06)
    for y, dot in enumerate(dots):
        if dot.tolerated and math.isfinite(dot.teacher):
            axes.barh(y, dot.tolerated, left=dot.teacher, height=0.62, lw=0, alpha=0.16,
                      color=svg.COLOURS["band"])  # fmt: skip
        if math.isfinite(dot.low) and math.isfinite(dot.high):
            axes.plot([dot.low, dot.high], [y, y], color=svg.COLOURS["student"], lw=1.6)
        axes.annotate(
            f"{view.shown(dot.teacher)} → {view.shown(dot.student)}", (1, y),
            xycoords=("axes fraction", "data"), xytext=(18, 0), textcoords="offset points",
            va="center", fontsize=10.5, color=svg.COLOURS["muted"], annotation_clip=False,
        )  # fmt: skip
    teacher, student = [dot.teacher for dot in dots], [dot.student for dot in dots]
    _marks(axes, teacher, marker="o", s=58, color=svg.COLOURS["paper"],
           edgecolor=svg.COLOURS["teacher"], linewidth=1.6, zorder=3)  # fmt: skip
    _marks(axes, student, marker="s", s=36, color=svg.COLOURS["student"],
           edgecolor="w", linewidth=0, zorder=4)  # fmt: skip
    if panel.zero:
        svg.floor(axes, 0.0, across=True)


def _marks(axes: Axes, values: Sequence[float], **look: Any) -> None:
    """A mark on each line with a value; seaborn would draw all ticks at each call, to read them."""
    found = [(value, y) for y, value in enumerate(values) if math.isfinite(value)]
    if found:
        axes.scatter(*zip(*found, strict=True), **look)
