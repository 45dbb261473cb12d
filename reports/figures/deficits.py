"""How far the student falls behind the teacher, by kind of corruption and severity."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ringtest.measurement import AREA, Measurement
from ringtest.reports import view
from ringtest.reports.figures import heat, svg
from ringtest.reports.figures.conditions import CORRUPTION

SCORE: Final = "outputs.score"
MOST_KINDS: Final = 24
CELL: Final = 58.0
"""Widest cell: room for a signed number."""
FOOT: Final = 44
KEY: Final = 60
"""Room for the key beside the map."""
MOST_LETTERS: Final = 40


def deficits(rows: tuple[Measurement, ...], name: str) -> str | None:
    """One line a kind, the worst first, one column a severity; None under two of either.

    A number is bold where the interval of the difference lies beyond 0, on either side.
    """
    mine = [r for r in rows if r.measure == SCORE and r.slice is None and r.statistic != AREA]
    mine = [r for r in mine if math.isfinite(r.harm)]
    clean = next((r for r in mine if r.condition == "clean"), None)
    kinds: dict[str, dict[float, Measurement]] = {}
    for row in mine:
        if row.condition.startswith(CORRUPTION) and row.severity:
            kinds.setdefault(row.condition, {})[row.severity] = row
    severities = sorted({s for found in kinds.values() for s in found})
    if len(kinds) < 2 or len(severities) < 2:
        return None
    means = {k: float(np.mean([r.harm for r in found.values()])) for k, found in kinds.items()}
    worst = sorted(kinds, key=lambda k: -means[k])[:MOST_KINDS]
    first = [] if clean is None else [clean]
    grid = [[*first, *(kinds[k].get(s) for s in severities)] for k in worst]
    values = np.array([[math.nan if r is None else r.harm for r in line] for line in grid])
    across = [*("clean" for _ in first), *(f"{s:g}" for s in severities)]
    down = [view.shorten(view.sentence_case(view.condition(k)), MOST_LETTERS) for k in worst]
    return _drawn(grid, values, down, across, name)


def _drawn(
    grid: list[list[Measurement | None]],
    values: heat.Values,
    down: list[str],
    across: list[str],
    name: str,
) -> str:
    left = 16 + heat.LETTER * max(map(len, down))
    cell = min(CELL, (heat.WIDTH - left - KEY) / len(across))
    wide, tall = cell * len(across), heat.LINE * len(down)
    # Where the student is no worse there is no colour: the scale begins at 0.
    top = max(0.1, math.ceil(10 * float(np.nanmax(values))) / 10)
    with svg.style():
        figure = svg.canvas(heat.WIDTH, 24 + tall + FOOT)
        axes = svg.box(figure, left, 24, wide, tall, frame=False)
        written = cell >= heat.NARROW
        heat.draw(axes, values, (0.0, top), written, xticklabels=across, yticklabels=down)
        for text, row in zip(axes.texts, (r for line in grid for r in line if r), strict=False):
            if row.ci_low > 0 or row.ci_high < 0:
                text.set_fontweight("bold")
        axes.set_xlabel("severity", fontsize=10)
        heat.key(axes, left + wide + 16, 24, "", (0.0, top), min(110.0, tall))
        first = ", ".join(
            f"{d} at {across[-1]} {view.shown(float(v))}"
            for d, v in zip(down[:4], values[:4, -1], strict=True)
        )
        return svg.to_svg(figure, name, f"Deficit of the student. {view.clean(first)}.")
