"""A few stages of an audit, where a whole one would take a minute."""

from __future__ import annotations

from typing import Any

from ringtest import compare, stages
from ringtest.case import Case
from ringtest.compare import Failure, Paired
from ringtest.model import evaluating


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
