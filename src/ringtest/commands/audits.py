"""What the commands do. Light to import: each function imports what it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ringtest import config as configs
from ringtest.config_models import ModelTable
from ringtest.config_recorded import RECORDINGS
from ringtest.errors import ConfigError, close_to

if TYPE_CHECKING:
    from ringtest.case import Case
    from ringtest.ensembles.recorded import Recorded
    from ringtest.progress import Progress
    from ringtest.report import Report, ReportSet


@dataclass(frozen=True)
class Asked:
    """A configuration file turned into the arguments of :func:`ringtest.audit`."""

    config: configs.AuditFile
    arguments: dict[str, Any]
    """Arguments that ``road.prepare`` and ``road.audit`` share; None for what is left out."""
    where: Path
    """Folder of the file."""

    def recorded(self, progress: Progress | bool = False) -> Recorded | None:
        """The recordings that the file names, read and checked; None where it names none."""
        from ringtest.commands import recordings

        return recordings.load(self.config, self.where, progress)


def ask(path: Path, seed: int | None = None) -> Asked:
    """Read a configuration file and load its data; models are loaded when they are prepared."""
    return understood(configs.load(path), path, seed)


def understood(config: configs.AuditFile, path: Path, seed: int | None) -> Asked:
    """The arguments that a configuration file stands for; parts of an EnsembleFile may be missing.

    Args:
        config: what the file says.
        path: the file.
        seed: in the place of the file's own; None: the file's.
    """
    from ringtest import subjects
    from ringtest.data import AuditData
    from ringtest.measure import measures
    from ringtest.sources import loading, ways

    known = [entry.id for entry in measures]
    for i, wanted in enumerate(config.gate):
        if not any(fnmatchcase(m, wanted.measure) for m in known):
            raise ConfigError(
                f"{path.name}: gate[{i}].measure",
                f"no measure matches {wanted.measure!r}",
                close_to(wanted.measure, known),
            )
    where = path.parent

    def subject(table: ModelTable) -> subjects.Subject:
        named = table.model_dump(exclude={"name", *RECORDINGS})
        return subjects.Subject(**named, where=where)

    teachers = [subject(t) for t in config.teacher]
    # In an EnsembleFile a student may be known by its recordings alone.
    models = [s for s in config.student if any(getattr(s, way) for way in ways.WAYS)]
    students: Any = [subject(s) for s in models]
    if config.is_set:
        students = dict(zip([str(s.name) for s in models], students, strict=True))
    data: Any = config.data  # of an EnsembleFile it may be None
    if data is not None:
        data = _described(loading.call("data.load", data.load, where), config, where)
    if config.slice and isinstance(data, AuditData):
        data = data.sliced([s.rule() for s in config.slice])
    return Asked(
        config,
        {
            "teacher": teachers if len(teachers) > 1 else next(iter(teachers), None),
            "student": (students if config.is_set else students[0]) if students else None,
            "data": data,
            "task": config.task,
            "references": [subject(r) for r in config.reference] or None,
            "control": [subject(c) for c in config.control] or None,
            "layers": config.audit.layers,
            "seed": config.audit.seed if seed is None else seed,
            "cells": [(m, c) for m, c in config.audit.cells],
            "max_rows": config.audit.max_rows,
        },
        where,
    )


def _described(data: Any, config: configs.AuditFile, where: Path) -> Any:
    """The data with the columns of the files that lie beside the configuration."""
    from ringtest.data import AuditData
    from ringtest.rows.metadata import described

    table = config.data
    files = {k: where / v for k, v in (("groups", table.groups), ("concepts", table.concepts)) if v}
    # What is no AuditData is refused, in words, where the audit begins.
    if not isinstance(data, AuditData) or not (files or table.cluster):
        return data
    return described(data, **files, cluster=table.cluster)


def prepare(path: Path, seed: int | None = None) -> Case:
    """Check everything that a configuration file names, and plan the audit."""
    asked = ask(path, seed)

    from ringtest import road

    return road.prepare(**asked.arguments)


def plan(path: Path, out: Path | None, seed: int | None, quiet: bool) -> None:
    """Time a trial of everything that an audit would do, and print what it would do and cost."""
    case = prepare(path, seed)

    from ringtest import findings
    from ringtest.commands import listings, pilot
    from ringtest.progress import bar, silent

    with bar(not quiet) as say:
        # By itself it takes seconds; what an audit is asked for beyond that, it tells then.
        leaks = findings.find(case.data, "auto", silent)
        cost = pilot.estimate(case, path.with_suffix("") if out is None else out, say)
    listings.show_plan(case, cost, leaks.warnings)


def audit(path: Path, out: Path | None, fresh: bool, seed: int | None, quiet: bool) -> None:
    """Audit, write the reports and print what was found."""
    asked = ask(path, seed)

    from ringtest import road

    folder = path.with_suffix("") if out is None else out
    found = road.audit(
        **asked.arguments,
        out=folder,
        gates=[g.gate() for g in asked.config.gate],
        fresh=fresh,
        progress=not quiet,
        leakage=asked.config.audit.leakage,
        recorded=asked.recorded(not quiet),
        config={
            "file": asked.config.as_dict(),
            "command": f"ringtest audit {path.name} --seed {asked.arguments['seed']}",
        },
    )
    console = Console()
    _show(found, console, brief=quiet)
    _plain(console, f"Reports: {folder / 'report.html'}   Next: ringtest gate {folder}")


def schema(file: str | None = None) -> str:
    """JSON Schemas of all files, or of one, as JSON text."""
    from ringtest import reports
    from ringtest.reports import contract

    known = {
        **configs.schema(),
        "report.json": reports.schema(),
        "ensemble.json": contract.ensemble_schema(),
    }
    if file is not None and file not in known:
        raise ConfigError("FILE", f"{file!r} has no schema", close_to(file, known))
    return json.dumps(known if file is None else known[file], indent=2)


def _show(found: Report | ReportSet, console: Console, brief: bool = False) -> None:
    """Print a report, or the comparison of a set; in brief a line for each student."""
    from ringtest import reports
    from ringtest.report import Report

    if brief:
        single = [found] if isinstance(found, Report) else list(found.values())
        for report in single:
            strength = report.verdict.strength
            shown = "" if strength is None else f", strength {strength:.2f}"
            _plain(console, f"{report.student}: {report.verdict.label}{shown}")
    elif isinstance(found, Report):
        reports.terminal(found, console)
    else:
        reports.terminal_set(found, console)


def _plain(console: Console, text: str) -> None:
    """A line as it is: names hold no markup, and paths are not broken."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
