"""Errors that a user can act on, and the one place where exit codes are defined."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes of every ``ringtest`` command."""

    PASS = 0
    """The command finished; for ``gate``: the student is sound."""
    FAIL = 1
    """``gate``: fractured, below-benchmark, or a gate of the user's failed."""
    ERROR = 2
    """Usage, configuration, model, data or report error."""
    INCONCLUSIVE = 3
    """``gate``: the report decides neither way."""
    INTERRUPTED = 130
    """Ctrl-C."""


class RingtestError(Exception):
    """Base of all errors that the user, not the programmer, can mend.

    The message is one line: the field, the value, the rule that it breaks, and a fix.
    """

    def __init__(self, field: str, problem: str, fix: str = "") -> None:
        self.field = field
        self.problem = problem
        self.fix = fix
        text = f"{field}: {problem}" + (f"; {fix}" if fix else "")
        super().__init__(" ".join(text.split()))


class ConfigError(RingtestError):
    """A configuration file, argument or option is wrong."""


class DataError(RingtestError):
    """AuditData, or what a data loader returned, is wrong."""


class SubjectError(RingtestError):
    """A teacher, student or reference cannot be used as given."""


class ReportError(RingtestError):
    """A stored report cannot be trusted or read."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while cells are kept; the message says how many of how many, and where."""

    def __init__(self, kept: str, resumable: bool) -> None:
        super().__init__(kept)
        self.resumable = resumable
        """Whether the same audit goes on from them; not where it would refuse the folder."""


def close_to(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Return a phrase that names the closest known names, or all of a short list.

    >>> close_to("fc3", ["fc1", "fc2"])
    'did you mean fc2, fc1?'
    """
    names = [str(k) for k in known]
    near = difflib.get_close_matches(name, names, n=limit, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(near)}?"
    if not names:
        return "there are none"
    more = "" if len(names) <= 12 else ", ..."
    return f"known: {', '.join(names[:12])}{more}"
