"""Slices that an audit found, as TOML for the audit.toml of future students: slices and gates."""

from __future__ import annotations

import glob
import json
from typing import TYPE_CHECKING, Any, Final

from ringtest.policy import Policy

if TYPE_CHECKING:
    from ringtest.gates.gating import Gated
    from ringtest.measurement import Measurement

DECIDED: Final = False
MEASURE: Final = "slices.discovered"
_ASK: Final = 'ask for it under [audit]: cells = [["slices.discovered", "clean"]]'


def render(gated: Gated) -> str:
    """``[[slice]]`` and ``[[gate]]`` for each slice that was found on the clean rows.

    A gate asks for what the slice was judged by: no more harm than training runs differ by. Of a
    slice that several students fall behind on there is one entry.
    """
    parts, taken = [], dict[str, Any]()
    read = False
    for name, report in gated.reports.items():
        for row in report.verdict.rows:
            if row.measure != MEASURE or row.condition != "clean":
                continue
            read = True
            if row.slice is None or "where" not in row.params:
                continue
            called, i = row.slice, 2
            while called in taken and taken[called] != row.params["where"]:
                called, i = f"{row.slice} ({i})", i + 1
            if called in taken:
                continue
            taken[called] = row.params["where"]
            parts.append(_entry(row, called, name, report.policy))
    if not parts:
        said = f"No slice was found by {MEASURE}." if read else f"{MEASURE} was not read; {_ASK}."
        return f"# {said}\n"
    return "\n".join(parts)


def _entry(row: Measurement, called: str, student: str, policy: Policy) -> str:
    rows = row.params["rows"]
    lines = [
        _comment(f"{in_words(row)}; found of {student}"),
        "[[slice]]",
        f"name = {_text(called)}",
        f"where = {_value(row.params['where'])}",
        f"n = {rows}",
        "",
    ]
    if rows < policy.min_n:
        lines.append(_comment(f"no gate: of its {rows} rows none is judged, under {policy.min_n}"))
    else:
        lines += [
            "[[gate]]",
            'measure = "outputs.score"',
            'condition = "clean"',
            f"slice = {_text(glob.escape(called))}",
            f"margin = {_value(row.params['tolerated'])}",
        ]
    return "\n".join(lines) + "\n"


def in_words(row: Measurement) -> str:
    """``target=8, low contrast: teacher 0.97, student 0.71, n=84``; n is of the judging half."""
    return f"{row.slice}: teacher {row.teacher:.2f}, student {row.student:.2f}, n={row.n}"


def _comment(text: str) -> str:
    return "# " + "".join(c if c.isprintable() else " " for c in text)


def _text(text: str) -> str:
    # What JSON leaves as it is and TOML does not take.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_text(k)} = {_value(v)}' for k, v in value.items())} }}"
    return _text(value) if isinstance(value, str) else json.dumps(value)
