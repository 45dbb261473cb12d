"""The ensemble by itself: the part of an audit that asks whether there was anything to distil."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ringtest import compare, plan, stages
from ringtest.case import Case
from ringtest.measure import EnsembleMeasure
from ringtest.measurement import Measurement
from ringtest.model import evaluating
from ringtest.plan import Plan, Stage
from ringtest.progress import Progress, silent

_FIDELITY: Final = ("outputs.fidelity", "outputs.kl", "outputs.calibration")
_WHERE: Final = ("clean", "attack.disagreement")


def reduced(whole: Plan) -> Plan:
    """Of an audit's plan what is about the ensemble and about the students' fidelity to it."""
    kept = []
    for stage in whole.stages:
        if stage.condition.id not in _WHERE:
            continue
        chosen = tuple(
            m for m in stage.measures if isinstance(m, EnsembleMeasure) or m.id in _FIDELITY
        )
        if chosen:
            wanted = plan.wanted_by(chosen, stage.condition)
            kept.append(replace(stage, measures=chosen, wanted=wanted))
    return replace(whole, stages=tuple(kept), not_measured=(), unread=())


def rows(case: Case, say: Progress = silent) -> dict[str, list[Measurement]]:
    """Rows of the ensemble and of the students' fidelity, by student; "" where there is none.

    Args:
        case: as it was prepared, perhaps without students; its plan is reduced to what is needed.
        say: told of what is looked at.
    """
    case = replace(case, plan=reduced(case.plan))
    context = {name: stages.Context() for name in case.students}
    judges = {name: stages.judge(case, model) for name, model in case.students.items()}
    found: list[Measurement] = []
    total = sum(stage.rows for stage in case.plan.stages) * len(case.models)
    done = 0
    with evaluating(case.models):
        looker = stages.Looker(case)
        for stage in case.plan.stages:

            def tick(n: int, key: str = stage.condition.key) -> None:
                nonlocal done
                done += n
                say(key, 0.98 * done / total)

            cells, _ = looker.look(stage, tick)
            stages.tell(case, stage, cells, judges, context)
            if not case.students:
                found += _of_nobody(case, stage, cells)
    say("verdict", 1.0)
    if not case.students:
        return {stages.NO_STUDENT: found}
    return {name: seen.rows for name, seen in context.items()}


def _of_nobody(case: Case, stage: Stage, cells: stages.Cells) -> list[Measurement]:
    out: list[Measurement] = []
    for entry in stage.measures:
        if isinstance(entry, EnsembleMeasure):
            readings = cells[entry.id][stages.NO_STUDENT]
            out += compare.ensemble_rows(entry, stage.condition, readings, case.seed)
    return out
