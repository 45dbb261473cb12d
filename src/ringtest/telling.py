"""What was looked at is told: to the judges of all students, and as rows of context."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ringtest import compare, likeness, plan
from ringtest.case import Case
from ringtest.compare import Failure
from ringtest.condition import Condition, conditions
from ringtest.controls import controlled
from ringtest.ensemble_rows import ensemble_rows
from ringtest.headlines import Judge
from ringtest.likeness import Layers
from ringtest.measure import EnsembleMeasure, Measure, ModelMeasure, PairMeasure
from ringtest.measurement import Measurement
from ringtest.model import Model
from ringtest.plan import LAYER_PAIRS, Stage
from ringtest.series import Series
from ringtest.stages import Cells


@dataclass
class Context:
    """What is told of one student and judged by nobody."""

    rows: list[Measurement] = field(default_factory=list)
    series: Series = field(default_factory=Series)


def tell(
    case: Case,
    stage: Stage,
    cells: Cells,
    judges: dict[str, Judge],
    context: dict[str, Context] | None,
) -> None:
    """Tell the judges of all students what one condition showed.

    What no verdict rests on goes into ``context``, unless that is None.
    """
    condition = stage.condition
    members = [m.name for m in case.members]
    _certify(case, condition, cells, judges)
    cells = unrefuted(stage, cells)
    for name, model in case.students.items():
        judge, told = judges[name], None if context is None else context[name]
        for entry in stage.measures:
            # What a student cannot do is not asked of it.
            if why := plan.beyond(entry, condition, model):
                if told and stage.tells(entry):
                    told.rows.append(_untold(entry, condition, why))
            elif isinstance(entry, ModelMeasure):
                honest, level = case.honest(entry), "teacher" in entry.needs
                found = compare.pair(cells[entry.id], members, model.name, honest, level=level)
                controls = [m.name for m in case.controls if m.name in cells[entry.id]]
                found = controlled(found, cells[entry.id], controls)
                left = judge.see_readings(entry, condition, found)
                if told:
                    told.series.see(entry, condition, found)
                    told.rows += compare.context_rows(entry, condition, left, case.seed)
            elif isinstance(entry, PairMeasure):
                like = cells[entry.id][model.name]
                judge.see_likeness(entry, condition, like)
                if told:
                    row = likeness.row(entry, condition, like, judge.layers, case.seed)
                    told.rows.append(row)
            elif isinstance(entry, EnsembleMeasure) and told:
                told.rows += ensemble_rows(entry, condition, cells[entry.id][model.name], case.seed)
        if told:
            told.rows += cells.get(LAYER_PAIRS, {}).get(model.name, [])


def unread(case: Case) -> list[Measurement]:
    """Rows of every student for what some member cannot be asked."""
    out = []
    for stage in case.plan.unread:
        for entry in stage.measures:
            why = plan.lacks(entry, stage.condition, case.members)
            assert why is not None
            out.append(_untold(entry, stage.condition, why))
    return out


def _untold(entry: Measure, condition: Condition, why: str) -> Measurement:
    failure = Failure("not_measurable", why)
    return compare.failed_row(entry, condition.id, failure, severity=condition.severity)


def unrefuted(stage: Stage, cells: Cells) -> Cells:
    """The cells, with a failure in words for what another measure of the stage objects to."""
    out = dict(cells)
    for entry in stage.measures:
        if not isinstance(entry, ModelMeasure) or not entry.refutes:
            continue
        for name, readings in cells[entry.id].items():
            if isinstance(readings, Failure):
                continue
            why = entry.objection({r.statistic: r.estimate.value for r in readings})
            for other in entry.refutes if why else ():
                if other in out:
                    refuted = Failure("not_measurable", f"{name}: {why}")
                    out[other] = {**out[other], name: refuted}
    return out


def judge(case: Case, student: Model) -> Judge:
    """The judge of one student."""
    last = case.members[0].layers
    mine = student.layers
    return Judge(
        members=len(case.members),
        same_architecture=student.architecture is not None
        and {m.architecture for m in case.members} == {student.architecture},
        references=bool(case.references),
        kindred=bool(case.kin(student)),
        embedding=case.task.name == "embedding",
        layers=Layers(last.last.name if last else None, mine.last.name if mine else None),
        seed=case.seed,
        unseen=_unseen(case, student),
    )


def _unseen(case: Case, student: Model) -> str:
    """Why stored evidence says nothing off support; empty if it does, or nothing is stored."""
    for model in (*case.members, student):
        if model.stored is None:
            continue
        asked = (c for kind in conditions for c in kind.make.defaults(case.data))
        for condition in asked:
            if condition.role == _OFF and not model.stored.holds(condition.id):
                return f"{model.name} is stored evidence, which holds none under {condition.id}"
    return ""


_OFF: Final = "off_support"


def _certify(case: Case, condition: Condition, cells: Cells, judges: dict[str, Judge]) -> None:
    """Tell the judges what the members themselves say of a condition: certified, elsewhere."""
    for measure_id, role in (
        ("outputs.consistency", "certified"),
        ("shift.domain_auc", "unlabelled"),
    ):
        if condition.role != role:
            continue
        of_members = [cells.get(measure_id, {}).get(m.name) for m in case.members]
        values = [
            r[0].estimate.value if isinstance(r, list) and r else float("nan") for r in of_members
        ]
        value = float(np.mean(values))
        for judge_ in judges.values():
            if role == "certified":
                judge_.certify(condition, value, moved=case.task.name != "classification")
            else:
                judge_.elsewhere(condition, value)
