"""The tables of *What did you distil?*: cells as they are shown, each number with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ringtest.fidelity import MEASURES as FIDELITY
from ringtest.measurement import Measurement
from ringtest.reports import distilled, names, steps, unread, view
from ringtest.reports.distilled import Section
from ringtest.reports.steps import Span, Waterfall


@dataclass(frozen=True)
class Cell:
    """A value and the interval below it."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    label: str
    note: str
    """What its values mean, or why there are none."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Lines in groups under one head."""

    title: str
    lead: str
    head: tuple[str, ...]
    """Of the label and of every cell."""
    groups: tuple[tuple[str, tuple[Line, ...]], ...]
    """Name, which is empty where there is one, and lines."""


NONE: Final = Cell("–")
_REST: Final = {
    "ensemble.texts": "Do the members write the same?",
    "ensemble.selection": "One call, a vote, a verifier, the best of all",
    "ensemble.verifier": "The verifier",
    "ensemble.budget": "More samples",
}
_ASKED: Final = {
    "outputs.fidelity": "the teacher's class",
    "outputs.calibration": "calibration of the top label",
}
"""Said before a statistic that does not say what it is of."""
_SEVERITY: Final = {"ceiling": "threshold"}
"""What the severity of a row on recordings is, where it is no number of samples."""
MOST: Final = 60
"""Lines of a table that is folded; report.json has all."""


def diversity(section: Section) -> Table | None:
    """Statistics of diversity: of the members, and with the student in place of one."""
    rows = section.of("ensemble.diversity")
    if not rows:
        return None
    placed = any(math.isfinite(row.student) for row in rows)
    lead = "How far the members differ."
    if placed:
        lead += (
            " With the student: it stands in for one member, on average over which. A student like"
            " one more member leaves the number as it is."
        )
    head = ("", "Members", *(("With the student", "Difference") if placed else ()))
    return Table("Diversity of the members", lead, head, _grouped(rows, _pair(placed)))


def fidelity(section: Section) -> Table | None:
    """How true the student is to the teacher, beside a member held against the others."""
    rows = section.of(*FIDELITY)
    if not rows:
        return None
    controlled = any("control" in row.params for row in rows)
    lead = "Member: one held against the others, as another training run would be."
    head = ["", "Member", "Student", "Difference"]
    if controlled:
        lead += (
            " Control: a student of a teacher that was never trained; what it has, too, comes from"
            " the student's own architecture and data and not from the teacher."
        )
        head += ["Control", "Over control"]

    def cells(row: Measurement) -> tuple[Cell, ...]:
        if not controlled:
            return _pair(True)(row)
        over = steps.several(row, "over_control", 3)
        control = Cell(_fine(steps.single(row, "control")))
        return *_pair(True)(row), control, _cell(over[0], (over[1], over[2]), signed=True)

    ordered = sorted(rows, key=lambda row: row.condition != "clean")
    return Table("Fidelity of the student", lead, tuple(head), _grouped(ordered, cells, True))


def waterfall(found: Waterfall) -> Table:
    """All levels with their rises and the student's share."""
    placed, scale = math.isfinite(found.student), found.scale
    lines = [
        Line(
            view.sentence_case(step.name),
            view.sentence_case(step.share_reason),
            (
                Cell(scale.level(step.value), scale.levels(step.span)),
                Cell(scale.rise(step.rise), scale.rises(step.rise_span)),
                *_share(step, placed),
            ),
        )
        for step in found.steps
    ]
    if placed:
        mine = Cell(scale.level(found.student), scale.levels(found.student_span))
        lines.append(Line("Student", "", (mine, NONE, NONE)))
    head = (
        "",
        view.sentence_case(scale.word),
        "Over the step before",
        *(("The student's share",) if placed else ()),
    )
    lead = f"{found.n:,} items; intervals of 95 %, paired by item." if found.n else ""
    return Table("From a member to the oracle", lead, head, (("", tuple(lines)),))


def _share(step: steps.Step, placed: bool) -> tuple[Cell, ...]:
    if not placed:
        return ()
    if step.share_reason and not math.isfinite(step.share):
        return (Cell("not measurable"),)
    return (Cell(steps.percent(step.share, 0), steps.percents(step.share_span, 0)),)


def others(section: Section) -> list[Table]:
    """Texts, selection, verifier, budget, and whatever else begins like them."""
    known = ("ensemble.diversity", steps.MEASURE, *FIDELITY)
    measures = dict.fromkeys(r.measure for r in section.rows if r.measure not in known)
    out = []
    for measure in sorted(measures, key=[*_REST, *measures].index):
        rows = section.of(measure)
        placed = any(math.isfinite(row.student) for row in rows)
        head = ("", "Teacher", *(("Student", "Difference") if placed else ()))
        title = _REST.get(measure, view.sentence_case(view.measure(measure)))
        more = len(rows) - MOST
        lead = f"{more} more rows are in report.json." if more > 0 else ""
        out.append(Table(title, lead, head, _grouped(rows[:MOST], _pair(placed))))
    return out


def _grouped(
    rows: Iterable[Measurement],
    cells: Callable[[Measurement], tuple[Cell, ...]],
    named: bool = False,
) -> tuple[tuple[str, tuple[Line, ...]], ...]:
    """Lines by condition; ``named``: one group has a name, too, and lines say what they are of."""
    held: dict[str, list[Line]] = {}
    for row in rows:
        where = view.condition(row.condition)
        if named and row.severity is not None:
            where += f", eps {row.severity:g}"
        held.setdefault(where, []).append(Line(_label(row, named), _note(row), cells(row)))
    alone = len(held) == 1 and not named
    return tuple(
        ("" if alone else view.sentence_case(where), tuple(lines)) for where, lines in held.items()
    )


def _label(row: Measurement, named: bool) -> str:
    """A statistic in words; its number of samples, which the severity is, behind it."""
    what = view.clean(names.statistic(row.statistic)) or view.measure(row.measure)
    if named and row.measure in _ASKED:
        what = f"{_ASKED[row.measure]}, {what}"
    what_it_is = _SEVERITY.get(row.statistic, "k")
    behind = "" if named or row.severity is None else f", {what_it_is} = {row.severity:.4g}"
    beside = [view.clean(part) for part in (row.slice, row.concept) if part]
    return view.sentence_case(", ".join([what, *beside]) + behind)


def _note(row: Measurement) -> str:
    if unread.unread(row) or (row.reason and not math.isfinite(row.teacher)):
        return f"Not measurable: {view.clean(unread.why(row))}"
    if because := steps.text(row, "student_reason"):
        return f"With the student not measurable: {because}"
    if "answer" not in row.params and (said := steps.text(row, "words")):
        return said  # those of an answer stand above
    return names.MEANING.get(row.statistic, "") or view.sentence_case(view.clean(row.reason))


def _pair(placed: bool) -> Callable[[Measurement], tuple[Cell, ...]]:
    """Teacher, and with ``placed`` student and difference."""

    def cells(row: Measurement) -> tuple[Cell, ...]:
        teacher = _cell(row.teacher, steps.span(row, "teacher_interval"))
        if not placed:
            return (teacher,)
        student = _cell(row.student, steps.student_span(row))
        return teacher, student, _cell(row.delta, (row.ci_low, row.ci_high), signed=True)

    return cells


def _cell(value: float, ends: Span, signed: bool = False) -> Cell:
    low, high = ends
    known = math.isfinite(low) and math.isfinite(high)
    plus = "+" if signed and math.isfinite(value) and value > 0 else ""
    return Cell(plus + _fine(value), f"[{_fine(low)}, {_fine(high)}]" if known else "")


def _fine(value: float) -> str:
    """A number with three digits behind the point below 1: most of these differ there."""
    if not math.isfinite(value) or abs(value) >= 1:
        return view.shown(value)
    rounded = f"{value:.3f}"
    return "0" if float(rounded) == 0 else rounded.replace("-", "−")


def students(sections: Sequence[tuple[str, Section]]) -> Table | None:
    """Where all students of one teacher stand: share of the ensemble's gain, and fidelity."""
    lines = []
    head = ["Student", "Right", "Share of the ensemble's gain", "Transferred?"]
    fidelities = list(
        dict.fromkeys(
            row.statistic
            for _, section in sections
            for row in section.of("outputs.fidelity")
            if row.condition == "clean"
        )
    )
    for name, section in sections:
        row = distilled.transferred(section.rows)
        if row is None:
            continue
        share = steps.single(row, "share")
        reason = steps.text(row, "share_reason") or view.clean(row.reason)
        known = Cell(steps.percent(share, 0), steps.percents(steps.span(row, "share_interval"), 0))
        look = section.questions[1].look
        scale = steps.Scale(row.unit)
        head[1] = view.sentence_case(scale.word)
        right = Cell(scale.level(row.student), scale.levels(steps.student_span(row)))
        same = {
            r.statistic: _cell(r.student, steps.student_span(r))
            for r in section.of("outputs.fidelity")
            if r.condition == "clean"
        }
        lines.append(
            Line(
                view.student(name),
                "" if math.isfinite(share) else view.sentence_case(reason),
                (
                    right,
                    known if math.isfinite(share) else Cell("not measurable"),
                    Cell(f"{look.mark} {look.word}"),
                    *(same.get(s, NONE) for s in fidelities),
                ),
            )
        )
    if not lines:
        return None
    head += [view.sentence_case(view.clean(names.statistic(s))) for s in fidelities]
    return Table("Where the students stand", "", tuple(head), (("", tuple(lines)),))
