"""*What did you distil?* on a terminal: five questions, and the way from a member to the oracle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ringtest.reports import distilled, tables, terminals, view
from ringtest.reports.distilled import Section
from ringtest.reports.steps import Waterfall

if TYPE_CHECKING:
    from rich.console import Console

    from ringtest.measurement import Measurement

NARROW: Final = 90
"""Below this width an answer stands below its question."""


def show(rows: Sequence[Measurement], about: Mapping[str, Any], console: Console) -> None:
    """Print what `ringtest ensemble` found."""
    with terminals.writable(console):
        section = distilled.section(rows)
        console.print()
        console.print(Text("Is it worth distilling?", style="bold"))
        facts = ", ".join(f"{view.clean(k)} {distilled.fact(v)}" for k, v in about.items())
        if facts:
            console.print(Text(facts, style="dim"))
        if section is None:
            console.print("Nothing was measured of an ensemble.")
            return
        console.print()
        block(section, console, "")


def block(section: Section, console: Console, title: str = "What did you distil?") -> None:
    """Print the headline, the waterfalls and the five questions of one student."""
    if title:
        console.print(Text(title, style="bold"))
    console.print(Text(section.headline))
    for found in section.waterfalls:
        console.print(Padding(Text(way(found)), (0, 0, 0, 2)))
    console.print(_questions(section, console))
    console.print()


def students(sections: Mapping[str, Section | None], console: Console) -> None:
    """Print what there was to distil, once, and where every student stands."""
    known = [(name, section) for name, section in sections.items() if section is not None]
    if not known:
        return
    console.print()
    console.print(Text("What was there to distil?", style="bold"))
    console.print(Text(distilled.teacher_words(known[0][1].rows)))
    for found in known[0][1].waterfalls:
        console.print(Padding(Text(way(found, False)), (0, 0, 0, 2)))
    lines = tables.students(known)
    if lines is None:
        return
    console.print(_places(lines, known, terminals.plain(console)))
    notes = dict.fromkeys(line.note for _, group in lines.groups for line in group if line.note)
    for note in notes:
        console.print(Text(f"Not measurable: {note[:1].lower()}{note[1:]}.", style="dim"))


def _places(lines: tables.Table, known: Sequence[tuple[str, Section]], plain: bool) -> Table:
    """A line for each student: its share of the ensemble's gain, and the answer."""
    table = terminals.table(plain)
    table.add_column("student", overflow="fold", min_width=8)
    table.add_column(lines.head[1].lower(), justify="right", no_wrap=True)
    table.add_column("of the ensemble's gain", overflow="fold", ratio=1)
    table.add_column("transferred?", no_wrap=True)
    answers = {view.student(name): section.questions[1].look for name, section in known}
    for line in lines.groups[0][1]:
        right, share = line.cells[:2]
        span = f" ({share.interval})" if share.interval else ""
        table.add_row(
            Text(line.label, style="bold"),
            right.value,
            Text(share.value + span),
            terminals.look(answers[line.label], plain),
        )
    return table


def way(found: Waterfall, placed: bool = True) -> str:
    """All levels in a line, with what each adds."""
    scale, parts = found.scale, []
    for i, step in enumerate(found.steps):
        rises = [scale.rise(step.rise), scale.rises(step.rise_span)]
        rise = f" ({', '.join(filter(None, rises))})" if i else ""
        parts.append(f"{step.name} {scale.level(step.value)}{rise}")
    said = " → ".join(parts)
    if placed and math.isfinite(found.student):
        span = scale.levels(found.student_span)
        said += f"; student {scale.level(found.student)}{f' ({span})' if span else ''}"
    where = "" if found.condition == "clean" else f"{view.condition(found.condition)}: "
    return view.sentence_case(where + said)


def _questions(section: Section, console: Console) -> Table:
    plain, narrow = terminals.plain(console), console.width < NARROW
    if narrow:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(overflow="fold")
        for q in section.questions:
            grid.add_row(Text(q.title + " ").append_text(terminals.look(q.look, plain)))
            grid.add_row(Padding(Text(q.sentence or q.how, style="dim"), (0, 0, 0, 2)))
        return grid
    table = terminals.table(plain)
    table.add_column("question", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    table.add_column("found", overflow="fold", ratio=1)
    for q in section.questions:
        found = Text(q.sentence) if q.sentence else Text(q.how, style="dim")
        table.add_row(q.title, terminals.look(q.look, plain), found)
    return table
