"""Lines over the depth of layers or the severity of conditions, in small boxes side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from matplotlib.axes import Axes

from ringtest.measurement import Measurement
from ringtest.reports import view
from ringtest.reports.figures import svg

WIDTH: Final = 860
ACROSS: Final = 4
TALL, GAP_X, GAP_Y, LEFT, TOP, RIGHT = 112, 44, 62, 44, 46, 8

By = Literal["depth", "severity"]
AXIS: Final[dict[By, str]] = {"depth": "relative depth of the layer", "severity": "severity"}
MOST_MARKS: Final = 16
"""Points that have a mark each; of more a line is all that can be seen."""


@dataclass(frozen=True)
class Curve:
    """One box: a measure at every layer, or at every severity."""

    title: str
    note: str
    """Said below the title."""
    rows: Sequence[Measurement]
    """In the order of their places."""
    scale: str
    """Boxes of one name have one axis."""
    floor: float = math.nan
    """What comes without the model's training: the area below is shaded."""
    free: str = ""
    """What that is."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """Values beyond are drawn as arrows at the edge."""
    by: By = "depth"
    """What the places are."""

    @property
    def places(self) -> list[float]:
        """Relative depth of each row, or its severity; that of the clean rows is 0."""
        if self.by == "severity":
            return [float(row.severity or 0.0) for row in self.rows]
        return [float(row.params["depth"]) for row in self.rows]

    @property
    def values(self) -> list[float]:
        """All that has to lie within its axis."""
        seen = [v for row in self.rows for v in (row.teacher, row.student)]
        return [self.held(v) for v in (*seen, self.floor) if math.isfinite(v)]

    def beyond(self, row: Measurement) -> bool:
        """Whether teacher or student lies beyond the bounds."""
        seen = [v for v in (row.teacher, row.student) if math.isfinite(v)]
        return any(self.held(v) != v for v in seen)

    def held(self, value: float) -> float:
        """A value within the bounds."""
        return min(max(value, self.bounds[0]), self.bounds[1])


def boxes(found: Sequence[Curve], name: str, spoken: str) -> str | None:
    """All boxes, four in a line at most; None if there are none."""
    if not found:
        return None
    across = min(ACROSS, max(2, len(found)))
    wide = (WIDTH - LEFT - RIGHT - (across - 1) * GAP_X) / across
    down = math.ceil(len(found) / across)
    limits = _limits(found)
    with svg.style():
        figure = svg.canvas(WIDTH, down * (TOP + TALL) + (down - 1) * (GAP_Y - TOP) + 40)
        for i, curve in enumerate(found):
            x, y = LEFT + (i % across) * (wide + GAP_X), TOP + (i // across) * (TALL + GAP_Y)
            axes = svg.box(figure, x, y, wide, TALL)
            axes.set_ylim(*limits[curve.scale])
            _box(axes, curve)
            letters = int(wide / 6.8)
            axes.annotate(view.shorten(curve.title, letters), (0, 1), xycoords="axes fraction",
                          xytext=(0, 22), textcoords="offset points", weight="bold",
                          fontsize=10.5)  # fmt: skip
            last = curve.rows[-1]
            values = f"{_brief(last.teacher)} → {_brief(last.student)}"
            for where, side, text in ((0, "left", curve.note), (1, "right", values)):
                axes.annotate(text, (where, 1), xycoords="axes fraction", xytext=(0, 8), ha=side,
                              textcoords="offset points", fontsize=9.5,
                              color=svg.COLOURS["muted"])  # fmt: skip
            if i + across >= len(found):
                axes.set_xlabel(AXIS[curve.by], fontsize=10)
            elif curve.by == "depth":  # the same for all
                axes.set_xticklabels([])
        words = "; ".join(_spoken(curve) for curve in found)
        over = f"teacher and student over {found[0].by}"
        return svg.to_svg(figure, name, f"{spoken}, {over}. {words}.")


def _limits(found: Sequence[Curve]) -> dict[str, tuple[float, float]]:
    """Lowest and highest of each scale: all values, and intervals as far as they let lines be."""
    out = {}
    for scale in dict.fromkeys(curve.scale for curve in found):
        mine = [curve for curve in found if curve.scale == scale]
        values = [v for curve in mine for v in curve.values] or [0.0, 1.0]
        low, high = min(values), max(values)
        reach = (high - low) or 0.1 * (abs(high) or 1.0)
        inside = [(c, r) for c in mine for r in c.rows if not c.beyond(r)]
        ends = [c.held(r.teacher + end) for c, r in inside for end in (r.ci_low, r.ci_high)]
        wider = [v for v in ends if math.isfinite(v)] or values
        least = max(min(low, *wider), low - reach)
        most = min(max(high, *wider), high + reach)
        span = (most - least) or reach
        # Below a floor there is room to say what it is.
        floored = any(curve.floor <= least + 0.1 * span for curve in mine)
        out[scale] = least - (0.24 if floored else 0.08) * span, most + 0.08 * span
    return out


def _box(axes: Axes, curve: Curve) -> None:
    places, rows = curve.places, curve.rows
    if math.isfinite(curve.floor):
        svg.floor(axes, curve.floor)
        axes.annotate(curve.free, (0, _clear(axes, curve)), xycoords=("axes fraction", "data"),
                      xytext=(3, 0), textcoords="offset points", va="center", fontsize=9,
                      color=svg.COLOURS["muted"])  # fmt: skip
    # An interval around what is beyond the axis would cover all of it.
    inside = [math.nan if curve.beyond(row) else row.teacher for row in rows]
    low = [value + row.ci_low for value, row in zip(inside, rows, strict=True)]
    high = [value + row.ci_high for value, row in zip(inside, rows, strict=True)]
    if any(map(math.isfinite, low)):
        axes.fill_between(places, low, high, color=svg.COLOURS["student"], alpha=0.18, lw=0)
    marks = ("o", "s") if len(rows) <= MOST_MARKS else (None, None)
    for who, marker in zip(("teacher", "student"), marks, strict=True):
        values = [curve.held(getattr(row, who)) for row in rows]
        if any(map(math.isfinite, values)):
            axes.plot(places, values, lw=1.8, marker=marker, markersize=5, markeredgewidth=0,
                      color=svg.COLOURS[who], linestyle=svg.DASH[who])  # fmt: skip
        for place, value, row in zip(places, values, rows, strict=True):
            if math.isfinite(value) and value != getattr(row, who):
                axes.plot([place], [value], marker="v" if value > getattr(row, who) else "^", ms=9,
                          color=svg.COLOURS[who], mew=0)  # fmt: skip
    most = max(places) if curve.by == "severity" else 1.0
    axes.set(xlim=(-0.03 * most, 1.04 * most), xlabel="", ylabel="")
    ticks = _apart(places) if curve.by == "severity" else [0.0, 0.5, 1.0]
    axes.set_xticks(ticks, [_short(tick) for tick in ticks])
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _short(value: float) -> str:
    text = f"{value:g}"
    return text[1:] if text.startswith("0.") else text


def _apart(places: Sequence[float]) -> list[float]:
    """The first place, and from the last backwards those that leave room for their numbers."""
    first, room, kept = min(places), 0.16 * max(places), [max(places)]
    for place in sorted(places, reverse=True):
        if min(kept[-1] - place, place - first) >= room:
            kept.append(place)
    return sorted({first, *kept})


def _clear(axes: Axes, curve: Curve) -> float:
    """A height within the shaded area at which the first half of the lines leaves most room."""
    low, high = axes.get_ylim()
    step = 0.07 * (high - low)
    near = [
        curve.held(v)
        for depth, row in zip(curve.places, curve.rows, strict=True)
        for v in (row.teacher, row.student)
        if depth <= 0.6 and math.isfinite(v)
    ]
    places = [max(curve.floor - step, low + step), low + step]
    return max(places, key=lambda y: min((abs(y - v) for v in near), default=0.0))


def _brief(value: float) -> str:
    """A number that fits beside another, whatever its size."""
    long = math.isfinite(value) and abs(value) >= 10_000
    return f"{value:.0e}".replace("e+0", "e").replace("-", "−") if long else view.shown(value)


def _spoken(curve: Curve) -> str:
    last = curve.rows[-1]
    where = "last layer" if curve.by == "depth" else f"severity {curve.places[-1]:g}"
    return (
        f"{view.clean(curve.title)}, {where}: {view.shown(last.teacher)} and "
        f"{view.shown(last.student)}"
    )
