"""Conditions that the user brings: instances, looked at besides the default ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence
from typing import Any, Final, get_args

from ringtest.condition import Condition, Role
from ringtest.errors import ConfigError, close_to

_OURS: Final = {
    "clean": "the benchmark is the data's own",
    "off_support": "its average is over a fixed list, which a further one would water down",
    "certified": "its largest harm is that of a fixed list, and grows with every further one",
}
"""Roles that no condition of the user's can have, and why."""


def users_own(given: Sequence[Condition], task: str, taken: Collection[str]) -> list[Condition]:
    """Copies of the user's conditions, checked: an audit fits what it looks under.

    Args:
        given: instances of ``Condition``.
        task: name of the task.
        taken: keys of the conditions that are looked at anyway.

    Raises ConfigError, naming its place in the list, for what is no instance, has no id or a role
    that it cannot have, means nothing for the task, or has the key of another.
    """
    if not isinstance(given, list | tuple):
        raise ConfigError("conditions", f"are {type(given).__name__}", "give a list of instances")
    known, out = set(taken), []
    for i, condition in enumerate(given):
        field = f"conditions[{i}]"
        _check(condition, field, task)
        if condition.key in known:
            fix = "give another name or severity, or leave it out"
            raise ConfigError(field, f"{condition.key} is looked at already", fix)
        known.add(condition.key)
        out.append(copy.copy(condition))
    return out


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
    if condition.role in _OURS:
        why = _OURS[condition.role]
        fix = "say role = 'context'"
        raise ConfigError(f"{field}.role", f"{condition.role!r} cannot be brought: {why}", fix)
    if task not in condition.tasks:
        tasks = " or ".join(condition.tasks) or "no task"
        raise ConfigError(field, f"{condition.key} means nothing for {task}", f"it is for {tasks}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
