"""The recordings that a configuration file names, read from their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringtest.config import AuditFile
from ringtest.ensembles.recorded import STUDENT, Recorded, files
from ringtest.errors import ConfigError, close_to
from ringtest.progress import Progress
from ringtest.sources import loading


def load(config: AuditFile, where: Path, progress: Progress | bool = False) -> Recorded | None:
    """Read and check what was recorded; None where the file names nothing.

    Args:
        config: what the file says.
        where: its folder, beside which files and modules are looked up.
        progress: of a verifier that is asked.

    Raises RingtestError, in one line that names the file and the field of it.
    """
    table = config.recorded
    if table is None:
        return None
    if table.load is not None:
        given = loading.call("recorded.load", table.load, where)
        if not isinstance(given, Recorded):
            raise ConfigError(
                "recorded.load", f"{table.load} gave a {type(given).__name__}", "return a Recorded"
            )
        return given
    answers, candidates = table.answers, table.candidates
    return Recorded(
        None if answers is None else files.load_answers("recorded.answers", where / answers),
        None
        if candidates is None
        else files.load_candidates(
            "recorded.candidates", where / candidates, _verifier(table.verifier, where), progress
        ),
        _each(config, "candidates", lambda f, v: files.load_candidates(f, where / v)),
        cost=table.cost,
        student_costs=_each(config, "cost", lambda _, v: v),
        student_answers=_each(config, "answers", lambda f, v: files.load_own_answers(f, where / v)),
        student_scores=_each(config, "scores", lambda f, v: files.load_scores(f, where / v)),
    )


def _each(config: AuditFile, key: str, read: Callable[[str, Any], Any]) -> dict[str, Any] | None:
    """Name -> what a student's field holds; None where no student has it."""
    found = {s.name or STUDENT: getattr(s, key) for s in config.student}
    return {
        name: read(f"student {name!r}: {key}", value)
        for name, value in found.items()
        if value is not None
    } or None


def _verifier(name: str | None, where: Path) -> Any:
    """What scores the candidates: one of ours by name, or the user's callable."""
    if name is None:
        return None
    field = "recorded.verifier"
    if name in files.VERIFIERS:
        return files.VERIFIERS[name]()
    if ":" not in name:
        raise ConfigError(field, f"{name!r} is not known", close_to(name, files.VERIFIERS))
    found: Any = loading.find(field, name, where)
    # UnitTests, say, with its usual limits
    return loading.call(field, name, where) if isinstance(found, type) else found
