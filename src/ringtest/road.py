"""The road: subjects and data -> plan -> evidence -> measures -> headlines -> verdict -> report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ringtest import compare, environment, evidence, plan, subjects, tasks
from ringtest.compare import Failure, Layers, Likeness
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.headlines import Judge
from ringtest.measure import ModelMeasure, PairMeasure, Setting
from ringtest.measurement import Measurement
from ringtest.plan import Cell, Plan, Stage
from ringtest.policy import Gate, Policy
from ringtest.probes.cka import layer_pairs
from ringtest.probes.twin_spread import MEAN_OUTPUTS
from ringtest.report import Report, ReportSet, claim, sweep
from ringtest.subjects import Model
from ringtest.tasks import AnyTask, Metric
from ringtest.verdict import Scope

Progress = Callable[[str, float], None]
"""Called with what is being looked at and the share that is done, 0 to 1."""


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
    if not isinstance(data, AuditData):
        raise DataError("data", f"is a {type(data).__name__}", "give ringtest.AuditData(...)")
    if type(seed) is not int or seed < 0:
        raise ConfigError("seed", f"is {seed!r}", "give a whole number from 0")
    kind = tasks.make(task, data, metric)
    members = subjects.teacher(teacher, kind, data, layers)
    found = subjects.students(student, kind, data, layers)
    honest = subjects.references(references, kind, data, layers)
    everyone = [*members, *honest, *found.values()]
    subjects.check_layers(layers, everyone)
    return Case(data, kind, members, found, honest, plan.make(data, kind, everyone, cells), seed)


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
    case = prepare(teacher, student, data, task, references, layers, metric, seed, cells)
    identity = {
        "task": task,
        "data": data.fingerprint,
        "teacher": [m.weights_hash for m in case.members],
    }
    if out is not None:
        claim(out, identity, list(case.students) if isinstance(student, dict) else None, fresh)
    with _bar(progress) as tell:
        rows, timing = run(case, tell)
    timing["total"] = time.perf_counter() - started
    policy = Policy(gates=tuple(gates))
    settings = {
        "task": task,
        "layers": layers if isinstance(layers, str) else list(layers),
        "seed": seed,
        "cells": [list(c) for c in cells],
        "metric": None if metric is None else getattr(metric, "__name__", "callable"),
        **(config or {}),
    }
    reports = {
        name: _report(case, name, model, rows[name], policy, settings, identity, timing)
        for name, model in case.students.items()
    }
    result = ReportSet(reports) if isinstance(student, dict) else next(iter(reports.values()))
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
    with subjects.evaluating(case.models):
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
        case.data.cluster if condition.keeps_rows else None,
        case.seed,
    )
    members = [m.name for m in case.members]
    at.shared[MEAN_OUTPUTS] = _mean_points(
        case.task, [gathered.evidence[m].outputs for m in members]
    )
    readings, likenesses = _measure(case, stage, gathered, at)
    _certify(case, condition, readings, judges)
    for name, model in case.students.items():
        judge = judges[name]
        for entry in stage.measures:
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
        if stage.wanted.moments:
            rows[name] += _layer_rows(case, model, gathered)


def _measure(
    case: Case, stage: Stage, gathered: evidence.Gathered, at: Setting
) -> tuple[
    dict[str, dict[str, Any]],
    dict[str, dict[str, Likeness | Failure]],
]:
    """Readings and similarities of all models; the teacher's are computed once for all students."""
    members = [m.name for m in case.members]
    honest = [m.name for m in case.references]
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


def _mean_points(task: AnyTask, outputs: list[torch.Tensor]) -> torch.Tensor | None:
    """(m, k) the teacher's combined output as points in units of TWIN_OUTPUT."""
    if any(o.shape[0] == 0 for o in outputs):
        return None
    if task.name == "embedding":
        # Members' embeddings share no axes: side by side, not averaged.
        points = torch.cat([task.points(o.double()) for o in outputs], dim=1)
    else:
        points = task.points(task.mean([o.double() for o in outputs]))
    if task.name == "classification":
        return points
    spread = points.var(dim=0, unbiased=False).sum().sqrt()
    return points / torch.where(spread > 0, spread, torch.ones_like(spread))


def _moment_pairs(case: Case) -> list[tuple[Model, Model]]:
    """Members with each other and with every student, for layer-by-layer CKA."""
    between = [(a, b) for i, a in enumerate(case.members) for b in case.members[i + 1 :]]
    return between + [(m, s) for m in case.members for s in case.students.values()]


def _layer_rows(case: Case, student: Model, gathered: evidence.Gathered) -> list[Measurement]:
    """CKA of every layer pair, mean over members; beside it, where both are members' layers."""
    seen, first = gathered.evidence, case.members[0]
    if first.layers is None or student.layers is None:
        return []

    def table(pairs: list[tuple[Model, Model]]) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], list[float]] = {}
        for a, b in pairs:
            for p in layer_pairs(
                seen[a.name], seen[b.name], gathered.cross.get((a.name, b.name), {})
            ):
                found.setdefault((p.layer_a, p.layer_b), []).append(p.value)
        return {k: float(np.mean(v)) for k, v in found.items()}

    members = case.members
    band = table([(a, b) for i, a in enumerate(members) for b in members[i + 1 :]])
    mine = table([(m, student) for m in members])
    return [
        Measurement(
            "similarity.cka",
            "probes",
            "clean",
            statistic="cka",
            unit="cka",
            teacher_layer=a,
            student_layer=b,
            teacher=band.get((a, b), float("nan")),
            student=value,
            n=gathered.n,
            params={
                "teacher_depth": first.layers.depth(a) if a in first.layers.names else None,
                "student_depth": student.layers.depth(b),
            },
        )
        for (a, b), value in mine.items()
    ]


def _report(
    case: Case,
    name: str,
    student: Model,
    rows: list[Measurement],
    policy: Policy,
    settings: dict[str, Any],
    identity: dict[str, Any],
    timing: dict[str, Any],
) -> Report:
    left_out = [dict(n) for n in case.plan.not_measured]
    left_out += [
        {
            "measure": r.measure,
            "condition": r.condition,
            "reason": r.reason or "no finite number",
            "required": r.required,
        }
        for r in rows
        if r.status in ("not_measurable", "error") or (r.headline and not r.measured)
    ]
    device = str(next((m.device for m in case.models if m.device is not None), "cpu"))
    return Report.build(
        rows,
        policy,
        _scope([*case.members, student]),
        student=name,
        task=case.task.name,
        subjects={
            "teacher": {
                "name": "teacher",
                "members": [m.describe() for m in case.members],
            },
            "student": student.describe(),
            "references": [m.describe() for m in case.references],
        },
        data=_describe(case.data),
        not_measured=left_out,
        config={**settings, "identity": identity},
        environment=environment.describe(case.seed, device),
        timing=timing,
    )


def _scope(models: list[Model]) -> Scope:
    if any(m.layers is None for m in models):
        return "outputs-only"
    return "full" if all(m.gradients for m in models) else "no-gradient"


def _describe(data: AuditData) -> dict[str, Any]:
    groups = {
        column: {
            str(v): int(c) for v, c in zip(*np.unique(values, return_counts=True), strict=True)
        }
        for column, values in data.groups.items()
        if len(np.unique(values)) <= 50
    }
    return {
        "n": data.n,
        "fingerprint": data.fingerprint,
        "modality": data.modality,
        "groups": groups,
        "unlabelled": {k: int(v.shape[0]) for k, v in (data.unlabelled or {}).items()},
        "warnings": list(data.warnings),
    }


class _bar:
    """A progress bar for whoever looks at a terminal or a notebook; nothing elsewhere."""

    def __init__(self, progress: Progress | bool) -> None:
        self._own = progress if callable(progress) else None
        self._show = progress is True

    def __enter__(self) -> Progress:
        if self._own is not None or not self._show:
            return self._own or (lambda _what, _share: None)
        from tqdm.auto import tqdm

        bar = tqdm(total=100, disable=None, delay=1, leave=False, bar_format=_FORMAT)
        self._bar = bar

        def tell(what: str, share: float) -> None:
            bar.set_description_str(what, refresh=False)
            bar.update(100 * share - bar.n)

        return tell

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()


_FORMAT = "{desc:<34.34} {bar} {percentage:3.0f}% {elapsed}"
