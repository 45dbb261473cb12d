"""Recordings in audit.toml, and the base of all tables."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from ringtest.errors import ConfigError

SPEC: Final = r"^[^:\s]+:[^:\s]+$"
"""``module:callable``"""


class Table(BaseModel):
    """A table of a configuration file: no unknown keys, no values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class OwnRecordings(Table):
    """What was recorded of a student, beside what names its model."""

    candidates: str | None = Field(
        None, min_length=1, description="file of its own samples of the teacher's items"
    )
    answers: str | None = Field(
        None, min_length=1, description="file of what it wrote to the prompts of recorded.answers"
    )
    scores: str | None = Field(
        None, min_length=1, description="file of its scores of the teacher's candidates"
    )
    cost: float | None = Field(None, ge=0, description="of one of its samples")

    @property
    def recordings(self) -> dict[str, str | float]:
        """What was recorded of it, by field."""
        own = {k: getattr(self, k) for k in RECORDINGS}
        return {k: v for k, v in own.items() if v is not None}


RECORDINGS: Final = ("candidates", "answers", "scores", "cost")
"""Fields of a student that name no model."""


class RecordedTable(Table):
    """What was recorded of the ensemble: files, or a callable that gives all of it."""

    load: str | None = Field(
        None, pattern=SPEC, description="module:callable that gives a Recorded; then nothing else"
    )
    answers: str | None = Field(
        None, min_length=1, description=".json or .jsonl file of answers[member][prompt][sample]"
    )
    candidates: str | None = Field(
        None,
        min_length=1,
        description=".npz, .json or .jsonl file of correct, answers and scores, (items, samples)",
    )
    verifier: str | None = Field(
        None,
        min_length=1,
        description="what scores the candidates: arithmetic, json_schema, unit_tests, or "
        "module:callable of an item and a text",
    )
    cost: float | None = Field(None, ge=0, description="of one of the teacher's candidates")


def check_recorded(file: str, table: RecordedTable | None, named: bool) -> None:
    """Refuse recordings that are named twice, or a verifier of nothing. Raises ConfigError.

    Args:
        file: its name in messages.
        table: what was recorded of the teacher.
        named: whether a student names recordings.
    """
    if table is None:
        if named:
            what = "names recordings, and there is no [recorded]"
            fix = "add [recorded] with the teacher's answers or candidates"
            raise ConfigError(f"{file}: student", what, fix)
        return
    others = [k for k in ("answers", "candidates", "verifier", "cost") if getattr(table, k)]
    if table.load is not None and (others or named):
        what = f"stands beside {', '.join(others) or 'recordings of a student'}"
        raise ConfigError(f"{file}: recorded.load", what, "let the callable give all of it")
    if table.load is None and table.answers is None and table.candidates is None:
        fix = 'add answers = "file", candidates = "file", or load = "module:callable"'
        raise ConfigError(f"{file}: recorded", "names nothing", fix)
    if table.verifier is not None and table.candidates is None:
        raise ConfigError(f"{file}: recorded.verifier", "has no candidates", "name their file")
