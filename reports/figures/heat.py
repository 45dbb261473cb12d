"""Heatmaps with their values written in: one alone, or the teacher's beside the student's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from numpy.typing import NDArray

from ringtest.reports import view
from ringtest.reports.figures import svg

WIDTH: Final = 860
LETTER: Final = 6.2
"""Pixels of a letter of a label."""
CELL, NARROW, LINE = 44.0, 27.0, 24.0
"""Widest and narrowest cell with a number in it, and its height."""
BETWEEN, APART, TITLE, FOOT, KEY = 16, 16, 46, 34, 56
"""Gaps between a pair's maps and between pairs; room above a map, below it, and for the key."""
MOST_LETTERS: Final = 18

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """The same matrix of teacher and student."""

    title: str
    down: tuple[str, ...]
    """Labels of the lines."""
    across: tuple[str, ...]
    """Labels of the columns."""
    teacher: Values
    """(down, across); NaN where nothing was measured."""
    student: Values
    sides: tuple[str, str] = ("", "")
    """What lines are and what columns are."""

    @property
    def limits(self) -> tuple[float, float]:
        """One scale for both, at steps of .1."""
        both = np.concatenate([self.teacher.ravel(), self.student.ravel()])
        seen = both[np.isfinite(both)]
        if not len(seen):
            return 0.0, 1.0
        low, high = math.floor(10 * seen.min() + 1e-9) / 10, math.ceil(10 * seen.max() - 1e-9) / 10
        return (low, high) if high - low >= 0.2 else (high - 0.2, high)


def ramp() -> ListedColormap:
    """One hue whose opacity is the value reads on a light page and on a dark one."""
    rgb = to_rgb(svg.COLOURS["band"])
    return ListedColormap([(*rgb, round(0.08 + 0.82 * k / 20, 3)) for k in range(21)])


def draw(
    axes: Axes, values: Values, limits: tuple[float, float], written: bool, **labels: object
) -> None:
    """One map on axes; numbers are written as in tables, and a dash where there is none."""
    words = np.array([[view.shown(float(v)) for v in line] for line in values], dtype=object)
    sns.heatmap(values, vmin=limits[0], vmax=limits[1], cmap=ramp(), cbar=False, ax=axes,
                annot=words if written else False, fmt="", linewidths=0, **labels,
                annot_kws={"fontsize": 9.5, "color": svg.COLOURS["ink"]})  # fmt: skip
    if written:
        # A cell without a value gets no text from seaborn: it would look like a pale one.
        for y, x in np.argwhere(~np.isfinite(values)):
            axes.text(x + 0.5, y + 0.5, "–", ha="center", va="center", fontsize=9.5,
                      color=svg.COLOURS["muted"])  # fmt: skip
    axes.tick_params(length=0)
    axes.tick_params(axis="y", rotation=0)


def key(
    axes: Axes, left: float, top: float, title: str, limits: tuple[float, float], tall: float = 110
) -> None:
    """A key of five steps, its ends and middle named."""
    low, high = limits
    own = svg.box(axes.figure, left, top, 16, tall)  # type: ignore[arg-type]
    edges = np.linspace(low, high, 6)
    steps = (edges[:-1] + edges[1:]) / 2
    own.pcolormesh([0, 1], edges, steps[:, None], cmap=ramp(), vmin=low, vmax=high)
    for side in own.spines.values():
        side.set_visible(False)
    own.set_xticks([])
    own.yaxis.tick_right()
    places = [low, (low + high) / 2, high] if tall >= 60 else [low, high]
    own.set_yticks(places, [view.shown(p) if p else "0" for p in places])
    own.tick_params(length=0)
    own.set_title(title, fontsize=10)


def pairs(found: Sequence[Pair], name: str, spoken: str) -> str | None:
    """Pairs of maps, teacher left and student right, as many in a line as fit; None for none."""
    if not found:
        return None
    placed, total = _places([_size(pair) for pair in found])
    with svg.style():
        figure = svg.canvas(WIDTH, total)
        for pair, (x, y) in zip(found, placed, strict=True):
            cell, left = _shape(pair)
            wide, tall = cell * len(pair.across), LINE * len(pair.down)
            for k, (who, values) in enumerate(
                (("teacher", pair.teacher), ("student", pair.student))
            ):
                axes = svg.box(figure, x + left + k * (wide + BETWEEN), y + TITLE, wide, tall,
                               frame=False)  # fmt: skip
                across, down = _labels(pair.across), _labels(pair.down)
                draw(axes, values, pair.limits, cell >= NARROW, xticklabels=across,
                     yticklabels=down if k == 0 else False)  # fmt: skip
                axes.set_xlabel(pair.sides[1], fontsize=10)
                axes.set_ylabel(pair.sides[0] if k == 0 else "", fontsize=10)
                upright = _upright(across, cell)
                axes.tick_params(axis="x", rotation=90 if upright else 0)
                axes.annotate(who, (0, 1), xycoords="axes fraction", xytext=(0, 6), fontsize=10.5,
                              textcoords="offset points", color=svg.COLOURS[who])  # fmt: skip
                if k == 0:
                    axes.annotate(pair.title, (0, 1), xycoords="axes fraction", weight="bold",
                                  xytext=(-left, 24), textcoords="offset points")  # fmt: skip
            key(axes, x + left + 2 * wide + BETWEEN + 12, y + TITLE, "", pair.limits,
                min(110.0, tall))  # fmt: skip
        return svg.to_svg(figure, name, f"{spoken} {'; '.join(map(_spoken, found[:4]))}.")


def _labels(names: Sequence[str]) -> list[str]:
    return [view.shorten(name, MOST_LETTERS) for name in names]


def _upright(labels: Sequence[str], cell: float) -> bool:
    return max(map(len, labels)) * LETTER > cell


def _shape(pair: Pair) -> tuple[float, float]:
    """Width of a cell, and room left of the maps."""
    left = 10 + LETTER * max(map(len, _labels(pair.down))) + (16 if pair.sides[0] else 0)
    return min(CELL, (WIDTH - left - BETWEEN - KEY) / (2 * len(pair.across))), left


def _size(pair: Pair) -> tuple[float, float]:
    """Width and height of a pair with all that is written around it."""
    cell, left = _shape(pair)
    across = _labels(pair.across)
    below = FOOT + (LETTER * max(map(len, across)) if _upright(across, cell) else 10)
    wide = left + 2 * cell * len(across) + BETWEEN + KEY
    return wide, TITLE + LINE * len(pair.down) + below


def _places(sizes: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], float]:
    """Upper left corner of each, line by line, and the height of it all."""
    out, x, y, tall = [], 0.0, 0.0, 0.0
    for wide, high in sizes:
        if x and x + wide > WIDTH:
            x, y, tall = 0.0, y + tall, 0.0
        out.append((x, y))
        x, tall = x + wide + APART, max(tall, high)
    return out, y + tall


def _spoken(pair: Pair) -> str:
    """The two maps in words: their first entries, and how many there are."""
    cells = [
        f"{down} and {across} {view.shown(float(pair.teacher[i, j]))} and "
        f"{view.shown(float(pair.student[i, j]))}"
        for i, down in enumerate(pair.down[:3])
        for j, across in enumerate(pair.across[:3])
    ]
    return f"{view.clean(pair.title)}, teacher and student: {', '.join(map(view.clean, cells))}"
