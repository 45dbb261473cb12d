"""The demo's first section: had its ensemble anything to distil, and where did its gain go?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ringtest.reports import answers as answered
from ringtest.reports import console_distilled, distilled, steps, terminals

if TYPE_CHECKING:
    from rich.console import Console

    from ringtest.report import Report

_WENT = {
    "transferred": "took over what the ensemble gains",
    "partial": "took over a part of it",
    "not": "took over less than half of it",
    "open": "cannot be told from so few digits",
}
"""By the answer of a student's row."""


def show(reports: Mapping[str, Report], console: Console) -> None:
    """Print it for all students of the demo; nothing where no report has rows on an ensemble."""
    sections = {
        name: distilled.section(report.verdict.rows, report.verdict)
        for name, report in reports.items()
    }
    with terminals.writable(console):
        console_distilled.students(sections, console)
        told = went(sections)
        if told:
            console.print(told, markup=False, highlight=False)


def went(sections: Mapping[str, distilled.Section | None]) -> str:
    """How many students took over the ensemble's gain, in words; empty if none was placed."""
    found = [distilled.transferred(s.rows) for s in sections.values() if s is not None]
    placed = [row for row in found if row is not None]
    if not placed:
        return ""
    below = "whether they took over the inside says the table below."
    if not any(math.isfinite(steps.single(row, "share")) for row in placed):
        return (
            f"What the ensemble gains over one member cannot be told from 0 on {placed[0].n:,} "
            f"digits, so there is no gain that the students could have or lack; {below}"
        )
    answers = Counter(answered.code(row) or "open" for row in placed)
    parts = [f"{answers[code]} {words}" for code, words in _WENT.items() if answers[code]]
    return (
        f"Of {len(placed)} students {', '.join(parts)}. That is of the predictions on the "
        f"benchmark; {below}"
    )
