"""Teacher against student by condition: scores, corruptions by severity, nearness to members."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import seaborn as sns
from matplotlib.axes import Axes

from ringtest.measurement import Measurement
from ringtest.reports import view
from ringtest.reports.figures import dots, svg

WIDTH: Final = 860
MOST_ROWS = 14
MOST_KINDS = 12
ACROSS = 4
_CORRUPTION: Final = "shift.corruption."
_NEAR: Final = {
    "similarity.cka": "CKA with members",
    "similarity.neighbours": "Neighbour overlap with members",
    "outputs.agreement": "Agreement with members",
    "outputs.consistency": "Consistency with itself",
}

Panel = tuple[str, list[Measurement]]


def scores(rows: tuple[Measurement, ...], name: str) -> str | None:
    """Score by condition and by slice, teacher beside student."""
    found = [r for r in rows if r.measure == "outputs.score" and math.isfinite(r.student)]
    plain = [r for r in found if r.slice is None and not r.condition.startswith(_CORRUPTION)]
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
    kinds: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.measure == "outputs.score" and row.condition.startswith(_CORRUPTION):
            usable = row.severity is not None and math.isfinite(row.student) and row.slice is None
            if usable:
                kinds.setdefault(row.condition, []).append(row)
    if not kinds:
        return None
    worst = sorted(kinds, key=lambda k: -max(r.harm for r in kinds[k]))[:MOST_KINDS]
    shown = [k for k in kinds if k in worst]
    down = math.ceil(len(shown) / ACROSS)
    wide, tall, gap_x, gap_y, left, top = 176, 110, 24, 52, 44, 30
    values = [v for k in shown for r in kinds[k] for v in (r.teacher, r.student)]
    finite = [v for v in values if math.isfinite(v)]
    pad = 0.06 * (max(finite) - min(finite) or 1)
    with svg.style():
        figure = svg.canvas(WIDTH, top + down * (tall + gap_y) + 4)
        for i, kind in enumerate(shown):
            x, y = left + (i % ACROSS) * (wide + gap_x), top + (i // ACROSS) * (tall + gap_y)
            axes = svg.box(figure, x, y, wide, tall)
            _severity(axes, sorted(kinds[kind], key=lambda r: r.severity or 0.0))
            axes.set_ylim(min(finite) - pad, max(finite) + pad)
            axes.set_title(view.shorten(view.condition(kind), 26), fontsize=10.5, pad=6)
            axes.set_xlabel("severity" if i + ACROSS >= len(shown) else "", fontsize=10)
            if i % ACROSS:
                axes.set_yticklabels([])
        words = ", ".join(view.condition(k) for k in shown)
        return svg.to_svg(figure, name, f"Score over severity, teacher and student, for {words}.")


def _severity(axes: Axes, rows: list[Measurement]) -> None:
    steps = [float(r.severity or 0) for r in rows]
    axes.fill_between(steps, [r.teacher + r.ci_low for r in rows],
                      [r.teacher + r.ci_high for r in rows], lw=0, alpha=0.18,
                      color=svg.COLOURS["student"])  # fmt: skip
    for who, marker in (("teacher", "o"), ("student", "s")):
        sns.lineplot(x=steps, y=[getattr(r, who) for r in rows], ax=axes, lw=1.8, marker=marker,
                     markersize=4.5, markeredgewidth=0, color=svg.COLOURS[who], errorbar=None,
                     estimator=None, linestyle=svg.DASH[who])  # fmt: skip
    axes.set(ylabel="")
    axes.set_xticks(sorted(set(steps))[:6])
    axes.grid(axis="y")
    axes.set_axisbelow(True)
