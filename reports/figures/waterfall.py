"""The waterfall: from the mean member to the oracle, and the student's level across it."""

from __future__ import annotations

import math
from typing import Final

from matplotlib.axes import Axes

from ringtest.reports import steps, view
from ringtest.reports.figures import svg
from ringtest.reports.steps import Scale, Span, Step, Waterfall

WIDTH: Final = 860
LEFT, PLOT, TOP, TALL, FOOT = 56, 792, 26, 230, 72
BAR: Final = 0.52
"""Width of a bar, the distance of two being 1."""
LEVEL: Final = 0.62
"""Width of the line at a level."""


def waterfall(found: Waterfall, name: str) -> str:
    """Each step a bar from the level before to its own, with an interval; the student beside.

    A bar says only how far a step rises or falls, so that the axis need not begin at 0.
    """
    placed = math.isfinite(found.student)
    count = len(found.steps) + placed
    low, high = _limits(found)
    with svg.style():
        figure = svg.canvas(WIDTH, TOP + TALL + FOOT)
        axes = svg.box(figure, LEFT, TOP, PLOT, TALL)
        axes.set_xlim(-0.6, count - 0.4)
        axes.set_ylim(low, high)
        _frame(axes, found, low)
        before = math.nan
        for x, step in enumerate(found.steps):
            _step(axes, x, step, before, found.scale)
            before = step.value
        if placed:
            _student(axes, count - 1, found)
        return svg.to_svg(figure, name, spoken(found))


def _limits(found: Waterfall) -> Span:
    """All levels and their intervals, with room for a number above the highest."""
    levels = [(step.value, step.span) for step in found.steps]
    levels += [(found.student, found.student_span)]
    ends = [v for value, span in levels for v in (value, *span) if math.isfinite(v)]
    low, high = min(ends), max(ends)
    reach = (high - low) or 0.1
    least = low - 0.1 * reach
    # No share lies below 0, though an interval around one may.
    return max(0.0, least) if found.scale.shares else least, high + 0.2 * reach


def _frame(axes: Axes, found: Waterfall, low: float) -> None:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="x", pad=8, labelcolor=svg.COLOURS["ink"], labelsize=11)
    top = min(axes.get_ylim()[1], 1.0 if found.scale.shares else math.inf)
    ticks = [float(t) for t in axes.get_yticks() if low <= t <= top]
    axes.set_yticks(ticks, _ticks(ticks, found.scale))
    names = [view.shorten(view.sentence_case(step.name), 22) for step in found.steps]
    if math.isfinite(found.student):
        names.append("Student")
    axes.set_xticks(range(len(names)), names)
    scale = found.scale
    what = "Items that are right" if scale.shares else view.sentence_case(scale.word)
    begins = "" if low <= 0 else f"; the axis begins at {scale.level(low)}, not at 0"
    axes.annotate(f"{what}{begins}", (0, 1), xycoords="axes fraction",
                  xytext=(-LEFT, 10), textcoords="offset points", fontsize=10,
                  color=svg.COLOURS["muted"])  # fmt: skip


def _ticks(places: list[float], scale: Scale) -> list[str]:
    if not scale.shares:
        return [view.shown(place) for place in places]
    whole = all(abs(100 * place - round(100 * place)) < 1e-6 for place in places)
    return [steps.percent(place, 0 if whole else 1) for place in places]


def _step(axes: Axes, x: int, step: Step, before: float, scale: Scale) -> None:
    ink = svg.COLOURS["teacher"]
    if math.isfinite(before):
        falls = step.value < before
        colour = svg.COLOURS["fail" if falls else "band"]
        axes.bar(x, step.value - before, bottom=before, width=BAR, color=colour, alpha=0.28, lw=0,
                 zorder=1.5)  # fmt: skip
        axes.plot([x - 1 + LEVEL / 2, x + LEVEL / 2], [before, before], color=svg.COLOURS["muted"],
                  lw=0.9, linestyle=(0, (2, 2)), zorder=1.6)  # fmt: skip
        rise = scale.rise(step.rise)
        sign = {"+": "▲ ", "−": "▼ "}.get(rise[0], "")
        _below(axes, x, sign + rise, scale.rises(step.rise_span))
    axes.plot([x - LEVEL / 2, x + LEVEL / 2], [step.value] * 2, color=ink, lw=2.4, zorder=3)
    _whisker(axes, x, step.value, step.span, "teacher", scale)


def _student(axes: Axes, x: int, found: Waterfall) -> None:
    colour = svg.COLOURS["student"]
    low, high = found.student_span
    if math.isfinite(low) and math.isfinite(high):
        axes.axhspan(low, high, color=colour, alpha=0.10, lw=0, zorder=0.6)
    axes.axhline(found.student, color=colour, lw=1.6, zorder=2)
    axes.plot([x], [found.student], marker="s", ms=9, color=colour, mew=0, zorder=4)
    _whisker(axes, x, found.student, found.student_span, "student", found.scale)
    step = next((s for s in found.steps if s.name == "ensemble"), found.steps[-1])
    if math.isfinite(step.share):
        span = steps.percents(step.share_span, 0)
        head = f"{steps.percent(step.share, 0)} of the gain"
        _below(axes, x, head, span)
    elif step.share_reason:
        _below(axes, x, "share of the gain", "not measurable")


def _whisker(axes: Axes, x: int, value: float, span: Span, who: str, scale: Scale) -> None:
    low, high = span
    top = value
    if math.isfinite(low) and math.isfinite(high):
        top = max(value, high)
        axes.errorbar([x], [value], [[max(0.0, value - low)], [max(0.0, high - value)]],
                      color=svg.COLOURS[who], lw=1.4, capsize=4, zorder=3)  # fmt: skip
    axes.annotate(
        scale.level(value), (x, top), xytext=(0, 6), textcoords="offset points", ha="center",
        va="bottom", weight="bold", fontsize=12, zorder=5,
        color=svg.COLOURS["student" if who == "student" else "ink"],
        bbox={"fc": svg.COLOURS["paper"], "ec": "none", "pad": 1.5, "alpha": 0.85},
    )  # fmt: skip


def _below(axes: Axes, x: int, head: str, interval: str) -> None:
    """Two lines below the name of a step."""
    for down, said, colour in ((-38, head, "ink"), (-54, interval, "muted")):
        axes.annotate(said, (x, 0), xycoords=("data", "axes fraction"), xytext=(0, down),
                      textcoords="offset points", ha="center", fontsize=10.5,
                      color=svg.COLOURS[colour], annotation_clip=False)  # fmt: skip


def spoken(found: Waterfall) -> str:
    """The picture for a reader who cannot see it."""
    scale, said = found.scale, []
    for i, step in enumerate(found.steps):
        span = scale.levels(step.span)
        words = f"{step.name} {scale.level(step.value)}{f' ({span})' if span else ''}"
        said.append(words + (f", {scale.rise(step.rise)}" if i else ""))
    if math.isfinite(found.student):
        span = scale.levels(found.student_span)
        said.append(f"student {scale.level(found.student)}{f' ({span})' if span else ''}")
    return f"From the mean member to the oracle. {'; '.join(said)}."
