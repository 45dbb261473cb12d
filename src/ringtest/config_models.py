"""Tables of audit.toml that name models, and what students are called."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ringtest.config_recorded import SPEC, OwnRecordings, Table
from ringtest.errors import ConfigError
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


Models = Annotated[
    list[ModelTable], BeforeValidator(_listed), Field(min_length=1, json_schema_extra=_one_or_more)
]
Students = Annotated[
    list[StudentTable],
    BeforeValidator(_listed),
    Field(min_length=1, json_schema_extra=_one_or_more),
]
Controls = Annotated[
    list[ModelTable], BeforeValidator(_listed), Field(json_schema_extra=_one_or_more)
]


def only_recorded(table: ModelTable) -> bool:
    """Whether it is a student that need be no model: what was recorded of it is told."""
    recorded = isinstance(table, StudentTable) and bool(table.recordings)
    return recorded and not any(getattr(table, way) for way in ways.WAYS)


def named(file: str, students: list[StudentTable]) -> list[tuple[str, StudentTable]]:
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
