"""Formats that a decided report can be written in: one module each, found by its name.

A format is a file ``NAME.py`` in this folder with ``render(gated) -> str`` and nothing else to
touch; ``ringtest.reports.render(report, "NAME")`` then finds it. What it gets
(:class:`ringtest.gates.gating.Gated`) holds one report or several, each with its verdict under the
gate's policy. The outcome and every status are read off that verdict: a format that decides
anything itself would sooner or later disagree with the exit code.
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


def load(form: str) -> Callable[[Gated], str]:
    """The ``render`` of a format; raises ReportError with the closest names if there is none."""
    if form not in names():
        raise ReportError(f"format {form!r}", "is not known", close_to(form, names()))
    module = importlib.import_module(f"{__name__}.{form}")
    return cast("Callable[[Gated], str]", module.render)
