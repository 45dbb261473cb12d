"""Teacher against student from layer to layer: similarity and what can be decoded."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb

from ringtest.measurement import Measurement
from ringtest.reports import view
from ringtest.reports.figures import svg

WIDTH: Final = 860
MOST_LAYERS = 24
MOST_CONCEPTS = 3
_CONTEXT_MEASURES: Final = ("probe.decodability", "probe.selectivity")


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
        # One hue whose opacity is the similarity reads on a light page and on a dark one.
        rgb = to_rgb(svg.COLOURS["band"])
        ramp = ListedColormap([(*rgb, round(0.04 + 0.86 * k / 20, 3)) for k in range(21)])
        written = cell >= 34
        sns.heatmap(values, vmin=0, vmax=1, cmap=ramp, cbar=False, ax=axes, annot=written,
                    fmt=".2f", linewidths=0, xticklabels=across, yticklabels=down,
                    annot_kws={"fontsize": 9.5, "color": svg.COLOURS["ink"]})  # fmt: skip
        axes.set(xlabel="teacher layer", ylabel="student layer")
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=90 if upright else 0)
        axes.tick_params(axis="y", rotation=0)
        _scale(axes, ramp, left + cell * len(theirs) + 28, top, figure_width=WIDTH)
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


def _scale(axes: Axes, ramp: ListedColormap, left: float, top: float, figure_width: int) -> None:
    """A key of five steps beside the map."""
    if left + 60 > figure_width:
        return
    key = svg.box(axes.figure, left, top, 16, 110)  # type: ignore[arg-type]
    key.pcolormesh([0, 1], np.linspace(0, 1, 6), np.linspace(0.1, 0.9, 5)[:, None], cmap=ramp,
                   vmin=0, vmax=1)  # fmt: skip
    for side in key.spines.values():
        side.set_visible(False)
    key.set_xticks([])
    key.yaxis.tick_right()
    key.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
    key.tick_params(length=0)
    key.set_title("CKA", fontsize=10)


def probes(rows: tuple[Measurement, ...], name: str) -> str | None:
    """Decodability and selectivity over relative depth, one panel a concept."""
    found = [
        r
        for r in rows
        if r.measure in _CONTEXT_MEASURES and r.condition == "clean" and r.slice is None
        and isinstance(r.params.get("depth"), int | float) and math.isfinite(r.student)
    ]  # fmt: skip
    measures = [m for m in _CONTEXT_MEASURES if any(r.measure == m for r in found)]
    concepts = list(dict.fromkeys(r.concept for r in found))[:MOST_CONCEPTS]
    if not found:
        return None
    wide = 318 if len(measures) == 2 else 640
    tall, gap, top, left = 150, 64, 44, 56
    with svg.style():
        figure = svg.canvas(WIDTH, top + len(concepts) * (tall + gap) - gap + 48)
        for i, concept in enumerate(concepts):
            for j, measure in enumerate(measures):
                mine = [r for r in found if r.concept == concept and r.measure == measure]
                axes = svg.box(figure, left + j * (wide + 112), top + i * (tall + gap), wide, tall)
                _panel(axes, sorted(mine, key=lambda r: float(r.params["depth"])))
                what = view.shorten(concept or "target", 30)
                axes.set_title(f"{view.measure(measure).capitalize()} of {what}", pad=10)
                if i == len(concepts) - 1:
                    axes.set_xlabel("relative depth of the layer")
        spoken = "Teacher and student over relative depth: " + ", ".join(
            f"{view.measure(m)} of {view.clean(c or 'target')}" for c in concepts for m in measures
        )
        return svg.to_svg(figure, name, spoken + ".")


def _panel(axes: Axes, rows: list[Measurement]) -> None:
    if not rows:
        axes.set_visible(False)
        return
    depth = [float(r.params["depth"]) for r in rows]
    student = [r.student for r in rows]
    teacher = [r.teacher for r in rows]
    low = [r.teacher + r.ci_low for r in rows]
    high = [r.teacher + r.ci_high for r in rows]
    axes.fill_between(depth, low, high, color=svg.COLOURS["student"], alpha=0.18, lw=0)
    for who, values, marker in (("teacher", teacher, "o"), ("student", student, "s")):
        sns.lineplot(x=depth, y=values, ax=axes, color=svg.COLOURS[who], lw=1.8, marker=marker,
                     markersize=5, markeredgewidth=0, errorbar=None, estimator=None,
                     linestyle=svg.DASH[who])  # fmt: skip
    axes.set(xlim=(0, 1.02), xlabel="", ylabel="")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    _name_lines(axes, depth[-1], teacher[-1], student[-1])


def _name_lines(axes: Axes, x: float, teacher: float, student: float) -> None:
    """Write each line's name behind its end, apart where the ends meet."""
    if not (math.isfinite(teacher) and math.isfinite(student)):
        return
    low, high = axes.get_ylim()
    near = abs(teacher - student) < 0.09 * (high - low)
    up = (6 if teacher >= student else -6) if near else 0
    for who, y, offset in (("teacher", teacher, up), ("student", student, -up)):
        axes.annotate(who, (x, y), xytext=(9, offset), textcoords="offset points", va="center",
                      fontsize=10, color=svg.COLOURS[who], annotation_clip=False)  # fmt: skip
