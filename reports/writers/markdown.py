"""A summary in Markdown, for a job's page or a comment: the verdict first, never too long."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ringtest import reasons
from ringtest.decision import SEVERITY
from ringtest.reports import view

if TYPE_CHECKING:
    from ringtest.decision import Verdict
    from ringtest.gates.gating import Gated

LIMIT: Final = 1_000_000
"""Bytes. GitHub takes no summary of more than 1,024 kB, and shows none of it then."""
STUDENTS, GROUPS, CHECKS, REASONS = 200, 30, 40, 15
"""Lines of each list."""
WIDTH: Final = 700
"""Characters of a cell."""
_MARKUP: Final = re.compile(r"([\\`*_$\[\]|~])")
_START: Final = re.compile(r"^([#+\-]|\d+(?=[.)]))")


def render(gated: Gated) -> str:
    """All students, the worst first; of a set, details only of those that do not pass."""
    page = _Page()
    page.add(f"# ringtest gate: {gated.outcome} (exit code {int(gated.exit_code)})", "")
    students = sorted(gated.verdicts.items(), key=lambda item: -SEVERITY[item[1].outcome])
    if gated.is_set:
        _overview(page, students)
    for note in gated.notes[:GROUPS]:
        page.add(f"Note: {escape(note)}", "")
    for name, verdict in students:
        if not gated.is_set or verdict.outcome != "pass":
            _student(page, name, verdict)
    return page.text()


class _Page:
    """Lines up to the limit; the rest is left out, and said to be."""

    CUT: Final = "\n*The rest was left out: a summary has a limit. report.json has all of it.*\n"

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._left = LIMIT - len(self.CUT.encode())
        self._cut = False

    def add(self, *lines: str) -> None:
        for line in lines:
            size = len(line.encode()) + 1
            self._cut = self._cut or size > self._left
            if not self._cut:
                self._lines.append(line)
                self._left -= size

    def text(self) -> str:
        return "\n".join(self._lines).rstrip() + "\n" + (self.CUT if self._cut else "")


def escape(text: object) -> str:
    """One line in which nothing is markup, cut at the end; a name may hold anything."""
    line = view.clean(text)
    line = html.escape(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…", quote=False)
    line = _MARKUP.sub(r"\\\1", line).replace("@", "&#64;")
    return _START.sub(lambda m: m[0] + "\\" if m[0].isdigit() else "\\" + m[0], line)


def _name(text: object) -> str:
    return escape(view.shorten(text, 100))


def _table(page: _Page, head: Iterable[str], rows: Iterable[Iterable[str]], left: int) -> None:
    names = list(head)
    page.add(f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}")
    for row in rows:
        page.add(f"| {' | '.join(row)} |")
    if left > 0:
        page.add("", f"and {left:,} more")
    page.add("")


def _look(looks: dict[str, view.Look], key: str) -> str:
    return f"{looks[key].mark} {looks[key].word}"


def _overview(page: _Page, students: list[tuple[str, Verdict]]) -> None:
    page.add(escape(view.tally(dict(students))), "")
    _table(
        page,
        ("Student", "Gate", "Verdict", "Strength", "Worst finding"),
        (
            (
                _name(view.student(name)),
                _look(view.OUTCOME, v.outcome),
                _look(view.LABEL, v.label),
                view.shown(v.strength),
                escape(reasons.worst_finding(v)),
            )
            for name, v in students[:STUDENTS]
        ),
        len(students) - STUDENTS,
    )


def _student(page: _Page, name: str, verdict: Verdict) -> None:
    page.add(f"## {_name(view.student(name))}: {_look(view.LABEL, verdict.label)}", "")
    page.add(escape(reasons.sentence(verdict)), "")
    strength = f"Strength {view.shown(verdict.strength)}, benchmark "
    page.add(strength + ("matched." if verdict.matched else "not shown to match."), "")
    if verdict.groups:
        groups = list(verdict.groups.items())
        _table(
            page,
            ("Group", "Status", "Harm / margin", "Rows"),
            (
                (
                    _name(group),
                    _look(view.STATUS, g.status),
                    view.shown(g.ratio),
                    str(len(g.rows)),
                )
                for group, g in groups[:GROUPS]
            ),
            len(groups) - GROUPS,
        )
    asked = view.asked(verdict)
    if asked:
        page.add("### What the gate asks for", "")
        _table(
            page,
            ("Check", "Status", "Why"),
            (
                (_name(f"{c.kind} {c.name}"), _look(view.STATUS, c.status), escape(c.message))
                for c in asked[:CHECKS]
            ),
            len(asked) - CHECKS,
        )
    _list(page, "Reasons", verdict.reasons)
    _list(page, "What to do next", verdict.settle)


def _list(page: _Page, title: str, lines: tuple[str, ...]) -> None:
    if not lines:
        return
    page.add(f"### {title}", "", *(f"- {escape(line)}" for line in lines[:REASONS]))
    if len(lines) > REASONS:
        page.add(f"- and {len(lines) - REASONS:,} more")
    page.add("")
