"""Checks of single values: what cannot be meant is refused where it is given, in one line."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any, Final

from ringtest.errors import ConfigError

MOST: Final = 10**12
"""Of whatever is counted: no audit has more rows, and no number of digits slows anything down."""
_WILD: Final = re.compile(r"\[!?\]?[^\]]*\]|[*?]")
"""What a glob matches without naming it."""


def is_number(value: object) -> bool:
    """Whether it is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_count(value: object, least: int) -> bool:
    """Whether it is a whole number from ``least`` that something can be counted by."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


def number(field: str, value: object, least: float = -math.inf) -> None:
    """Refuse what is no finite number above ``least``."""
    if not (is_number(value) and value > least):  # type: ignore[operator]
        above = f" above {least:g}" if math.isfinite(least) else ""
        raise ConfigError(field, f"is {shown(value)}", f"give a finite number{above}")


def count(field: str, value: object, least: int) -> None:
    """Refuse what is no whole number from ``least``."""
    if not is_count(value, least):
        raise ConfigError(field, f"is {shown(value)}", f"give a whole number from {least}")


def text(field: str, value: object) -> None:
    """Refuse what is no text, or nothing that can be read."""
    if not isinstance(value, str) or not any(c.isprintable() and c != " " for c in value):
        raise ConfigError(field, f"is {shown(value)}", "give text that can be read")


def day(field: str, value: object) -> str:
    """An ISO date in its one form that sorts as text; refuses what is no day."""
    try:
        return date.fromisoformat(value).isoformat()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        fix = "give an ISO date such as 2026-12-31"
        raise ConfigError(field, f"is {shown(value)}", fix) from None


def every(field: str, values: object, kind: type) -> tuple[Any, ...]:
    """A list of one kind as a tuple; refuses anything else."""
    if not isinstance(values, tuple | list) or not all(isinstance(v, kind) for v in values):
        raise ConfigError(field, f"is {shown(values)}", f"give a list of {kind.__name__}")
    return tuple(values)


def names_something(glob: str) -> bool:
    """Whether a glob holds a letter or digit that what it matches must hold, too."""
    return any(c.isalnum() for c in _WILD.sub("", glob))


def shown(value: object) -> str:
    """A value in a message."""
    try:
        found = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "too large"
    return found if len(found) <= 60 else f"{found[:57]}..."
