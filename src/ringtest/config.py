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
from ringtest.config_recorded import SPEC, OwnRecordings, RecordedTable, Table, check_recorded
from ringtest.errors import ConfigError, close_to
from ringtest.policy import Gate
from ringtest.sources import ways


def _listed(value: Any) -> Any:
    """One table, or several, as a list."""
    return value if isinstance(value, list) else [value]


def _one_or_more(schema: dict[str, Any]) -> None:
    """In JSON Schema: a table where several may stand."""
    items = schema["items"]
    several = {k: schema.pop(k) for k in ("type", "items", "minItems") if k in schema}
    schema["anyOf"] = [items, several]


class ModelTable(Table):
    """Where a model comes from: one of load, factory with weights, hf, exported, evidence."""

    load: str | None = Field(
        None,
        pattern=SPEC,
        description="module:callable that gives the model; for a teacher, or a list",
    )
    factory: str | None = Field(
        None, pattern=SPEC, description="module:callable that builds the model, before its weights"
    )
    weights: str | None = Field(
        None, min_length=1, description="safetensors (or torch state_dict) file for the factory"
    )
    hf: str | None = Field(
        None, min_length=1, description="folder or id of a Hugging Face checkpoint or PEFT adapter"
    )
    dtype: str | None = Field(
        None,
        json_schema_extra={"enum": [*ways.DTYPES, None]},
        description="floats of the checkpoint; auto, the default: as it was saved",
    )
    exported: str | None = Field(None, min_length=1, description="torch.export program (.pt2)")
    evidence: str | None = Field(
        None, min_length=1, description=".npz of outputs and layers, by ringtest.save_evidence"
    )
    gradients: bool = Field(True, description="false: the model's gradients mean nothing")
    single: bool = Field(False, description="true: its heads of one shape are no ensemble")


class StudentTable(ModelTable, OwnRecordings):
    """A student; with several, each has a name."""

    name: str | None = Field(None, min_length=1, description="name of its report and folder")


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


_Models = Annotated[
    list[ModelTable], BeforeValidator(_listed), Field(min_length=1, json_schema_extra=_one_or_more)
]
_Students = Annotated[
    list[StudentTable],
    BeforeValidator(_listed),
    Field(min_length=1, json_schema_extra=_one_or_more),
]


_Controls = Annotated[
    list[ModelTable], BeforeValidator(_listed), Field(json_schema_extra=_one_or_more)
]


class AuditFile(Table):
    """audit.toml: what ``ringtest audit`` compares, and how."""

    task: Literal["classification", "regression", "embedding"] = "classification"
    teacher: _Models = Field(description="the teacher; several tables are members of an ensemble")
    student: _Students = Field(description="the student, or several with a name each")
    reference: list[ModelTable] = Field([], description="honest models of the student's kind")
    control: _Controls = Field(
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

    teacher: _Models = Field(
        default_factory=list, description="the members; needless where recordings are given"
    )
    student: _Students = Field(
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
    for where, table in [*fields, *_named(path.name, config.student)]:
        if not (form is EnsembleFile and _only_recorded(table)):
            ways.check(f"{path.name}: {where}", table.model_dump())
    check_recorded(path.name, config.recorded, any(s.recordings for s in config.student))
    if config.audit.references is not None:
        raise ConfigError(
            f"{path.name}: audit.references",
            f"'auto' {LATER}",
            "give [[reference]] tables, or none",
        )
    return config


def _only_recorded(table: ModelTable) -> bool:
    """Whether it is a student that need be no model: what was recorded of it is told."""
    recorded = isinstance(table, StudentTable) and bool(table.recordings)
    return recorded and not any(getattr(table, way) for way in ways.WAYS)


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


def _named(file: str, students: list[StudentTable]) -> list[tuple[str, StudentTable]]:
    """Students with what they are called in messages; several must have names, all different."""
    names = [s.name for s in students]
    if len(names) > 1 and None in names:
        raise ConfigError(
            f"{file}: student[{names.index(None)}].name",
            "is missing",
            'of several students each needs one: name = "..."',
        )
    twice = [n for i, n in enumerate(names) if n in names[:i]]
    if twice:
        raise ConfigError(
            f"{file}: student.name", f"{twice[0]!r} stands twice", "rename one of them"
        )
    return [(f"student {s.name!r}" if s.name else "student", s) for s in students]
