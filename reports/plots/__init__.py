"""Figures for notebooks and papers: ``report.plot(kind)``, drawn with seaborn on matplotlib axes.

Each kind finds the rows it needs and draws them; nothing is computed here. A new kind is a class in
a new module, and a line in ``KINDS``. (The figures of the HTML page are in ``figures``.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ringtest.errors import ConfigError, close_to
from ringtest.reports.plots import band, canvas, conditions, groups, layers
from ringtest.reports.plots.common import LEFT_OUT, Kind, Line, Missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ringtest.report import Report, ReportSet

KINDS: Final[dict[str, Kind]] = {
    "layers": layers.Layers(),
    "conditions": conditions.Conditions(),
    "groups": groups.Groups(),
    "band": band.Band(),
}
ACROSS: Final = 3
"""Panels of a set that stand side by side."""


def plot(report: Report, kind: str, measure: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw one report; see :meth:`ringtest.report.Report.plot`."""
    made = _kind(kind)
    try:
        lines = made.find(report, measure)
    except Missing as why:
        raise ConfigError(f"plot {kind!r}", f"{report.student!r} {why}", why.fix) from why
    own = ax is None
    if ax is None:
        ax = canvas.panels(1, 1, made.size(lines))[0]
    made.draw(ax, lines, lines)
    canvas.finish(ax, report.student, report.verdict, keys=not own)
    if own:
        canvas.legend([ax])
    return ax


def plot_set(reports: ReportSet, kind: str, measure: str | None = None) -> NDArray[np.object_]:
    """Draw a panel a student on common axes; see :meth:`ringtest.report.ReportSet.plot`."""
    made = _kind(kind)
    found: dict[str, list[Line]] = {}
    missing: dict[str, Missing] = {}
    for name, report in reports.items():
        try:
            found[name] = made.find(report, measure, several=True)
        except Missing as why:
            missing[name] = why
    if not found:
        name, first = next(iter(missing.items()))
        problem = f"{name!r} {first}, and no other student does better"
        raise ConfigError(f"plot {kind!r}", problem, first.fix)
    places = _merged(list(found.values()))
    axes = canvas.panels(len(reports), min(ACROSS, len(reports)), made.size(places, several=True))
    for ax, (name, report) in zip(axes, reports.items(), strict=True):
        if name in found:
            made.draw(ax, found[name], places)
        else:
            canvas.say(ax, f"{name} {missing[name]}")
        canvas.finish(ax, name, report.verdict, several=True)
    canvas.share(axes, [name in found for name in reports])
    canvas.legend(list(axes))
    return axes


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ConfigError("plot", f"{name!r} is no kind of plot", close_to(str(name), KINDS))
    return KINDS[name]


def _merged(all_lines: list[list[Line]]) -> list[Line]:
    """Every line once, lines of one block together, in the order in which they first occur."""
    blocks: dict[str, dict[object, Line]] = {}
    for lines in all_lines:
        for line in lines:
            blocks.setdefault(line.block, {}).setdefault(line.key, line)
    lines = [line for block in blocks.values() for line in block.values()]
    return sorted(lines, key=lambda line: line.block == LEFT_OUT)
