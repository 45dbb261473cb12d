"""From the context rows of a family of measures to what its section shows: pictures and words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ringtest.measurement import Measurement
from ringtest.reports import families, matrices, names, unread, view
from ringtest.reports.families import FAMILIES, Family, Panel
from ringtest.reports.figures import curves, dots, heat
from ringtest.reports.figures.curves import Curve

MOST_BOXES: Final = 48
"""Boxes of lines in a section."""
MOST_DOTS: Final = 16
"""Lines of a panel of dots; the worst come first where there are more."""
MOST_PANELS: Final = 12
"""Panels of dots in a section."""
MOST_MAPS: Final = 8
"""Pairs of matrices in a section."""
MOST_NOTES: Final = 12


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    heading: str
    svg: str
    caption: str
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    family: Family
    pictures: tuple[Picture, ...]
    unread: tuple[str, ...]
    """What could not be measured, in sentences."""
    left_out: int
    """Rows that are in the table alone: of other conditions, or of too many."""


def sections(rows: Iterable[Measurement], prefix: str) -> list[Section]:
    """The sections that have rows, in their order.

    Args:
        rows: of the whole report. Judged ones are shown elsewhere.
        prefix: of ids in the page.
    """
    held: dict[str, list[Measurement]] = {}
    for row in rows:
        family = None if row.headline else families.of(row.measure)
        if family is not None and not _mapped(row):
            held.setdefault(family.key, []).append(row)
    return [_section(f, held[f.key], f"{prefix}{f.key}") for f in FAMILIES if f.key in held]


def _mapped(row: Measurement) -> bool:
    """Whether it is one cell of the map of all layers with all layers."""
    return row.measure == "similarity.cka" and "teacher_depth" in row.params


def _section(family: Family, rows: list[Measurement], prefix: str) -> Section:
    by_measure: dict[str, list[Measurement]] = {}
    for row in rows:
        by_measure.setdefault(row.measure, []).append(row)
    order = [*family.listed, *(m for m in by_measure if m not in family.listed)]
    free = {m for m, panel in family.listed.items() if panel.everywhere}
    chosen = {
        m: by_measure[m] if m in free else _in_sight(by_measure[m])
        for m in order
        if m in by_measure
    }
    sketch = _Sketch(family)
    for name, mine in chosen.items():
        sketch.add(family.listed.get(name, Panel(name)), mine)
    notes = [unread.sentence(same) for same in unread.grouped(filter(unread.empty, rows))]
    if len(notes) > MOST_NOTES:
        more = f"{len(notes) - MOST_NOTES} more reasons stand under what was not measured."
        notes = [*notes[:MOST_NOTES], more]
    seen = sum(not unread.empty(r) for r in rows)
    pictures = tuple(sketch.pictures(prefix))
    return Section(family, pictures, tuple(notes), seen - len(sketch.shown))


def _in_sight(rows: list[Measurement]) -> list[Measurement]:
    """Rows on benchmark inputs; where a measure has none there, those of all conditions."""
    return [r for r in rows if r.condition == "clean"] or rows


class _Sketch:
    """What a section draws, sorted by form."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.shown: set[int] = set()
        """Ids of the rows that have a place in a picture."""
        self._boxes: dict[str, list[Curve]] = {}
        self._panels: dict[str, list[tuple[str, Measurement]]] = {}
        self._notes: dict[str, tuple[str, str]] = {}
        self._floors: dict[tuple[str, str], float] = {}
        self._floor_rows: list[tuple[Panel, Measurement]] = []
        self._pairs: list[heat.Pair] = []
        self._grids: list[heat.Pair] = []

    def add(self, panel: Panel, rows: list[Measurement]) -> None:
        """Rows of one measure, with values or without."""
        everything, rows = rows, [r for r in rows if not unread.empty(r)]
        if panel.floor:
            self._floors |= {(panel.scale, _heading(r)): r.teacher for r in rows}
            self._floor_rows += [(panel, r) for r in rows]
            return
        title = view.sentence_case(view.measure(panel.measure))
        if panel.form == "pairs":
            found, rows = matrices.pairs(rows, title)
            self._keep(self._pairs, found)
        elif panel.form == "layers":
            found, rows = matrices.layers(everything, f"{title}: {panel.better}".rstrip(": "))
            self._keep(self._grids, found)
            rows = [r for r in rows if not unread.empty(r)]
        single = rows if panel.form == "dots" else self._lines(panel, rows)
        self._dots(panel, single)

    def _keep(self, held: list[heat.Pair], found: Sequence[matrices.Drawn]) -> None:
        for pair, rows in found[: max(0, MOST_MAPS - len(held))]:
            held.append(pair)
            self._show(rows)

    def _show(self, rows: Iterable[Measurement]) -> None:
        self.shown |= {id(row) for row in rows if not unread.empty(row)}

    def _lines(self, panel: Panel, rows: list[Measurement]) -> list[Measurement]:
        """Draw what has several layers; gives back the rest."""
        series: dict[tuple[str, str], list[Measurement]] = {}
        for row in rows:
            series.setdefault((_heading(row), row.statistic), []).append(row)
        rest = []
        statistics: dict[str, set[str]] = {}
        for heading, statistic in series:
            statistics.setdefault(heading, set()).add(statistic)
        for (heading, statistic), mine in series.items():
            if len({_depth(r) for r in mine} - {None}) < 2:
                rest += mine
                continue
            mine = sorted((r for r in mine if _depth(r) is not None), key=lambda r: _depth(r) or 0)
            drawn = sum(map(len, self._boxes.values()))
            if drawn >= MOST_BOXES:
                continue
            floor = self._floors.get((panel.scale, heading), math.nan) if panel.scale else math.nan
            title = _title(mine[0], len(statistics[heading]) > 1 or panel.form == "pairs")
            scale = panel.scale or f"{panel.measure} {statistic}"
            beside = panel.beside and mine[0].condition != "clean"
            if beside:
                title, scale = _under(mine[0]), f"{scale} {heading}"
            curve = Curve(
                title,
                _better(panel, mine),
                mine,
                scale,
                0.0 if panel.zero else floor,
                panel.zero or (view.measure("probe.raw_input") if math.isfinite(floor) else ""),
                _bounds(mine),
            )
            self._boxes.setdefault("" if beside else heading, []).append(curve)
            self._show(mine)
        return rest

    def _dots(self, panel: Panel, rows: Sequence[Measurement]) -> None:
        scales = {row.statistic for row in rows}
        layers: dict[str, set[str | None]] = {}
        for row in rows:
            layers.setdefault(_heading(row), set()).add(row.student_layer)
        words = view.sentence_case(view.measure(panel.measure))
        for row in rows:
            where = _heading(row)
            told = [where.replace(matrices.ARROW, " → ")]
            if len(layers[where]) > 1:
                told.append(view.layers(row))
            scale = view.clean(names.statistic(row.statistic))
            title = f"{words}: {scale}" if len(scales) > 1 else words
            if panel.scale:
                title, told = view.sentence_case(panel.scale), [words, *told]
            label = ", ".join(filter(None, told)) or scale
            self._notes.setdefault(title, (_better(panel, [row]), panel.zero))
            self._panels.setdefault(title, []).append((label, row))

    def pictures(self, prefix: str) -> list[Picture]:
        """All figures: matrices, lines (the first of them open, the others folded), dots."""
        out = []
        said = self.family.captions
        for form, maps in (("pairs", self._pairs), ("layers", self._grids)):
            drawn = heat.pairs(maps, f"{prefix}{form}", f"{self.family.title}.")
            if drawn:
                out.append(Picture("", drawn, said.get(form, "")))
        headings = list(self._boxes)
        for i, heading in enumerate(headings):
            boxes = self._boxes[heading]
            spoken = f"{self.family.title}{f' of {heading}' if heading else ''}"
            drawn = curves.boxes(boxes, f"{prefix}lines{i}", spoken)
            assert drawn is not None
            caption = said.get("lines", _LINES) if i == 0 else ""
            if any(box.beyond(row) for box in boxes for row in box.rows):
                caption = f"{caption} {_BEYOND}".strip()
            out.append(Picture(_said(heading, boxes), drawn, caption, folded=i > 0))
        free = {key for key in self._floors if not self._drawn(key)}
        for panel, row in self._floor_rows:
            if (panel.scale, _heading(row)) in free:
                self._dots(panel, [row])
            else:
                self._show([row])
        drawn = dots.panels(self._dot_panels(), f"{prefix}dots", self.family.title)
        if drawn:
            out.append(Picture("", drawn, said.get("dots", _DOTS)))
        return out

    def _drawn(self, floor: tuple[str, str]) -> bool:
        scale, heading = floor
        return any(curve.scale == scale for curve in self._boxes.get(heading, ()))

    def _dot_panels(self) -> list[dots.Panel]:
        out = []
        for title, held in list(self._panels.items())[:MOST_PANELS]:
            better, zero = self._notes[title]
            better += f"; grey: {zero}" if zero else ""
            mine = held
            if len(held) > MOST_DOTS:
                told = any(_harm(row) > 0 for _, row in held)
                # What is the same for both has no harm: then the least of it is what to look at.
                first = (lambda p: -_harm(p[1])) if told else (lambda p: p[1].teacher)
                mine = sorted(held, key=first)[:MOST_DOTS]
                which = "with the most harm" if told else "that are least"
                better = f"the {MOST_DOTS} of {len(held)} {which}; {better}"
            self._show(row for _, row in mine)
            out.append(dots.Panel(title, [_dot(row, label) for label, row in mine], better, zero))
        return out


_BEYOND: Final = "An arrow: so far off that the axis does not show it."
_LINES: Final = "Higher or lower, as each box says."
_DOTS: Final = "Higher or lower, as each panel says."


def _harm(row: Measurement) -> float:
    return row.harm if math.isfinite(row.harm) else -math.inf


def _depth(row: Measurement) -> float | None:
    depth = row.params.get("depth")
    return float(depth) if isinstance(depth, int | float) else None


def _heading(row: Measurement) -> str:
    """What the lines of one figure share: concept, slice, condition."""
    concept = row.concept if not (row.slice and row.concept == "target") else None
    where = "" if row.condition == "clean" else view.condition(row.condition)
    if where and row.severity is not None:
        where += f", severity {row.severity:g}"
    return ", ".join(filter(None, (*map(view.clean, filter(None, (concept, row.slice))), where)))


def _under(row: Measurement) -> str:
    """A condition and its strength, as short as a box is wide."""
    strength = "" if row.severity is None else f" {row.severity:g}"
    return view.sentence_case(view.condition(row.condition) + strength)


def _said(heading: str, boxes: Sequence[Curve]) -> str:
    """A heading with the scale that most of its boxes have."""
    if not heading:
        return ""
    scale = next(
        (view.clean(names.statistic(b.rows[0].statistic)) for b in boxes if b.scale == "score"), ""
    )
    return view.sentence_case(f"{heading} ({scale})" if scale else heading)


def _title(row: Measurement, several: bool) -> str:
    """A measure in words, with its statistic where it has several, else with its unit."""
    words = view.sentence_case(view.measure(row.measure))
    if several:
        return view.sentence_case(view.clean(names.statistic(row.statistic)))
    unit = view.clean(row.unit)
    return f"{words} ({unit})" if unit and unit != "share" else words


def _bounds(rows: Iterable[Measurement]) -> tuple[float, float]:
    """R^2 falls without bound, and past -1 it says no more than that the probe is no good."""
    return (-1.0, 1.0) if any("R^2" in r.statistic for r in rows) else (-math.inf, math.inf)


def _better(panel: Panel, rows: Sequence[Measurement]) -> str:
    return panel.better or f"{rows[0].direction} is better"


def _dot(row: Measurement, label: str) -> dots.Dot:
    """Teacher and student as they were measured, and the interval of the student beside them."""
    teacher, student = view.raw(row)
    low, high = row.teacher + row.ci_low, row.teacher + row.ci_high
    if (teacher, student) != (row.teacher, row.student):
        back = names.unscaled(row.statistic)
        low, high = (back(low), back(high)) if back else (math.nan, math.nan)
    return dots.Dot(view.clean(label), teacher, student, low, high)
