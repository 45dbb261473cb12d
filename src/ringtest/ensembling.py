"""Was there anything to distil? An ensemble by itself, with what was recorded of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringtest import alone, environment, road, sections
from ringtest.case import Case
from ringtest.data import AuditData
from ringtest.ensemble_report import EnsembleReport, check_place
from ringtest.ensembles.recorded import Recorded, recordings
from ringtest.errors import ConfigError, SubjectError
from ringtest.measurement import Measurement
from ringtest.model import evaluating
from ringtest.progress import Progress, bar, part
from ringtest.tasks import Metric


def ensemble(
    teacher: Any = None,
    student: Any = None,
    data: AuditData | None = None,
    task: str = "classification",
    recorded: Recorded | None = None,
    control: Any = None,
    layers: str | Sequence[str] = "auto",
    metric: Metric | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    *,
    max_rows: int = 0,
    progress: Progress | bool = True,
    config: Mapping[str, Any] | None = None,
) -> EnsembleReport:
    """Ask of an ensemble whether it is worth distilling; it costs far less than an audit.

    Args:
        teacher: list of members; needs ``data``. None: only the recordings are looked at.
        student: a student, or name -> student, placed beside the members; None: there is none yet.
        data: the rows on which models are looked at.
        task: ``classification`` or ``regression``.
        recorded: answers and candidates that were sampled before.
        control: a student distilled in the same way from a teacher that was never trained.
        layers: as for an audit.
        metric: metric(outputs, targets) -> one score a row, higher is better.
        seed: decides every random draw.
        out: folder for ensemble.json and ensemble.html; what an audit wrote there stays.
        max_rows: look at a seeded, stratified sample of so many rows; 0: all rows.
        progress: True for a progress bar, False for none, or a callable.
        config: written into the report.

    Returns:
        EnsembleReport. Models are left as they were found.

    Raises RingtestError, in one line, for whatever cannot be used: among others a teacher of one
    model of which nothing was recorded, and recordings of a student that was not given.
    """
    started = time.perf_counter()
    if teacher is None:
        _check_alone(student, data, control, recorded, seed)
    if recorded is not None:
        recordings.check(recorded)
    if out is not None:
        check_place(Path(out), [] if recorded is None else recorded.students)
    case = None
    if teacher is not None:
        # Not only models draw: importing a library for the first time may, too.
        with evaluating([]):
            case = road.prepare(
                teacher, student, data, task, None, layers, metric, seed,  # type: ignore[arg-type]
                max_rows=max_rows, control=control, alone=True,
            )  # fmt: skip
        if len(case.members) < 2 and recorded is None:
            raise SubjectError(
                "teacher", "is one member, of which no diversity can be told", "give a list"
            )
        if recorded is not None and case.students:
            recordings.check_names(recorded, case.students)
        if out is not None:
            check_place(Path(out), case.students)
    with bar(progress) as say:
        rows = _rows(case, recorded, seed, say)
    if not any(rows.values()):
        fix = "classification and regression can be asked"
        raise ConfigError("task", f"{task!r} says nothing of how members differ", fix)
    result = EnsembleReport.build(
        rows,
        subjects=_subjects(case, rows),
        data={
            "rows": None if case is None else sections.data(case.data, case.models),
            "recorded": None if recorded is None else recorded.describe(),
        },
        config=_settings(case, task, layers, metric, seed, max_rows) | dict(config or {}),
        environment=environment.describe(seed, _device(case)),
        timing={"total": time.perf_counter() - started},
    )
    if out is not None:
        result.save(out)
    return result


def _rows(
    case: Case | None, recorded: Recorded | None, seed: int, say: Progress
) -> dict[str | None, list[Measurement]]:
    """Rows by student; None where there is none."""
    share = 0.0 if case is None else 1.0 if recorded is None else 0.7
    found = {} if case is None else alone.rows(case, part(say, 0.0, share))
    named = dict.fromkeys([*found, *({} if recorded is None else recorded.students)])
    names = [n for n in named if n] or [""]
    rows: dict[str | None, list[Measurement]] = {}
    for i, name in enumerate(names):
        # A student that is known by its recordings alone has the rows of an ensemble by itself.
        mine = list(found.get(name, found.get("", [])))
        if recorded is not None:
            width = (1 - share) / len(names)
            place = part(say, share + i * width, share + (i + 1) * width)
            mine += recordings.rows(recorded, name or None, seed, place)
        rows[name or None] = mine
    return rows


def _check_alone(student: Any, data: Any, control: Any, recorded: Any, seed: Any) -> None:
    """Refuse what needs a teacher where there is none."""
    if recorded is None:
        fix = "give a list of members with data, or recorded=ringtest.Recorded(...)"
        raise ConfigError("teacher", "is missing, and nothing was recorded", fix)
    for field, given in (("student", student), ("control", control), ("data", data)):
        if given is not None:
            raise ConfigError(field, "is given without a teacher", "give its members, too")
    if type(seed) is not int or seed < 0:
        raise ConfigError("seed", f"is {seed!r}", "give a whole number from 0")


def _subjects(case: Case | None, rows: Mapping[str | None, Any]) -> dict[str, Any]:
    models = {} if case is None else case.students
    return {
        "members": [] if case is None else [m.describe() for m in case.members],
        "students": {
            name: models[name].describe() if name in models else None
            for name in rows
            if name is not None
        },
    }


def _settings(
    case: Case | None,
    task: str,
    layers: str | Sequence[str],
    metric: Metric | None,
    seed: int,
    max_rows: int,
) -> dict[str, Any]:
    models = {"task": task, "layers": layers if isinstance(layers, str) else list(layers)}
    own = {"metric": None if metric is None else getattr(metric, "__name__", "callable")}
    more = {} if case is None else {**models, **own, "max_rows": int(max_rows)}
    return {"seed": seed, **more}


def _device(case: Case | None) -> str:
    models = [] if case is None else case.models
    return str(next((m.device for m in models if m.device is not None), "cpu"))
