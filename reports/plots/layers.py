"""What layers show over their relative depth, teacher against student."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import seaborn as sns

from ringtest.measurement import Measurement
from ringtest.reports import view
from ringtest.reports.plots.common import (
    CONCEPTS,
    MARK,
    STUDENT,
    TEACHER,
    Line,
    better,
    choose,
    interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ringtest.report import Report

MEASURES: Final = ("probe.decodability", "probe.selectivity", "similarity.cka")
MOST_NAMES: Final = 8
"""So many layers are named; more are told by their depth alone."""


def _by_depth(rows: Sequence[Measurement]) -> Iterator[Measurement]:
    """Readings of layers, and of the similarities those of layers of the same relative depth."""
    apart: dict[str, tuple[float, Measurement]] = {}
    for row in rows:
        if row.condition != "clean" or row.slice is not None or row.student_layer is None:
            continue
        if isinstance(row.params.get("depth"), int | float):
            yield row
        elif isinstance(row.params.get("teacher_depth"), int | float):
            gap = abs(row.params["teacher_depth"] - row.params["student_depth"])
            if gap < apart.get(row.student_layer, (math.inf, row))[0]:
                apart[row.student_layer] = (gap, row)
    for _, row in apart.values():
        yield row


def _depth(row: Measurement) -> float:
    return float(row.params["depth"] if "depth" in row.params else row.params["student_depth"])


def _curves(ax: Axes, rows: list[Measurement], colour: str | dict[str, str]) -> None:
    """Teacher and student of one concept; one colour for both where there are more concepts."""
    depth = [_depth(r) for r in rows]
    alone = isinstance(colour, dict)
    colours = colour if isinstance(colour, dict) else dict.fromkeys(("teacher", "student"), colour)
    whom = ("teacher (mean member)", "student")
    if rows[0].measure.startswith("similarity."):
        whom = ("members to each other", "student to members")
    low, high = zip(*map(interval, rows), strict=True)
    if any(map(math.isfinite, low)):
        said = f"{100 * rows[0].ci_level:g} % interval of the difference" if alone else ""
        ax.fill_between(depth, low, high, color=colours["student"], alpha=0.18, lw=0, label=said)
    for (who, own), words in zip(colours.items(), whom, strict=True):
        values = [getattr(r, who) for r in rows]
        if any(map(math.isfinite, values)):
            label = words if alone else f"{view.clean(rows[0].concept)}: {words}"
            sns.lineplot(x=depth, y=values, ax=ax, estimator=None, errorbar=None, color=own,
                         marker=MARK[who], markeredgewidth=0, markersize=6, lw=1.6, legend=False,
                         linestyle="--" if who == "teacher" else "-", label=label)  # fmt: skip


def _name_axes(ax: Axes, first: Measurement, drawn: Sequence[Line], which: str) -> None:
    what = view.measure(first.measure)
    unit = "" if first.measure.startswith("similarity.") else f", {first.statistic or first.unit}"
    ax.set_ylabel(f"{what}{which}{unit}\n({better(first)})", parse_math=False)
    names = {_depth(line.row): line.label for line in drawn if line.row is not None}
    ax.set_xlabel("relative depth of the layer (0: first, 1: last hidden)")
    if len(names) <= MOST_NAMES:
        ax.set_xlabel("layer of the student, at its relative depth")
        labels = [view.shorten(name, 24) for name in names.values()]
        ax.set_xticks(list(names), labels, rotation=30, ha="right", parse_math=False)
    ax.set_xlim(-0.04, 1.04)
    ax.grid(axis="y", lw=0.5, alpha=0.5)
    ax.set_axisbelow(True)


class Layers:
    """Curves over relative depth."""

    def find(self, report: Report, measure: str | None = None, several: bool = False) -> list[Line]:
        """Clean rows that know their depth."""
        rows = choose(
            _by_depth(report.verdict.rows),
            MEASURES,
            measure,
            "no measure of layers by their depth",
            "audit a model whose layers can be seen",
        )
        return [
            Line(r.concept or "", (r.concept, _depth(r)), view.clean(r.student_layer), r)
            for r in sorted(rows, key=_depth)
        ]

    def size(self, lines: Sequence[Line], several: bool = False) -> tuple[float, float]:
        """Wide enough for the names of a few layers."""
        return (3.2, 3.0) if several else (6.4, 4.2)

    def draw(self, ax: Axes, lines: Sequence[Line], places: Sequence[Line]) -> None:
        """Two curves a concept: the teacher's dashed, the student's with its interval."""
        everything = list(dict.fromkeys(line.block for line in places))
        concepts = everything[: len(CONCEPTS)]
        alone = len(concepts) == 1
        drawn = [line for line in lines if line.block in concepts]
        for concept, colour in zip(concepts, CONCEPTS, strict=False):
            rows = [line.row for line in drawn if line.block == concept and line.row is not None]
            if rows:
                _curves(ax, rows, {"teacher": TEACHER, "student": STUDENT} if alone else colour)
        first = next(line.row for line in lines if line.row is not None)
        if alone and first.concept:
            which = f" of {view.clean(first.concept)}"
        else:
            which = (
                f", {len(concepts)} of {len(everything)} concepts" if len(everything) > 1 else ""
            )
        _name_axes(ax, first, drawn, which)
