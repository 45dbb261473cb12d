"""What the kinds of plots share: lines, the choice of a measure, colours and marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import seaborn as sns

from ringtest.errors import close_to
from ringtest.measurement import Measurement
from ringtest.reports import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ringtest.report import Report

STUDENT: Final = "#0072b2"
TEACHER: Final = "#595959"
BAND: Final = "#56b4e9"
STATUS: Final = {
    "pass": ("o", "#00805e"),
    "fail": ("D", "#c44601"),
    "inconclusive": ("^", "#8a6100"),
}
"""Mark and colour of a status: darker shades of the palette of Okabe and Ito."""
CONCEPTS: Final = ("#0072b2", "#c44601", "#00805e", "#a3467a")
MOST: Final = 60
"""Lines of a list that are drawn; where there are more, those with the most harm."""
LEFT_OUT: Final = "left out"
MARK: Final = {"teacher": "o", "student": "s"}
Item = TypeVar("Item")


@dataclass(frozen=True)
class Line:
    """One line of a plot: a row of the report and where it stands."""

    block: str
    """Lines of one block stand together."""
    key: object
    """The same for the same line of two students."""
    label: str
    row: Measurement | None = field(default=None, compare=False)
    """None: a heading."""
    judged: Measurement | None = field(default=None, compare=False)
    """The headline that says how much the student may lose here."""


class Kind(Protocol):
    """What a kind of plot offers."""

    def find(self, report: Report, measure: str | None = None, several: bool = False) -> list[Line]:
        """The lines to draw; raises Missing if the report holds none."""

    def size(self, lines: Sequence[Line], several: bool = False) -> tuple[float, float]:
        """Width and height of one panel, in inches."""

    def draw(self, ax: Axes, lines: Sequence[Line], places: Sequence[Line]) -> None:
        """Draw a student's lines at the places that all students share."""


class Missing(Exception):
    """The report lacks what the plot shows: the message goes on after the student's name."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def choose(
    rows: Iterable[Measurement],
    known: Sequence[str],
    measure: str | None,
    what: str,
    fix: str,
) -> list[Measurement]:
    """Rows of the measure that was asked for, or of the first known one that the report holds.

    Raises Missing if there are none.
    """
    held: dict[str, list[Measurement]] = {}
    for row in rows:
        if row.measure in known and math.isfinite(row.student):
            held.setdefault(row.measure, []).append(row)
    if measure is None:
        measure = next((m for m in known if m in held), None)
        if measure is None:
            raise Missing(f"holds {what}", fix)
    elif measure not in held:
        what = "does not draw" if measure not in known else "holds no rows for"
        raise Missing(f"{what} {measure!r} here", close_to(measure, held or known))
    return held[measure]


def worst(items: Sequence[Item], harm: Callable[[Item], float]) -> list[Item]:
    """At most ``MOST`` items, those with the most harm, in their own order."""

    def rank(i: int) -> float:
        value = harm(items[i])
        return math.inf if math.isnan(value) else -value

    kept = sorted(sorted(range(len(items)), key=rank)[:MOST])
    return [items[i] for i in kept]


def left_out(shown: int, found: int, several: bool) -> list[Line]:
    """A last line that says that there are more; none if all are shown."""
    if shown == found:
        return []
    count = "more" if several else f"{found - shown:,} more"
    return [Line(LEFT_OUT, LEFT_OUT, f"and {count} with less harm")]


def better(row: Measurement) -> str:
    """Which way is better, in words for an axis."""
    return f"{row.direction} is better"


def interval(row: Measurement) -> tuple[float, float]:
    """The interval of the difference, around the student."""
    return row.teacher + row.ci_low, row.teacher + row.ci_high


def dumbbells(
    ax: Axes, lines: Sequence[Line], places: Sequence[Line], teacher: str, student: str
) -> None:
    """Teacher and student of every row on a line of its own, with the student's interval."""
    at = {place.key: y for y, place in enumerate(places)}
    rows = [(at[line.key], line.row) for line in lines if line.row is not None]
    for y, row in rows:
        low, high = interval(row)
        if math.isfinite(low):
            ax.hlines(y, low, high, color=STUDENT, lw=1.6, zorder=3)
        if math.isfinite(row.teacher):
            ax.hlines(y, row.teacher, row.student, color=TEACHER, lw=0.7, alpha=0.6)
    level = next((f"{100 * r.ci_level:g} %" for _, r in rows if math.isfinite(r.ci_level)), "95 %")
    ys = [y for y, _ in rows]
    for who, label, size, fill in (
        ("teacher", teacher, 46, ax.get_facecolor()),
        ("student", f"{student}, with {level} interval of the difference", 26, STUDENT),
    ):
        values = [getattr(row, who) for _, row in rows]
        if any(map(math.isfinite, values)):
            colour = TEACHER if who == "teacher" else STUDENT
            sns.scatterplot(x=values, y=ys, ax=ax, marker=MARK[who], s=size, color=fill,
                            edgecolor=colour, linewidth=1.3, zorder=4, label=label,
                            legend=False)  # fmt: skip
    list_axis(ax, places)


def list_axis(ax: Axes, places: Sequence[Line]) -> None:
    """A y axis that lists the lines from top to bottom, blocks apart."""
    labels = [view.shorten(p.label, 46) for p in places]
    # A user's names may hold dollar signs, and are no mathematics.
    ax.set_yticks(range(len(places)), labels, fontsize="small", parse_math=False)
    for text, place in zip(ax.get_yticklabels(), places, strict=True):
        if place.row is None:
            text.set_fontweight("bold")
    ax.set_ylim(len(places) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylabel("")
    for y in range(1, len(places)):
        if places[y].block != places[y - 1].block:
            ax.axhline(y - 0.5, color=TEACHER, lw=0.6, alpha=0.35, zorder=0)
    ax.grid(axis="x", lw=0.5, alpha=0.5)
    ax.set_axisbelow(True)
