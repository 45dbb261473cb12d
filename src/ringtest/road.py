"""The road: subjects and data -> plan -> evidence -> measures -> headlines -> verdict -> report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from ringtest import (
    compare,
    environment,
    findings,
    plan,
    sections,
    stages,
    subjects,
    tasks,
    telling,
)
from ringtest.case import Case
from ringtest.cells import versions
from ringtest.cells.store import Store
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.ensembles.recorded import Recorded, recordings
from ringtest.errors import ConfigError, DataError, Interrupted
from ringtest.files import CELLS, claim, held, is_free, sweep
from ringtest.measurement import Measurement
from ringtest.model import evaluating
from ringtest.plan import Cell
from ringtest.policy import Gate, Policy
from ringtest.progress import Progress, bar, part, silent
from ringtest.report import Report, ReportSet
from ringtest.tasks import Metric

_LEAKAGE: Final = 0.1
"""Share of the progress bar that a full search for leakage has."""
_LOOKED: Final = 0.95
"""Where it stands when models were looked at, if there are recordings to be read."""


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
    max_rows: int = 0,
    conditions: Sequence[Condition] = (),
    control: Any = None,
    *,
    alone: bool = False,
) -> Case:
    """Check all arguments and plan the audit, running each model on a few rows only.

    ``alone`` lets the student be None: then the case is about the teacher by itself.
    """
    pairs: Any = cells
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(cell, list | tuple) and len(cell) == 2 for cell in pairs
    ):
        raise ConfigError("cells", f"are {cells!r}", 'give pairs ("measure", "condition")')
    if not isinstance(data, AuditData):
        raise DataError("data", f"is a {type(data).__name__}", "give ringtest.AuditData(...)")
    if type(seed) is not int or seed < 0:
        raise ConfigError("seed", f"is {seed!r}", "give a whole number from 0")
    asked: Any = max_rows
    if isinstance(asked, bool) or not isinstance(asked, int | np.integer) or asked < 0:
        raise ConfigError("max_rows", f"is {max_rows!r}", "give a number of rows, or 0 for all")
    data = data.sample(int(max_rows), seed)
    kind = tasks.make(task, data, metric)
    members = subjects.teacher(teacher, kind, data, layers)
    student = subjects.resolved("student", student, kind)
    nobody = alone and student is None
    found = {} if nobody else subjects.students(student, kind, data, layers)
    honest = subjects.references(references, kind, data, layers)
    controls = subjects.controls(control, kind, data)
    everyone = [*members, *honest, *found.values()]
    subjects.check_layers(layers, everyone)
    made = plan.make(data, kind, [*everyone, *controls], cells, conditions)
    several = isinstance(student, dict)
    return Case(data, kind, members, found, honest, made, seed, several, controls)


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
    conditions: Sequence[Condition] = (),
    max_rows: int = 0,
    gates: Sequence[Gate] = (),
    fresh: bool = False,
    progress: Progress | bool = True,
    recorded: Recorded | None = None,
    leakage: findings.Extent = "auto",
    control: Any = None,
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
        out: folder to write report.json and report.html to, and cells on the way: the same audit
            goes on there where it was interrupted, and need not run the models again.
        cells: (measure, condition) globs to read besides the default, as context.
        conditions: instances of ``Condition`` of your own with role ``context``, looked under
            besides the default ones with what is read by default there. They never change the
            verdict; rows and promises that shall be judged go into ``AuditData``, as ``unlabelled``
            and ``invariances``.
        max_rows: audit a seeded, stratified sample of so many rows; 0: all rows.
        gates: requirements of your own, decided beside the verdict.
        fresh: replace another audit's report in ``out``, and compute every cell anew.
        progress: True for a progress bar, False for none, or a callable.
        recorded: answers and candidates that were sampled before, of the teacher and of students
            by name. What they show is told and changes no verdict.
        leakage: how far to look, before any number, for rows that are in each other or in
            ``train``: ``auto`` looks for near copies where that takes seconds, ``full`` always,
            ``exact`` never. What is found is told and changes no verdict.
        control: a student distilled in the same way from a teacher that was never trained, or a
            list of them, whose mean counts. Rows of scores and of fidelity then tell how far the
            student is above it; it changes no verdict.
        config: written into the report.

    Returns:
        Report, or ReportSet for a dict of students. Models are left as they were found.

    Raises RingtestError, in one line, for whatever cannot be used, and for a folder in which
    another audit is writing.
    """
    started = time.perf_counter()
    # Not only models draw: importing a library for the first time may, too.
    with evaluating([]):
        case = prepare(
            teacher,
            student,
            data,
            task,
            references,
            layers,
            metric,
            seed,
            cells,
            max_rows,
            conditions,
            control,
        )
    if not all(isinstance(g, Gate) for g in gates):
        raise ConfigError("gates", "are no ringtest.Gate", "give ringtest.Gate(measure, margin)")
    if recorded is not None:
        recordings.check_names(recorded, case.students)
    extent = findings.extent(leakage)
    layers = layers if isinstance(layers, str) else list(layers)
    tokenizer = case.data.tokenizer
    identity = {
        "task": task,
        "data": case.data.fingerprint,
        "teacher": [m.weights_hash for m in case.members],
        "students": {name: m.weights_hash for name, m in case.students.items()},
        "references": [m.weights_hash for m in case.references],
        **({"controls": [m.weights_hash for m in case.controls]} if case.controls else {}),
        "seed": seed,
        "layers": layers,
        **({} if metric is None else {"metric": versions.of_callable(metric)}),
        **({} if tokenizer is None else {"tokenizer": versions.of_callable(tokenizer)}),
        **({} if recorded is None else {"recorded": recorded.digest}),
    }
    names = list(case.students) if case.several else None
    settings = {
        "task": task,
        "layers": layers,
        "seed": seed,
        "cells": [list(c) for c in cells],
        **({"conditions": [c.key for c in conditions]} if conditions else {}),
        "max_rows": int(max_rows),
        **({} if extent == "auto" else {"leakage": extent}),
        "metric": None if metric is None else getattr(metric, "__name__", "callable"),
        **({} if recorded is None else {"recorded": recorded.describe()}),
        "identity": identity,
        # Whoever reads one report of a set can tell whether another is missing.
        "students": names,
        **(config or {}),
    }
    with ExitStack() as stack:
        store = None
        if out is not None:
            claim(out, identity, names, fresh)
            stack.enter_context(held(out))
            # Another audit may have ended between the two.
            claim(out, identity, names, fresh)
            store = stack.enter_context(_cells(Path(out), case, identity, fresh))
        first = _LEAKAGE if extent == "full" else 0.0
        with bar(progress) as say:
            leaks = findings.find(case.data, extent, part(say, 0.0, first) if first else silent)
            last = 1.0 if recorded is None else _LOOKED
            rows, timing = run(case, part(say, first, last), store)
            if recorded is not None:
                for name, of_student in rows.items():
                    of_student += recordings.rows(recorded, name, seed, part(say, last, 1.0))
        timing["total"] = time.perf_counter() - started
        result = _result(case, rows, leaks, Policy(gates=tuple(gates)), settings, timing)
        if out is not None:
            result.save(out)
            if fresh:
                sweep(out, names)
    return result


def _result(
    case: Case,
    rows: dict[str, list[Measurement]],
    leaks: findings.Leakage,
    policy: Policy,
    settings: dict[str, Any],
    timing: dict[str, Any],
) -> Report | ReportSet:
    """The reports of all students, decided."""
    device = str(next((m.device for m in case.models if m.device is not None), "cpu"))
    reports = {
        name: Report.build(
            rows[name],
            policy,
            sections.scope([*case.members, model]),
            student=name,
            task=case.task.name,
            subjects=sections.subjects(case.members, model, case.references, case.controls),
            data=sections.data(case.data, [*case.members, *case.references, model], leaks),
            not_measured=sections.not_measured(case.plan.not_measured, rows[name]),
            config=settings,
            environment=environment.describe(case.seed, device),
            timing=timing,
        )
        for name, model in case.students.items()
    }
    return ReportSet(reports) if case.several else next(iter(reports.values()))


@contextmanager
def _cells(out: Path, case: Case, identity: dict[str, Any], fresh: bool) -> Iterator[Store]:
    """The store of an output folder; an interruption says how much of it is kept."""
    store = Store(out / CELLS)
    if fresh:
        store.clear()
    try:
        yield store
    except KeyboardInterrupt as stop:
        kept = f"{len(store.kept)} of {case.plan.cells} cells are kept in {out}"
        raise Interrupted(kept, is_free(out, identity)) from stop


def run(
    case: Case, say: Progress, store: Store | None = None
) -> tuple[dict[str, list[Measurement]], dict[str, Any]]:
    """Look at all models under all conditions, or take what the store has.

    Returns:
        Rows by student; seconds and cells found in the store, by condition.
    """
    context = {name: telling.Context() for name in case.students}
    judges = {name: telling.judge(case, model) for name, model in case.students.items()}
    seconds, kept = {}, {}
    with evaluating(case.models):
        looker, start = stages.Looker(case, store), time.perf_counter()
        for stage, cells, found in looker.walk(say):
            telling.tell(case, stage, cells, judges, context)
            now, key = time.perf_counter(), stage.condition.key
            seconds[key], kept[key] = round(now - start, 4), found
            start = now
    rows = {
        name: judges[name].headlines()
        + seen.rows
        + telling.unread(case)
        + seen.series.rows(case.seed)
        for name, seen in context.items()
    }
    for of_student in rows.values():
        compare.mark_unmoved(of_student)
    return rows, {"seconds": seconds, "cached": {k: n for k, n in kept.items() if n}}
