"""Conditions that the user brings: instances, looked at besides the default ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Final, get_args

from ringtest.condition import Condition, Role, conditions
from ringtest.errors import ConfigError, close_to

_CONTEXT: Final = "say role = 'context'"
_JUDGED: Final = {
    "clean": ("the benchmark is the data's own", _CONTEXT),
    "off_support": ("its average is over a fixed list, which one more would water down", _CONTEXT),
    "certified": ("its largest harm is over a fixed list, and grows with one more", _CONTEXT),
    "unlabelled": (
        "the verdict looks at rows as they are",
        f"give the rows as AuditData(unlabelled=...), or {_CONTEXT}",
    ),
    "invariance": (
        "the verdict looks at those that the data promise",
        f"give the callable as AuditData(invariances=...), or {_CONTEXT}",
    ),
}
"""Roles that no condition of the user's can have: why, and what to do instead. A verdict in which
they took part could be moved by whoever adds one."""


def users_own(
    given: Sequence[Condition], task: str, default: Sequence[Condition]
) -> list[Condition]:
    """Copies of the user's conditions, checked: an audit fits what it looks under.

    Args:
        given: instances of ``Condition``.
        task: name of the task.
        default: conditions that are looked at anyway.

    Raises ConfigError, naming its place in the list, for what is no instance, has no id or a role
    besides ``context``, means nothing for the task, or has the key of another. The id of a default
    one is only for instances of the same class, at another severity.
    """
    if not isinstance(given, list | tuple):
        raise ConfigError("conditions", f"are {type(given).__name__}", "give a list of instances")
    known, out = {c.key for c in default}, list[Condition]()
    for i, condition in enumerate(given):
        field = f"conditions[{i}]"
        _check(condition, field, task)
        if condition.key in known:
            fix = "give another name or severity, or leave it out"
            raise ConfigError(field, f"{condition.key} is looked at already", fix)
        # Rows of one id are read together, so another class must not pass for it; and what has
        # the name of a judged kind would be taken for one, whatever role it says.
        same = [c for c in (*default, *out) if c.id == condition.id]
        if any(type(c) is not type(condition) for c in same) or _judged_by_name(condition.id):
            problem = f"{condition.id} is a condition of the audit's own"
            raise ConfigError(field, problem, "give another name or kind")
        known.add(condition.key)
        out.append(copy.copy(condition))
    return out


def _judged_by_name(id_: str) -> bool:
    """Whether an id lies within a kind that the verdict rests on."""
    return any(
        id_ == kind.id or id_.startswith(f"{kind.id}.")
        for kind in conditions
        if kind.role in _JUDGED
    )


def _check(condition: Any, field: str, task: str) -> None:
    if isinstance(condition, type) and issubclass(condition, Condition):
        name = condition.__name__
        raise ConfigError(field, f"is the class {name}", f"give an instance: {name}(...)")
    if not isinstance(condition, Condition):
        fix = "give an instance of ringtest.condition.Condition"
        raise ConfigError(field, f"is {type(condition).__name__}", fix)
    kind = getattr(condition, "kind", None)
    if not (isinstance(kind, str) and kind):
        raise ConfigError(field, f"kind of {type(condition).__name__} is {kind!r}", "give an id")
    if not (condition.name is None or isinstance(condition.name, str)):
        raise ConfigError(f"{field}.name", f"is {condition.name!r}", "give a text, or None")
    if not (condition.severity is None or _is_number(condition.severity)):
        raise ConfigError(f"{field}.severity", f"is {condition.severity!r}", "give a number")
    if condition.role not in get_args(Role):
        raise ConfigError(
            f"{field}.role", f"is {condition.role!r}", close_to(str(condition.role), get_args(Role))
        )
    if condition.role in _JUDGED:
        why, fix = _JUDGED[condition.role]
        raise ConfigError(f"{field}.role", f"{condition.role!r} cannot be brought: {why}", fix)
    if task not in condition.tasks:
        tasks = " or ".join(condition.tasks) or "no task"
        raise ConfigError(field, f"{condition.key} means nothing for {task}", f"it is for {tasks}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
