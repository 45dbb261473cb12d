"""The pictures and tables of *What did you distil?*, ready for the templates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ringtest.reports import distilled, steps, tables, view
from ringtest.reports.distilled import Section
from ringtest.reports.figures import samples, waterfall
from ringtest.reports.tables import Table


@dataclass(frozen=True)
class Way:
    """One waterfall of the page."""

    title: str
    svg: str
    caption: str
    table: Table


@dataclass(frozen=True)
class Shown:
    """The section with its pictures."""

    section: Section
    waterfalls: tuple[Way, ...]
    samples: str | None
    tables: tuple[Table, ...]
    folded: tuple[Table, ...]


@dataclass(frozen=True)
class Students:
    """The block of a page on several students."""

    said: str
    """What there was to distil; the same for all of them."""
    table: Table | None


_CAPTION: Final = (
    "A line is a level with its interval, a bar what a step adds to the one before (▼, red: what "
    "it takes away)."
)
_STUDENT: Final = " The line across, with a square, is the student's level."


def shown(section: Section | None, prefix: str) -> Shown | None:
    """Draw a section; None if there is none. ``prefix``: of ids in the page."""
    if section is None:
        return None
    open_ = (tables.diversity(section), tables.fidelity(section))
    return Shown(
        section,
        tuple(_way(found, f"{prefix}w{i}") for i, found in enumerate(section.waterfalls)),
        samples.curves(section.rows, f"{prefix}s"),
        tuple(table for table in open_ if table),
        tuple(tables.others(section)),
    )


def _way(found: steps.Waterfall, name: str) -> Way:
    caption = _CAPTION + (_STUDENT if math.isfinite(found.student) else "")
    where = "" if found.condition == "clean" else f", {view.condition(found.condition)}"
    return Way(
        f"From a member to the oracle{where}",
        waterfall.waterfall(found, name),
        " ".join(filter(None, (found.sentence, caption))),
        replace(tables.waterfall(found), title="The same as a table"),
    )


def students(sections: Mapping[str, Section | None]) -> Students | None:
    """What is said of several students of one teacher; None if nobody has a section."""
    known = [(name, section) for name, section in sections.items() if section is not None]
    if not known:
        return None
    return Students(distilled.teacher_words(known[0][1].rows), tables.students(known))


def about(given: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """What a page's head says of a run, in words: names and values as they come."""
    return [
        (view.sentence_case(view.clean(key)), distilled.fact(value)) for key, value in given.items()
    ]
