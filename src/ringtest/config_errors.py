"""What pydantic finds wrong with a configuration file, in a line for the people who wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from ringtest.errors import ConfigError, close_to
from ringtest.policy import Inconclusive

TASKS: Final = ("classification", "regression", "embedding")
LATER: Final = "comes with a later version"

_EXAMPLES: Final = {
    "teacher": 'add [teacher] with load = "module:callable"',
    "student": 'add [student] with load = "module:callable"',
    "data": 'add [data] with load = "module:callable" that gives a ringtest.AuditData',
    "load": 'add load = "module:callable"',
    "measure": 'add measure = "similarity.cka" or another id of `ringtest measures`',
    "margin": "add margin = 0.1 or another number",
    "id": 'add id = "a name of its own"',
    "match": 'add match = { measure = "similarity.cka" } or another glob',
    "statement": 'add statement = "who accepts what, and why"',
    "expires": "add expires = 2026-12-31 or another date",
}
_TYPES: Final = {
    "string": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "model": "a table",
    "dict": "a table",
    "date": "a date without quotes, such as 2026-12-31",
}


def in_words(
    form: type[BaseModel], file: str, error: ErrorDetails, values: dict[str, Any]
) -> ConfigError:
    """One of pydantic's errors as ours: file, key, value, rule and fix.

    Args:
        form: what the file was checked against.
        file: its name in messages.
        error: the first thing that is wrong.
        values: everything that the file says.
    """
    kind, place = error["type"], error["loc"]
    key = str(place[-1])
    field = f"{file}: {_dotted(place, values)}"
    shown, context = _shown(error["input"]), error.get("ctx", {})
    if kind == "extra_forbidden":
        return ConfigError(field, "is no known key", close_to(key, _keys(form, place[:-1])))
    if kind == "missing":
        return ConfigError(field, "is missing", _EXAMPLES.get(key, f"add {key}"))
    if kind == "literal_error":
        return ConfigError(field, *_choice(key, error["input"]))
    if kind == "string_pattern_mismatch":
        return ConfigError(
            field, f"is {shown}", 'write "module:callable", such as "models:teacher"'
        )
    if kind == "value_error":
        return ConfigError(field, f"is {shown}", str(context["error"]))
    if kind == "finite_number":
        return ConfigError(field, f"is {shown}", "give a finite number")
    if kind in ("too_short", "too_long") and len(place) > 1 and place[1] == "cells":
        return ConfigError(field, f"is {shown}", 'give pairs ["measure", "condition"]')
    if kind in ("too_short", "string_too_short"):
        return ConfigError(field, "is empty", _EXAMPLES.get(key, "fill it in, or leave it out"))
    if kind == "list_type" and isinstance(error["input"], Mapping):
        return ConfigError(field, "is one table", f"write [[{field.split()[-1]}]], in two brackets")
    for suffix, wanted in _TYPES.items():
        if kind == f"{suffix}_type":
            return ConfigError(field, f"is {shown}", f"give {wanted}")
    rule = error["msg"].removeprefix("Input should be ").strip()
    return ConfigError(field, f"is {shown}", f"it must be {rule}")


def _choice(key: str, given: Any) -> tuple[str, str]:
    if key == "task" and given == "causal-lm":
        return f"'causal-lm' {LATER}", f"known: {', '.join(TASKS)}"
    known = {"task": TASKS, "inconclusive": get_args(Inconclusive)}.get(key, ("auto",))
    return f"{_shown(given)} is not known", close_to(str(given), known)


def _dotted(place: tuple[int | str, ...], values: dict[str, Any]) -> str:
    """``student[1].load``; a single table that stands where several may is just ``student``."""
    single = bool(place) and not isinstance(values.get(str(place[0])), list)
    text = ""
    for i, part in enumerate(place):
        if isinstance(part, int):
            text += "" if single and i == 1 else f"[{part}]"
        elif i == 0 or part not in ("str", "list[str]"):
            text += f".{part}" if text else part
    return text


def _keys(form: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Known keys of the table at a place."""
    for part in place:
        if isinstance(part, int):
            continue
        found = form.model_fields[part].annotation
        inner = [a for a in (found, *get_args(found)) if isinstance(a, type)]
        form = next(a for a in inner if issubclass(a, BaseModel))
    return list(form.model_fields)


def _shown(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
