"""What came to no value, told once for many rows that failed alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ringtest.measurement import Measurement
from ringtest.reports import view

NAMES: Final = 3
"""Names that are told of many."""


def unread(row: Measurement) -> bool:
    """Whether a row says why there is no value."""
    return row.status in ("not_measurable", "error")


def empty(row: Measurement) -> bool:
    """Whether a row has no value of the student, and so no place in a picture."""
    return unread(row) or not math.isfinite(row.student)


def alike(row: Measurement) -> tuple[str, ...]:
    """The same for rows that failed for one reason: numbers and its own names set aside."""
    reason = why(row)
    own = {row.concept, row.slice, row.student_layer, row.teacher_layer, *_labels(row)}
    reason = re.sub(r"^(student '[^']*'|[\w ]+(\[\d+\])?):", "…:", reason)  # whose it was
    for name in sorted((n for n in own if n and not n.isdigit()), key=len, reverse=True):
        reason = re.sub(rf"(?<!\w){re.escape(str(name))}(?!\w)", "…", reason)
    return row.measure, row.condition, re.sub(r"\d[\d.,]*(e[-+]?\d+)?", "#", reason)


def _labels(row: Measurement) -> list[str]:
    """Value of a slice such as "column=value"."""
    return [part for part in (row.slice or "").split("=")[1:] if part]


def grouped(rows: Iterable[Measurement]) -> list[list[Measurement]]:
    """Those that failed alike together, in their order."""
    found: dict[tuple[object, ...], list[Measurement]] = {}
    for row in rows:
        found.setdefault((*alike(row), row.required), []).append(row)
    return list(found.values())


def names(rows: Sequence[Measurement]) -> str:
    """What was to be read: concepts and slices, or else layers; a few of them."""
    called = [_name(row) for row in rows]
    seen = list(dict.fromkeys(name for name in called if name))
    more = f" and {len(seen) - NAMES} more" if len(seen) > NAMES else ""
    return ", ".join(seen[:NAMES]) + more


def _name(row: Measurement) -> str:
    parts = dict.fromkeys(view.clean(part) for part in (row.concept, row.slice) if part)
    return ", ".join(parts) or view.layers(row)


def why(row: Measurement) -> str:
    """The reason of one row."""
    return row.reason or (
        "it has no value" if row.status == "context" else view.STATUS[row.status].word
    )


def reason(rows: Sequence[Measurement]) -> str:
    """Why, in the words of the first; said to be so where the others' differ."""
    said = [view.clean(why(row)) for row in rows]
    return said[0] if len(set(said)) == 1 else f"such as: {said[0]}"


def sentence(rows: Sequence[Measurement]) -> str:
    """One sentence on rows that failed alike."""
    layers = {row.student_layer for row in rows if row.student_layer}
    places = {(row.concept, row.slice, row.statistic) for row in rows}
    if len(rows) == 1:
        count = "not read"
    elif len(places) == 1 and len(layers) > 1:
        count = f"{len(layers)} layers could not be read"
    else:
        count = f"{len(rows)} readings could not be made"
    where = names(rows)
    what = view.sentence_case(view.measure(rows[0].measure))
    return f"{what}{f' ({where})' if where else ''}: {count}: {reason(rows)}."


def table(rows: Iterable[Measurement]) -> list[dict[str, Any]]:
    """For the table of what was not measured: measure, condition, reason and who required it."""
    out = []
    for same in grouped(filter(unread, rows)):
        first, where = same[0], names(same)
        count = f"{len(same)} readings" if len(same) > 1 else ""
        what = ", ".join(filter(None, (count, where)))
        because = reason(same)
        out.append(
            {
                "measure": first.measure,
                "condition": first.condition,
                "reason": f"{what}: {because}" if count else because,
                "required": first.required,
            }
        )
    return out
