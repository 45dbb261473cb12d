"""audit.toml and gate.toml: their form, and what is wrong with one, in a line.

pydantic checks the form; its many-line messages never leave this module. Everything here is light:
no model, no data and no torch are touched before a command asks for them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from ringtest.config_errors import LATER, in_words
from ringtest.config_models import Controls, Models, ModelTable, Students, named, only_recorded
from ringtest.config_recorded import SPEC, RecordedTable, Table, check_recorded
from ringtest.errors import ConfigError, close_to
from ringtest.policy import Gate
from ringtest.sources import ways


class DataTable(Table):
    """Where the rows come from."""

    load: str = Field(pattern=SPEC, description="module:callable that gives a ringtest.AuditData")
    groups: str | None = Field(
        None,
        min_length=1,
        description=".csv, .tsv or .parquet file of group columns, a row an input in their order",
    )
    concepts: str | None = Field(
        None, min_length=1, description="the same: factors to decode besides the target"
    )
    cluster: str | None = Field(
        None, min_length=1, description="group column: rows that share a value are one unit"
    )


def _layers(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise ValueError('give "auto", or a list of module names and globs')
    return value


class AuditTable(Table):
    """How to audit."""

    layers: Annotated[
        str | list[str],
        BeforeValidator(_layers),
        Field(description="auto, or names and globs of modules"),
    ] = "auto"
    seed: int = Field(0, ge=0, description="decides every random draw")
    max_rows: int = Field(0, ge=0, description="0: all rows; else a seeded, stratified sample")
    leakage: Literal["auto", "full", "exact"] = Field(
        "auto",
        description="near copies of rows: looked for where that takes seconds, always, or never",
    )
    references: Literal["auto"] | None = Field(
        None, description=f"auto: reference copies of the student's kind; {LATER}"
    )
    cells: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(
        [], description="[measure, condition] globs that are read besides the default, as context"
    )


class GateTable(Table):
    """A requirement of your own: the harm of the matching rows must lie below the margin."""

    measure: str = Field(min_length=1, description="measure id or glob")
    margin: float = Field(description="harm that is tolerated, in the unit of the row")
    condition: str | None = Field(
        None,
        min_length=1,
        description="condition id or glob; else each measure's headlines, or its clean rows",
    )
    slice: str | None = Field(
        None, min_length=1, description="column=value, name or glob; else all rows"
    )
    statistic: str | None = Field(
        None, min_length=1, description='statistic or glob, such as "mean*"; else all of a measure'
    )

    def gate(self) -> Gate:
        """The same for the policy."""
        return Gate(**self.model_dump())


class SliceTable(Table):
    """Rows of the data on which scores are read, too."""

    name: str = Field(min_length=1, description="what its rows are called, and [[gate]] names")
    where: dict[str, Any] = Field(
        min_length=1,
        description="column -> a value, or { from = 0.2, below = 0.5 }; all of them hold",
    )
    n: int | None = Field(None, ge=1, description="rows that it had where it was found")

    def rule(self) -> dict[str, Any]:
        """The same for the data."""
        return self.model_dump(exclude_none=True)


class AuditFile(Table):
    """audit.toml: what ``ringtest audit`` compares, and how."""

    task: Literal["classification", "regression", "embedding"] = "classification"
    teacher: Models = Field(description="the teacher; several tables are members of an ensemble")
    student: Students = Field(description="the student, or several with a name each")
    reference: list[ModelTable] = Field([], description="honest models of the student's kind")
    control: Controls = Field(
        [], description="students distilled in the same way from a teacher that was never trained"
    )
    data: DataTable
    audit: AuditTable = AuditTable()
    slice: list[SliceTable] = Field([])
    gate: list[GateTable] = Field([])
    recorded: RecordedTable | None = Field(
        None, description="what was recorded of the ensemble; it is told and never judged"
    )

    @property
    def is_set(self) -> bool:
        """Whether students have names, and so a folder each."""
        return bool(self.student) and self.student[0].name is not None

    def as_dict(self) -> dict[str, Any]:
        """What was asked for, as plain JSON values."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


class EnsembleFile(AuditFile):
    """What ``ringtest ensemble`` reads: an audit.toml of which parts may be missing."""

    teacher: Models = Field(
        default_factory=list, description="the members; needless where recordings are given"
    )
    student: Students = Field(
        default_factory=list, description="the student, or several, if there are any yet"
    )
    data: DataTable | None = None  # type: ignore[assignment]


def schema() -> dict[str, Any]:
    """JSON Schemas of audit.toml, of what may be left out of it, and of gate.toml, by name."""
    # It needs the tables of this module.
    from ringtest.gates.gate_file import GateFile

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    files: dict[str, type[Table]] = {
        "audit.toml": AuditFile,
        "ensemble.toml": EnsembleFile,
        "gate.toml": GateFile,
    }
    return {name: dialect | form.model_json_schema() for name, form in files.items()}


def load(path: Path) -> AuditFile:
    """Read audit.toml; raises ConfigError, in one line, for whatever is wrong with it."""
    return _load(path, AuditFile)


def load_ensemble(path: Path) -> EnsembleFile:
    """The same of a file in which teacher, student and data may be missing."""
    config = _load(path, EnsembleFile)
    if config.teacher and config.data is None:
        raise ConfigError(
            f"{path.name}: data", "is missing", "say on which rows the teacher is looked at"
        )
    if not config.teacher and config.recorded is None:
        fix = "add [teacher] with [data], or [recorded] with answers or candidates"
        raise ConfigError(path.name, "names neither teacher nor recordings", fix)
    return config


F = TypeVar("F", bound=AuditFile)


def _load(path: Path, form: type[F]) -> F:
    config = parse(form, path.name, toml(path))
    tables = (
        ("teacher", config.teacher),
        ("reference", config.reference),
        ("control", config.control),
    )
    fields = [(name, table) for name, listed in tables for table in listed]
    for where, table in [*fields, *named(path.name, config.student)]:
        if not (form is EnsembleFile and only_recorded(table)):
            ways.check(f"{path.name}: {where}", table.model_dump())
    check_recorded(path.name, config.recorded, any(s.recordings for s in config.student))
    if config.audit.references is not None:
        raise ConfigError(
            f"{path.name}: audit.references",
            f"'auto' {LATER}",
            "give [[reference]] tables, or none",
        )
    return config


T = TypeVar("T", bound=Table)


def parse(form: type[T], file: str, values: dict[str, Any]) -> T:
    """Check the values of a file; ``file`` is its name in messages."""
    try:
        return form.model_validate(values)
    except ValidationError as error:
        # An unknown key is the likely reason of a missing one beside it, so it is told first.
        found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise in_words(form, file, found[0], values) from None


def toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file; raises ConfigError, in one line, if it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*.toml")]
        raise ConfigError(str(path), "is not there", close_to(path.name, near)) from None
    except OSError as error:
        raise ConfigError(str(path), str(error.strerror), "name a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            path.name, f"is no UTF-8 text ({error.reason})", "save it as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path.name, f"is broken TOML: {error}", "mend that line") from error
