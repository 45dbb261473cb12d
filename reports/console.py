"""A report on a terminal: what `ringtest audit` and `ringtest gate` print.

Nothing here reads markup out of names, and imports stay light: the gate must start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ringtest import reasons
from ringtest.report import ReportSet
from ringtest.reports import console_distilled, distilled, terminals, view

if TYPE_CHECKING:
    from rich.console import Console

    from ringtest.decision import GroupVerdict, Verdict
    from ringtest.gates.gating import Gated
    from ringtest.report import Report

BAR: Final = 30
REASONS: Final = 6
"""Reasons that are printed; the page has all of them."""
CHECKS: Final = 20


def show(report: Report, console: Console, verdict: Verdict | None = None) -> None:
    """Print the verdict, its groups, the reasons and what to do next.

    ``verdict`` is the one to print, if a gate decided by another policy than the report's own.
    """
    with terminals.writable(console):
        _show(report, verdict or report.verdict, console, terminals.plain(console), verdict is None)


def show_set(
    reports: ReportSet, console: Console, verdicts: Mapping[str, Verdict] | None = None
) -> None:
    """Print one line for each student."""
    found = verdicts or {name: report.verdict for name, report in reports.items()}
    with terminals.writable(console):
        if verdicts is None:
            sections = {name: distilled.section(v.rows, v) for name, v in found.items()}
            console_distilled.students(sections, console)
        _show_set(found, console, terminals.plain(console))


def show_gate(gated: Gated, console: Console) -> None:
    """Print what a gate decided; the last line is its outcome."""
    if gated.is_set:
        show_set(ReportSet(gated.reports), console, gated.verdicts)
    with terminals.writable(console):
        plain = terminals.plain(console)
        for name, report in gated.reports.items():
            verdict = gated.verdicts[name]
            if not gated.is_set:
                _show(report, verdict, console, plain, first=False)
            elif view.asked(verdict):
                _asked(console, f"{view.student(name)}: what the gate asks for", verdict, plain)
        _list(console, "Notes", list(gated.notes), REASONS, plain)
        whom = ", ".join(view.student(n) for n in gated.worst)
        by = f", by {whom}" if gated.is_set and gated.outcome != "pass" else ""
        line = f"gate: {gated.outcome} (exit code {int(gated.exit_code)}){by}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _show(
    report: Report, verdict: Verdict, console: Console, plain: bool, first: bool = True
) -> None:
    """``first``: tell what was distilled, which a gate does not ask."""
    console.print()
    console.print(_title(report.student, verdict, plain))
    console.print(Text(reasons.sentence(verdict), style="bold"))
    console.print()
    console.print(_facts(verdict, plain))
    section = distilled.section(verdict.rows, verdict) if first else None
    if section is not None:
        console.print()
        console_distilled.block(section, console)
    console.print(_groups(verdict, plain) if verdict.groups else "")
    _list(console, "Reasons", list(verdict.reasons), REASONS, plain)
    _asked(console, "What the gate asks for", verdict, plain)
    _list(console, "What to do next", list(verdict.settle), len(verdict.settle), plain)
    missing = len(report.data["not_measured"])
    if missing:
        needed = sum(bool(item["required"]) for item in report.data["not_measured"])
        note = f"{missing} not measured, {needed} of them required; the report says why."
        console.print(Text(note, style="dim"))


def _show_set(verdicts: Mapping[str, Verdict], console: Console, plain: bool) -> None:
    table = terminals.table(plain)
    table.add_column("student", overflow="fold", min_width=8, max_width=max(12, console.width // 5))
    table.add_column("verdict", no_wrap=True)
    table.add_column("strength", justify="right", no_wrap=True)
    table.add_column("score\n(teacher)", justify="right", no_wrap=True)
    table.add_column("worst finding", overflow="fold", ratio=1)
    for name, verdict in verdicts.items():
        score = view.benchmark(verdict)
        both = f"{_value(score.student, plain)} ({_value(score.teacher, plain)})" if score else "-"
        table.add_row(
            Text(view.student(name), style="bold"),
            terminals.look(view.LABEL[verdict.label], plain),
            _value(verdict.strength, plain),
            both,
            Text(view.clean(reasons.worst_finding(verdict))),
        )
    console.print()
    heading = Text(view.set_title(len(verdicts)), style="bold")
    console.print(heading.append(f": {view.tally(verdicts)}", style="not bold"))
    console.print(table)
    note = view.comparable(verdicts)
    if note:
        console.print(Text(note, style="dim"))


def _status(status: str, plain: bool) -> Text:
    return terminals.look(view.STATUS[status], plain)


def _value(value: float | None, plain: bool) -> str:
    return reasons.number(value) if plain else view.shown(value)


def _title(student: str, verdict: Verdict, plain: bool) -> Text:
    label = terminals.look(view.LABEL[verdict.label], plain)
    return Text.assemble(label, "  ", (view.student(student), "dim"))


def _facts(verdict: Verdict, plain: bool) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("strength", _strength(verdict, plain))
    score = view.benchmark(verdict)
    text = "matched" if verdict.matched else "not shown to match"
    if score:
        text += f": student {_value(score.student, plain)}, teacher {_value(score.teacher, plain)}"
        text += f" {view.clean(score.unit)}".rstrip()
    grid.add_row("benchmark", Text(text))
    grid.add_row("scope", Text(f"{verdict.scope}: {view.SCOPE[verdict.scope]}"))
    return grid


def _strength(verdict: Verdict, plain: bool) -> Text:
    if verdict.strength is None:
        return Text("not known: fewer than two groups could be compared with their margins")
    full, empty, half = ("#", ".", "|") if plain else ("━", "─", "┃")
    filled = round(BAR * verdict.strength)
    style = "red" if verdict.strength > 0.5 else "cyan"
    bar = Text()
    for k in range(BAR):
        if k == BAR // 2:
            bar.append(half, style="bold")
        bar.append(full if k < filled else empty, style=style if k < filled else "dim")
    words = ("  .50: two groups at margin", "dim")
    return Text.assemble(f"{_value(verdict.strength, plain)}  ", bar, words)


def _groups(verdict: Verdict, plain: bool) -> Table:
    table = terminals.table(plain)
    table.add_column("group", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("harm/margin", justify="right", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("judged on", overflow="fold", ratio=1)
    for name, group in verdict.groups.items():
        table.add_row(
            Text(view.clean(name)),
            _status(group.status, plain),
            _value(group.ratio, plain),
            str(len(group.rows)),
            Text(_conditions(verdict, group)),
        )
    return table


def _conditions(verdict: Verdict, group: GroupVerdict) -> str:
    names = dict.fromkeys(view.condition(verdict.rows[i].condition) for i in group.rows)
    shown = list(names)[:4]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (", ".join(shown) or "nothing") + more


def _asked(console: Console, title: str, verdict: Verdict, plain: bool) -> None:
    """What a policy asks for beyond the verdict."""
    checks = view.asked(verdict)
    if not checks:
        return
    console.print(Text(title, style="bold"))
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in checks[:CHECKS]:
        text = Text(view.clean(f"{check.kind} {check.name}:"), style="bold")
        grid.add_row(
            _status(check.status, plain), text.append(f" {view.clean(check.message)}", "not bold")
        )
    if len(checks) > CHECKS:
        grid.add_row("", Text(f"and {len(checks) - CHECKS} more", style="dim"))
    console.print(Padding(grid, (0, 0, 0, 2)))
    console.print()


def _list(console: Console, title: str, lines: list[str], most: int, plain: bool) -> None:
    if not lines:
        return
    console.print(Text(title, style="bold"))
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for line in lines[:most]:
        grid.add_row("-" if plain else "•", Text(view.clean(line)))
    if len(lines) > most:
        grid.add_row("", Text(f"and {len(lines) - most} more in the report", style="dim"))
    console.print(Padding(grid, (0, 0, 0, 2)))
    console.print()
