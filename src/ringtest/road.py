"""The road: subjects and data -> plan -> evidence -> measures -> headlines -> verdict -> report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ringtest import compare, environment, evidence, plan, sections, subjects, tasks
from ringtest.checks import row_codes
from ringtest.compare import Failure, Layers, Likeness
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.files import claim, sweep
from ringtest.headlines import Judge
from ringtest.measure import ModelMeasure, PairMeasure, Setting
from ringtest.measurement import Measurement
from ringtest.model import Model, evaluating
from ringtest.plan import Cell, Plan, Stage
from ringtest.policy import Gate, Policy
from ringtest.probes import layer_pairs
from ringtest.probes.twin_spread import MEAN_OUTPUTS
from ringtest.progress import Progress, bar
from ringtest.report import Report, ReportSet
from ringtest.tasks import AnyTask, Metric


@dataclass(frozen=True)
class Case:
    """Everything that an audit looks at, checked and ready."""

    data: AuditData
    task: AnyTask
    members: list[Model]
    students: dict[str, Model]
    references: list[Model]
    plan: Plan
    seed: int
    several: bool
    """Whether students were given by name, for a ReportSet."""

    @property
    def models(self) -> list[Model]:
        """All models, members first."""
        return [*self.members, *self.references, *self.students.values()]


def prepare(
    teacher: Any,
    student: Any,
    data: AuditData,
    task: str = "classification",
    references: Any = None,
    layers: str | Sequence[str] = "auto",
    metric: Metric | None = None,
    seed: int = 0,
    cells: Sequence[Cell] = (),
) -> Case:
    """Check all arguments and plan the audit, running each model on a few rows only."""
    asked: Any = cells
    if not isinstance(asked, list | tuple) or not all(
        isinstance(cell, list | tuple) and len(cell) == 2 for cell in asked
    ):
        raise ConfigError("cells", f"are {cells!r}", 'give pairs ("measure", "condition")')
    if not isinstance(data, AuditData):
        raise DataError("data", f"is a {type(data).__name__}", "give ringtest.AuditData(...)")
    if type(seed) is not int or seed < 0:
        raise ConfigError("seed", f"is {seed!r}", "give a whole number from 0")
    kind = tasks.make(task, data, metric)
    members = subjects.teacher(teacher, kind, data, layers)
    student = subjects.resolved("student", student)
    found = subjects.students(student, kind, data, layers)
    honest = subjects.references(references, kind, data, layers)
    everyone = [*members, *honest, *found.values()]
    subjects.check_layers(layers, everyone)
    made = plan.make(data, kind, everyone, cells)
    return Case(data, kind, members, found, honest, made, seed, isinstance(student, dict))


def audit(
    teacher: Any,
    student: Any,
    data: AuditData,
    task: str = "classification",
    references: Any = None,
    layers: str | Sequence[str] = "auto",
    metric: Metric | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    *,
    cells: Sequence[Cell] = (),
    gates: Sequence[Gate] = (),
    fresh: bool = False,
    progress: Progress | bool = True,
    config: Mapping[str, Any] | None = None,
) -> Report | ReportSet:
    """Compare a student, or several, with the teacher from inside.

    Args:
        teacher: nn.Module, list of them (an ensemble), callable on batches, or Subject.
        student: the same, never a list; a dict name -> student gives a ReportSet.
        data: the rows.
        task: ``classification``, ``regression`` or ``embedding``.
        references: independently trained, honest models of the student's kind.
        layers: ``auto``, or names and globs of modules.
        metric: metric(outputs, targets) -> one score a row, higher is better.
        seed: decides every random draw.
        out: folder to write report.json and report.html to.
        cells: (measure, condition) globs to read besides the default, as context.
        gates: requirements of your own, decided beside the verdict.
        fresh: replace another audit's report in ``out``.
        progress: True for a progress bar, False for none, or a callable.
        config: written into the report.

    Returns:
        Report, or ReportSet for a dict of students. Models are left as they were found.

    Raises RingtestError, in one line, for whatever cannot be used.
    """
    started = time.perf_counter()
    # Not only models draw: importing a library for the first time may, too.
    with evaluating([]):
        case = prepare(teacher, student, data, task, references, layers, metric, seed, cells)
    if not all(isinstance(g, Gate) for g in gates):
        raise ConfigError("gates", "are no ringtest.Gate", "give ringtest.Gate(measure, margin)")
    layers = layers if isinstance(layers, str) else list(layers)
    identity = {
        "task": task,
        "data": data.fingerprint,
        "teacher": [m.weights_hash for m in case.members],
        "students": {name: m.weights_hash for name, m in case.students.items()},
        "references": [m.weights_hash for m in case.references],
        "seed": seed,
        "layers": layers,
    }
    if out is not None:
        claim(out, identity, list(case.students) if case.several else None, fresh)
    with bar(progress) as tell:
        rows, timing = run(case, tell)
    timing["total"] = time.perf_counter() - started
    settings = {
        "task": task,
        "layers": layers,
        "seed": seed,
        "cells": [list(c) for c in cells],
        "metric": None if metric is None else getattr(metric, "__name__", "callable"),
        "identity": identity,
        # Whoever reads one report of a set can tell whether another is missing.
        "students": list(case.students) if case.several else None,
        **(config or {}),
    }
    device = str(next((m.device for m in case.models if m.device is not None), "cpu"))
    reports = {
        name: Report.build(
            rows[name],
            Policy(gates=tuple(gates)),
            sections.scope([*case.members, model]),
            student=name,
            task=case.task.name,
            subjects=sections.subjects(case.members, model, case.references),
            data=sections.data(data, [*case.members, *case.references, model]),
            not_measured=sections.not_measured(case.plan.not_measured, rows[name]),
            config=settings,
            environment=environment.describe(seed, device),
            timing=timing,
        )
        for name, model in case.students.items()
    }
    result = ReportSet(reports) if case.several else next(iter(reports.values()))
    if out is not None:
        if fresh:
            sweep(out)
        result.save(out)
    return result


def run(case: Case, tell: Progress) -> tuple[dict[str, list[Measurement]], dict[str, Any]]:
    """Look at all models under all conditions; rows by student, and seconds by condition."""
    rows: dict[str, list[Measurement]] = {name: [] for name in case.students}
    judges = {name: _judge(case, model) for name, model in case.students.items()}
    clean: dict[str, evidence.Evidence] = {}
    total = sum(stage.rows for stage in case.plan.stages) * len(case.models)
    done, timing = 0, {}
    with evaluating(case.models):
        for stage in case.plan.stages:
            start = time.perf_counter()

            def tick(n: int, key: str = stage.condition.key) -> None:
                nonlocal done
                done += n
                tell(key, 0.98 * done / total)

            _stage(case, stage, clean, rows, judges, tick)
            timing[stage.condition.key] = round(time.perf_counter() - start, 4)
    tell("verdict", 1.0)
    for name, judge in judges.items():
        rows[name] = judge.headlines() + rows[name]
    return rows, {"seconds": timing}


def _judge(case: Case, student: Model) -> Judge:
    last = case.members[0].layers
    mine = student.layers
    return Judge(
        members=len(case.members),
        same_architecture=student.architecture is not None
        and {m.architecture for m in case.members} == {student.architecture},
        references=bool(case.references),
        kindred=bool(_kin(case, student)),
        embedding=case.task.name == "embedding",
        layers=Layers(last.last.name if last else None, mine.last.name if mine else None),
        seed=case.seed,
    )


def _stage(
    case: Case,
    stage: Stage,
    clean: dict[str, evidence.Evidence],
    rows: dict[str, list[Measurement]],
    judges: dict[str, Judge],
    tick: Callable[[int], None],
) -> None:
    """One condition: gather evidence of all models, read all measures, tell the judges."""
    condition = stage.condition
    gathered = evidence.gather(
        condition,
        case.models,
        _moment_pairs(case),
        case.data,
        case.task,
        stage.wanted,
        case.seed,
        tick,
    )
    if condition.role == "clean":
        clean.update(gathered.evidence)
    else:
        for name, seen in gathered.evidence.items():
            seen.clean = clean.get(name)
    at = Setting(
        case.data,
        case.task,
        condition,
        gathered.rows,
        case.data.cluster if condition.keeps_rows else _copies(condition.inputs(case.data)),
        case.seed,
    )
    members = [m.name for m in case.members]
    outputs = [gathered.evidence[m].outputs for m in members]
    if all(o.shape[0] for o in outputs):
        at.shared[MEAN_OUTPUTS] = case.task.combined(outputs)
    readings, likenesses = _measure(case, stage, gathered, at)
    _certify(case, condition, readings, judges)
    for name, model in case.students.items():
        judge = judges[name]
        for entry in stage.measures:
            # What a student cannot do is not asked of it; the verdict's scope says so.
            if plan.beyond(entry, condition, model):
                continue
            if isinstance(entry, ModelMeasure):
                found = compare.pair(readings[entry.id], members, model.name)
                left = judge.see_readings(entry, condition, found)
                rows[name] += compare.context_rows(entry, condition, left, case.seed)
            elif isinstance(entry, PairMeasure):
                like = likenesses[entry.id][model.name]
                judge.see_likeness(entry, condition, like)
                rows[name].append(
                    compare.likeness_row(entry, condition, like, judge.layers, case.seed)
                )
        if stage.wanted.moments and model.layers is not None:
            rows[name] += layer_pairs.rows(gathered, members, model.name)


def _copies(inputs: torch.Tensor) -> NDArray[np.int64] | None:
    """Copies of one input are one unit; None where no row repeats another."""
    codes = row_codes(inputs)
    return codes if int(codes.max()) + 1 < len(codes) else None


def _measure(
    case: Case, stage: Stage, gathered: evidence.Gathered, at: Setting
) -> tuple[
    dict[str, dict[str, Any]],
    dict[str, dict[str, Likeness | Failure]],
]:
    """Readings and similarities of all models; the teacher's are computed once for all students."""
    members = [m.name for m in case.members]
    # All references where none is of the student's kind: their drift is still worth knowing.
    honest = {
        m.name: [r.name for r in _kin(case, m) or case.references] for m in case.students.values()
    }
    students = [m.name for m in case.students.values()]
    readings: dict[str, dict[str, Any]] = {}
    likenesses: dict[str, dict[str, Likeness | Failure]] = {}
    for entry in stage.measures:
        if isinstance(entry, ModelMeasure):
            readings[entry.id] = compare.read(entry, gathered.evidence, [*members, *students], at)
        elif isinstance(entry, PairMeasure):
            likenesses[entry.id] = compare.likeness(
                entry, gathered.evidence, members, students, honest, at
            )
    return readings, likenesses


def _certify(
    case: Case, condition: Any, readings: dict[str, dict[str, Any]], judges: dict[str, Judge]
) -> None:
    """Tell the judges what the members themselves say of a condition: certified, elsewhere."""
    for measure_id, tell in (("outputs.consistency", Judge.certify), ("shift.domain_auc", None)):
        of_members = [readings.get(measure_id, {}).get(m.name) for m in case.members]
        values = [
            r[0].estimate.value if isinstance(r, list) and r else float("nan") for r in of_members
        ]
        value = float(np.mean(values))
        for judge in judges.values():
            if tell is not None and condition.role == "certified":
                judge.certify(condition, value, moved=case.task.name != "classification")
            elif tell is None and condition.role == "unlabelled":
                judge.elsewhere(condition, value)


def _kin(case: Case, student: Model) -> list[Model]:
    """The references of the student's own architecture."""
    return [r for r in case.references if r.architecture == student.architecture]


def _moment_pairs(case: Case) -> list[tuple[Model, Model]]:
    """Members with each other and with every student, for layer-by-layer CKA."""
    between = [(a, b) for i, a in enumerate(case.members) for b in case.members[i + 1 :]]
    return between + [(m, s) for m in case.members for s in case.students.values()]
