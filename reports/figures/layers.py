"""How like each layer of the student is to each layer of the teacher."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ringtest.measurement import Measurement
from ringtest.reports import view
from ringtest.reports.figures import heat, svg

WIDTH: Final = 860
MOST_LAYERS = 24


def similarity(rows: tuple[Measurement, ...], name: str) -> str | None:
    """Heatmap of CKA, student layers down, teacher layers across; None if it was not measured."""
    cells = {
        (r.student_layer, r.teacher_layer): r.student
        for r in rows
        if r.measure == "similarity.cka" and r.statistic == "cka" and r.condition == "clean"
        and r.slice is None and not r.headline and r.student_layer and r.teacher_layer
    }  # fmt: skip
    ours = _spread(list(dict.fromkeys(str(o) for o, _ in cells)))
    theirs = _spread(list(dict.fromkeys(str(t) for _, t in cells)))
    if len(ours) * len(theirs) < 2:
        return None
    values = np.array([[cells.get((o, t), math.nan) for t in theirs] for o in ours], dtype=float)
    cell = min(64.0, 560 / max(len(theirs), 4))
    height = min(max(cell * 0.62, 16), 34)
    down, across = [view.shorten(o, 30) for o in ours], [view.shorten(t, 22) for t in theirs]
    upright = max(map(len, across)) * 6 > cell
    left, top = 44 + 6.4 * max(map(len, down)), 26
    below = 16 + (6.4 * max(map(len, across)) if upright else 12)
    with svg.style():
        figure = svg.canvas(WIDTH, top + height * len(ours) + below + 20)
        axes = svg.box(figure, left, top, cell * len(theirs), height * len(ours), frame=False)
        heat.draw(axes, values, (0.0, 1.0), cell >= 34, xticklabels=across, yticklabels=down)
        _frame_best(axes, values)
        axes.set(xlabel="teacher layer", ylabel="student layer")
        axes.tick_params(axis="x", rotation=90 if upright else 0)
        beside = left + cell * len(theirs) + 28
        if beside + 60 <= WIDTH:
            heat.key(axes, beside, top, "CKA", (0.0, 1.0))
        spoken = (
            f"CKA between {len(ours)} student layers and {len(theirs)} teacher layers; "
            f"last against last {view.shown(float(values[-1, -1]))}."
        )
        return svg.to_svg(figure, name, spoken)


def _spread(names: list[str]) -> list[str]:
    """At most MOST_LAYERS of the names, evenly over the depth, first and last among them."""
    if len(names) <= MOST_LAYERS:
        return names
    kept = np.linspace(0, len(names) - 1, MOST_LAYERS).round().astype(int)
    return [names[k] for k in kept]


def _frame_best(axes: Axes, values: heat.Values) -> None:
    """A frame around the largest of each column."""
    for x in range(values.shape[1]):
        column = values[:, x]
        if np.isfinite(column).any():
            y = int(np.nanargmax(column))
            axes.add_patch(Rectangle((x, y), 1, 1, fill=False, lw=1.6, clip_on=False,
                                     edgecolor=svg.COLOURS["ink"]))  # fmt: skip
