"""The ensemble by itself: the part of an audit that asks whether there was anything to distil."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ringtest import fidelity, plan, stages, telling
from ringtest.case import Case
from ringtest.ensemble_rows import ensemble_rows
from ringtest.measure import EnsembleMeasure
from ringtest.measurement import Measurement
from ringtest.model import evaluating
from ringtest.plan import Plan, Stage
from ringtest.progress import Progress, silent


def reduced(whole: Plan, students: bool = True) -> Plan:
    """Of an audit's plan what is about the ensemble and about the students' fidelity to it.

    Without students nothing is told of fidelity: where members disagree, which takes ten times as
    long to find as all the rest, is then not looked for.
    """
    told = fidelity.MEASURES if students else ()
    return replace(
        whole,
        stages=_about(whole.stages, told),
        not_measured=(),
        unread=_about(whole.unread, told),
    )


def _about(stages_: Sequence[Stage], told: Sequence[str]) -> tuple[Stage, ...]:
    """Of some stages what is about the ensemble, and the measures that are told of students."""
    kept = []
    for stage in stages_:
        if stage.condition.id not in fidelity.CONDITIONS:
            continue
        chosen = tuple(m for m in stage.measures if isinstance(m, EnsembleMeasure) or m.id in told)
        if chosen:
            wanted = plan.wanted_by(chosen, stage.condition)
            kept.append(replace(stage, measures=chosen, wanted=wanted))
    return tuple(kept)


def rows(case: Case, say: Progress = silent) -> dict[str, list[Measurement]]:
    """Rows of the ensemble and of the students' fidelity, by student; "" where there is none.

    Args:
        case: as it was prepared, perhaps without students; its plan is reduced to what is needed.
        say: told of what is looked at.
    """
    case = replace(case, plan=reduced(case.plan, bool(case.students)))
    context = {name: telling.Context() for name in case.students}
    judges = {name: telling.judge(case, model) for name, model in case.students.items()}
    found: list[Measurement] = []
    with evaluating(case.models):
        for stage, cells, _ in stages.Looker(case).walk(say):
            telling.tell(case, stage, cells, judges, context)
            if not case.students:
                found += _of_nobody(case, stage, cells)
    if not case.students:
        return {stages.NO_STUDENT: found}
    return {name: seen.rows + telling.unread(case) for name, seen in context.items()}


def _of_nobody(case: Case, stage: Stage, cells: stages.Cells) -> list[Measurement]:
    out: list[Measurement] = []
    for entry in stage.measures:
        if isinstance(entry, EnsembleMeasure):
            readings = cells[entry.id][stages.NO_STUDENT]
            out += ensemble_rows(entry, stage.condition, readings, case.seed)
    return out
