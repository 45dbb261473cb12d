"""A few stages of an audit, where a whole one would take a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from ringtest import compare, plan, stages
from ringtest.case import Case
from ringtest.compare import Failure, Paired
from ringtest.condition import Condition
from ringtest.model import evaluating

FEW = (
    "attack.pgd@0.1",
    "noise.input",
    "shift.certified.shift_up",
    "shift.corruption.noise@3",
    "shift.invariance",
    "shift.off_support.mixed",
    "shift.off_support.noise",
    "shift.off_support.random",
    "shift.strongest.noise",
    "shift.unlabelled",
)
"""Conditions of each sort, where all of them would take three times as long."""


def differences(case: Case, measure: str) -> dict[str, dict[str, list[Paired] | Failure]]:
    """Condition key -> student -> what a measure reads of it, clean and under every split."""
    members = [m.name for m in case.members]
    out: dict[str, Any] = {}
    with evaluating(case.models):
        looker = stages.Looker(case)
        for stage in case.plan.stages:
            if stage.condition.role != "clean" and not stage.condition.selects:
                continue
            cells, _ = looker.look(stage)
            if measure in cells:
                out[stage.condition.key] = {
                    name: compare.pair(cells[measure], members, model.name)
                    for name, model in case.students.items()
                }
    return out


@contextmanager
def only_under(*names: str) -> Iterator[None]:
    """Audits look at clean rows, under what is asked for, and under conditions of these names.

    An audit has some forty conditions of its own; a test of one need not pay for all. ``names``
    are kinds, ids, keys or globs; what a cell names and what the user hands in stays, too.
    """
    whole = plan.make

    def make(*given: Any, **more: Any) -> plan.Plan:
        made = whole(*given, **more)
        own = {c.key for part in (*given, *more.values()) for c in _conditions(part)}

        def stays(stage: plan.Stage) -> bool:
            at = stage.condition
            known = any(fnmatchcase(name, n) for name in (at.kind, at.id, at.key) for n in names)
            return at.role == "clean" or bool(stage.asked) or at.key in own or known

        return replace(made, stages=tuple(filter(stays, made.stages)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "make", make)
        yield


def _conditions(part: object) -> list[Condition]:
    """Those of the user's, among what a plan is made of."""
    return [c for c in part if isinstance(c, Condition)] if isinstance(part, list | tuple) else []


@contextmanager
def undrawn() -> Iterator[None]:
    """No pages: drawing them takes longer than a small audit."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("html", "html_set"):
            patch.setattr(f"ringtest.reports.{name}", lambda _: "page")
        yield
