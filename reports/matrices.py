"""Matrices out of rows: what is called "a -> b", and what was read at each layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from ringtest.measurement import Measurement
from ringtest.reports import names, view
from ringtest.reports.figures.heat import Pair, Values

ARROW: Final = " -> "
MOST_LINES: Final = 24
"""Lines of one matrix; report.json has them all."""
MOST_COLUMNS: Final = 12


Drawn = tuple[Pair, list[Measurement]]
"""A matrix and the rows that are in it."""


def pairs(rows: Sequence[Measurement], what: str) -> tuple[list[Drawn], list[Measurement]]:
    """Matrices of rows whose slice is "COLUMN: a -> b", and the rows to be drawn otherwise.

    Line a, column b; of several layers the last, and all of them are given back to be drawn over
    depth. Where only one of "a -> b" and "b -> a" was measured, and no "a -> a", the matrix is
    symmetric, and a cosine with itself is 1.

    Args:
        rows: of one measure, with values.
        what: the measure in words.
    """
    columns = {r.slice for r in rows if r.slice and ARROW not in r.slice}
    found: dict[tuple[str, str, str, float | None, str | None], dict[str, list[Measurement]]] = {}
    rest: list[Measurement] = []
    for row in rows:
        split = _split(row.slice or "", columns)
        if split is None:
            rest.append(row)
            continue
        column, text = split
        key = (column, row.statistic, row.condition, row.severity, row.concept)
        found.setdefault(key, {}).setdefault(text, []).append(row)
    out = []
    for (column, statistic, *_), series in found.items():
        entries = {text: max(mine, key=_depth) for text, mine in series.items()}
        rest += [r for mine in series.values() if len(mine) > 1 for r in mine]
        where = next(iter(entries.values()))
        title = f"{view.clean(column)}: {view.clean(names.statistic(statistic)) or what}"
        if where.condition != "clean":
            title += f", {view.condition(where.condition)}"
            title += f" {where.severity:g}" if where.severity is not None else ""
        out.append((_pair(title, entries, statistic), list(entries.values())))
    # Of one column scores come first, and what is symmetric behind them.
    order = list(dict.fromkeys(column for column, *_ in found))
    places = [order.index(column) for column, *_ in found]
    ranks = sorted(range(len(out)), key=lambda k: (places[k], not out[k][0].sides[0]))
    return [out[k] for k in ranks], rest


def _split(name: str, columns: Iterable[str]) -> tuple[str, str] | None:
    """Column and "a -> b" of the name of an entry; None if it is none."""
    if ARROW not in name:
        return None
    known = [c for c in columns if name.startswith(f"{c}: ")]
    if known:
        column = max(known, key=len)
        return column, name[len(column) + 2 :]
    column, colon, text = name.partition(": ")
    return (column, text) if colon and ARROW in text else None


def _known(entries: dict[str, Measurement]) -> dict[str, tuple[str, str]]:
    """Both ends of each "a -> b"; labels may hold arrows, so they are learnt from "a -> a"."""
    own = []
    for text in entries:
        half = (len(text) - len(ARROW)) // 2
        if text == f"{text[:half]}{ARROW}{text[:half]}":
            own.append(text[:half])
    whole = {f"{a}{ARROW}{b}": (a, b) for a in own for b in own}
    if own and all(text in whole for text in entries):
        return {text: whole[text] for text in entries}
    return {text: (a, b) for text in entries for a, _, b in [text.partition(ARROW)]}


def _pair(title: str, entries: dict[str, Measurement], statistic: str) -> Pair:
    labels = _known(entries)
    ends = list(dict.fromkeys(name for pair in labels.values() for name in pair))[:MOST_COLUMNS]
    teacher = np.full((len(ends), len(ends)), math.nan)
    student = teacher.copy()
    given = set(labels.values())
    # What is the same both ways; a score that was read one way alone says nothing of the other.
    mirrored = "cosine" in statistic and not any((b, a) in given for a, b in given)
    if mirrored:
        np.fill_diagonal(teacher, 1.0)
        np.fill_diagonal(student, 1.0)
    for text, row in entries.items():
        a, b = labels[text]
        if a not in ends or b not in ends:
            continue
        places = [(ends.index(a), ends.index(b))]
        places += [places[0][::-1]] if mirrored else []
        for place in places:
            teacher[place], student[place] = row.teacher, row.student
    sides = ("", "") if mirrored else ("probe of", "tried in")
    return Pair(title, tuple(ends), tuple(ends), teacher, student, sides)


def layers(rows: Sequence[Measurement], title: str) -> tuple[list[Drawn], list[Measurement]]:
    """A matrix of what was read (line) at each layer of the student (column), by depth.

    Lines and columns without any value are left out. Rows that know no depth are given back.

    Args:
        rows: of one measure; NaN where there is no value.
        title: of the matrix.
    """
    known = [bool(r.student_layer) and "depth" in r.params for r in rows]
    placed = [r for r, place in zip(rows, known, strict=True) if place]
    rest = [r for r, place in zip(rows, known, strict=True) if not place]
    read = {_line(r) for r in placed if math.isfinite(r.student)}
    placed = [r for r in placed if _line(r) in read]
    if not placed:
        return [], rest
    across = {str(r.student_layer): _depth(r) for r in placed}
    ordered = sorted(across, key=lambda name: across[name])
    columns = [ordered[k] for k in _spread(len(ordered))]
    lines = list(dict.fromkeys(_line(r) for r in placed))[:MOST_LINES]
    teacher: Values = np.full((len(lines), len(columns)), math.nan)
    student = teacher.copy()
    drawn = [r for r in placed if _line(r) in lines and r.student_layer in columns]
    for row in drawn:
        place = lines.index(_line(row)), columns.index(str(row.student_layer))
        teacher[place], student[place] = row.teacher, row.student
    return [(Pair(title, tuple(lines), tuple(columns), teacher, student), drawn)], rest


def _spread(count: int) -> list[int]:
    """At most MOST_COLUMNS of so many, evenly, the first and the last among them."""
    if count <= MOST_COLUMNS:
        return list(range(count))
    return [round(k) for k in np.linspace(0, count - 1, MOST_COLUMNS).tolist()]


def _line(row: Measurement) -> str:
    """What a line is called: concept, and the slice where it says more."""
    parts = dict.fromkeys(view.clean(part) for part in (row.concept, row.slice) if part)
    return ", ".join(parts) or view.clean(row.statistic)


def _depth(row: Measurement) -> float:
    depth = row.params.get("depth")
    return float(depth) if isinstance(depth, int | float) else 1.0
