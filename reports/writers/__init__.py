"""Formats that a decided report can be written in: one module each, found by its name.

A format is a file ``NAME.py`` in this folder with ``render(gated) -> str`` and nothing else to
touch; ``ringtest.reports.render(report, "NAME")`` then finds it. What it gets
(:class:`ringtest.gates.gating.Gated`) holds one report or several, each with its verdict under the
gate's policy. The outcome and every status are read off that verdict: a format that decides
anything itself would sooner or later disagree with the exit code. One that shows the report as the
audit wrote it says ``DECIDED = False``, and is no format for what a gate decided.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ringtest.errors import ReportError, close_to

if TYPE_CHECKING:
    from ringtest.gates.gating import Gated


def names() -> tuple[str, ...]:
    """All formats, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(form: str, decided: bool = False) -> Callable[[Gated], str]:
    """The ``render`` of a format, for a report or for what a gate ``decided`` on it.

    Raises ReportError if there is none, with the closest names.
    """
    if form not in names():
        raise ReportError(f"format {form!r}", "is not known", close_to(form, names()))
    module = importlib.import_module(f"{__name__}.{form}")
    if decided and not getattr(module, "DECIDED", True):
        problem = "shows what an audit found, not what a gate decided"
        raise ReportError(f"format {form!r}", problem, "give the report, or use markdown or gate")
    return cast("Callable[[Gated], str]", module.render)
