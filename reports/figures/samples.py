"""Accuracy over the number of samples, of teacher and student, and the limits that they tend to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes

from ringtest.measurement import Measurement
from ringtest.reports import steps, view
from ringtest.reports.figures import svg

WIDTH: Final = 860
LEFT, RIGHT, TOP, TALL, FOOT, GAP = 48, 8, 44, 190, 40, 28
KINDS: Final = {
    "Any sample right (pass@k)": (
        ("ensemble.budget", "coverage"),
        ("ensemble.selection", "pass@k"),
    ),
    "Majority of k": (("ensemble.budget", "accuracy of the majority"),),
    "Best of k by the verifier": (
        ("ensemble.budget", "accuracy of the verifier's pick"),
        ("ensemble.selection", "best of n"),
    ),
}
"""Panels, and the rows that each is drawn from: the first that are there."""
LIMITS: Final = {"Majority of k": "limit of the majority"}
"""What a panel tends to; coverage tends to 1."""


@dataclass(frozen=True)
class Rising:
    """One panel."""

    title: str
    rows: Sequence[Measurement]
    """In the order of their number of samples."""
    limit: Measurement | None


def rising(rows: Iterable[Measurement]) -> list[Rising]:
    """What there is at two numbers of samples or more."""
    rows = [r for r in rows if math.isfinite(r.teacher) or math.isfinite(r.student)]
    out = []
    for title, sources in KINDS.items():
        for measure, statistic in sources:
            mine = [r for r in rows if r.measure == measure and r.statistic == statistic]
            mine = sorted((r for r in mine if _k(r) > 0), key=_k)
            if len({_k(r) for r in mine}) > 1:
                tends = (r for r in rows if r.statistic == LIMITS.get(title))
                out.append(Rising(title, mine, next(tends, None)))
                break
    return out


def curves(rows: Iterable[Measurement], name: str) -> str | None:
    """All panels side by side on one scale; None if there are none."""
    found = rising(rows)
    if not found:
        return None
    wide = (WIDTH - LEFT - RIGHT - GAP * (len(found) - 1)) / len(found)
    wide = min(wide, 400)
    limits = _limits(found)
    with svg.style():
        figure = svg.canvas(WIDTH, TOP + TALL + FOOT)
        for i, panel in enumerate(found):
            axes = svg.box(figure, LEFT + i * (wide + GAP), TOP, wide, TALL)
            axes.set_ylim(*limits)
            _panel(axes, panel)
            axes.set_title(panel.title, fontsize=11, pad=10)
            ticks = [float(t) for t in axes.get_yticks() if limits[0] <= t <= limits[1]]
            axes.set_yticks(ticks, [steps.percent(t, 0) for t in ticks] if i == 0 else [])
        return svg.to_svg(figure, name, _spoken(found))


def _k(row: Measurement) -> float:
    return row.severity if row.severity is not None else math.nan


def _limits(found: Sequence[Rising]) -> tuple[float, float]:
    all_rows = [r for panel in found for r in (*panel.rows, *filter(None, (panel.limit,)))]
    seen = [v for r in all_rows for v in (r.teacher, r.student) if math.isfinite(v)]
    low, high = min(seen), max(seen)
    reach = (high - low) or 0.1
    return max(0.0, low - 0.12 * reach), high + 0.1 * reach


def _panel(axes: Axes, panel: Rising) -> None:
    axes.set_xscale("log", base=2)
    places = [_k(r) for r in panel.rows]
    for who, key, marker in (
        ("teacher", "teacher_interval", "o"),
        ("student", "student_interval", "s"),
    ):
        values = [getattr(r, who) for r in panel.rows]
        if not any(map(math.isfinite, values)):
            continue
        ends = [steps.span(r, key) for r in panel.rows]
        axes.fill_between(places, [low for low, _ in ends], [high for _, high in ends],
                          color=svg.COLOURS[who], alpha=0.18, lw=0)  # fmt: skip
        axes.plot(places, values, lw=1.8, marker=marker, ms=4.5, mew=0, color=svg.COLOURS[who],
                  linestyle=svg.DASH[who])  # fmt: skip
        limit = tends_to(panel, who)
        if math.isfinite(limit):
            axes.axhline(limit, color=svg.COLOURS[who], lw=1, linestyle=(0, (1, 2)))
    ticks = _apart(places)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("samples of each item", fontsize=10)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def tends_to(panel: Rising, who: str) -> float:
    """The limit of teacher or student; NaN where there is none, or where it may be anything."""
    if panel.limit is None:
        return math.nan
    low, high = steps.span(panel.limit, f"{who}_interval")
    return math.nan if low <= 0 and high >= 1 else float(getattr(panel.limit, who))


def _apart(places: Sequence[float]) -> list[float]:
    """The first and the last, and what lies a tenth of the way or more from those kept."""
    way = math.log(places[-1] / places[0])
    kept = [places[0]]
    for place in places[1:-1]:
        if math.log(place / kept[-1]) >= 0.12 * way <= math.log(places[-1] / place):
            kept.append(place)
    return [*kept, places[-1]]


def _spoken(found: Sequence[Rising]) -> str:
    said = []
    for panel in found:
        first, last = panel.rows[0], panel.rows[-1]
        seen = [
            f"{who} {_way(first, last, who)}"
            for who in ("teacher", "student")
            if any(math.isfinite(getattr(row, who)) for row in (first, last))
        ]
        said.append(f"{panel.title}: {', '.join(seen)}")
    return f"Share of items that are right over samples. {view.clean('; '.join(said))}."


def _way(first: Measurement, last: Measurement, who: str) -> str:
    start, end = (steps.percent(getattr(row, who)) for row in (first, last))
    return f"from {start} at {_k(first):g} to {end} at {_k(last):g}"
