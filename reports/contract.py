"""JSON Schema of ``report.json``, built from the dataclasses that write it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final, get_args

from ringtest import decision
from ringtest.integrity import SCHEMA_VERSION
from ringtest.measurement import STATUSES, Direction, Measurement, Null
from ringtest.policy import FIRST, LEAST_ALPHA, Gate, Inconclusive, Policy, Shipped, Waiver

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": ["number", "null"]}
"""Null stands for NaN and the infinities, which JSON does not have."""
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
FREE: Final[Schema] = {"type": "object"}

_FIELD_TYPES: Final[dict[str, Schema]] = {
    "str": TEXT,
    "str | None": {"type": ["string", "null"]},
    "float": NUMBER,
    "float | None": NUMBER,
    "int": COUNT,
    "bool": {"type": "boolean"},
    "dict[str, Any]": FREE,
    "dict[str, float]": {
        "type": "object",
        "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
    },
    "Direction": {"enum": list(get_args(Direction))},
    "Status": {"enum": list(STATUSES)},
    "Null | None": {"enum": [*get_args(Null), None]},
    "tuple[Gate, ...]": {"type": "array", "items": {"$ref": "#/$defs/gate"}},
    "tuple[Waiver, ...]": {"type": "array", "items": {"$ref": "#/$defs/waiver"}},
    "tuple[str, ...]": {"type": "array", "items": TEXT},
    "Inconclusive": {"enum": list(get_args(Inconclusive))},
}
_FIELD_TYPES["Baseline | None"] = {
    "type": "object",
    "properties": {
        "source": TEXT,
        "label": {"enum": list(get_args(decision.Label))},
        "rows": {"type": "array", "items": {"$ref": "#/$defs/shipped"}},
        "same": {"type": "boolean"},
    },
    "required": ["source", "label", "rows"],
    "additionalProperties": False,
}


def schema() -> Schema:
    """The schema; a fresh object, so that a caller may change it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ringtest report",
        "description": "What the audit of one student found.",
        **_object(
            schema_version={"const": SCHEMA_VERSION},
            student=TEXT,
            task={"enum": ["classification", "regression", "embedding"]},
            verdict={"$ref": "#/$defs/verdict"},
            policy={"$ref": "#/$defs/policy"},
            subjects=_subjects(),
            data=_data(),
            measurements={
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/$defs/measurement"},
            },
            not_measured=_list(
                _object(measure=TEXT, condition=TEXT, reason=TEXT, required={"type": "boolean"})
            ),
            config=FREE,
            environment={
                "type": "object",
                "required": ["ringtest", "python", "seed", "threads", "device"],
                "properties": {
                    "ringtest": TEXT,
                    "python": TEXT,
                    "seed": {"type": "integer"},
                    "threads": {"type": ["integer", "null"]},
                    "device": TEXT,
                },
            },
            integrity=_object(sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            timing=FREE,
        ),
        "$defs": {
            "measurement": _measurement(),
            "model": _model(),
            "verdict": _verdict(),
            "policy": _policy(),
            "gate": _gate(),
            "waiver": _dataclass(Waiver, expires={"type": "string", "format": "date"}),
            "shipped": _dataclass(Shipped, harm={"type": "number"}, family={"type": "integer"}),
        },
    }


def ensemble_schema() -> Schema:
    """JSON Schema of ``ensemble.json``, schema version 1."""
    model: Schema = {"anyOf": [{"$ref": "#/$defs/model"}, {"type": "null"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ringtest ensemble",
        "description": "What was found of an ensemble, before or after it was distilled.",
        **_object(
            schema_version={"const": 1},
            kind={"const": "ensemble"},
            measurements={
                "type": "array",
                "minItems": 1,
                "items": _object(
                    name={"type": ["string", "null"]}, row={"$ref": "#/$defs/measurement"}
                ),
            },
            subjects=_object(
                members=_list({"$ref": "#/$defs/model"}),
                students={"type": "object", "additionalProperties": model},
            ),
            data=_object(
                rows={"anyOf": [_data(), {"type": "null"}]}, recorded={"type": ["object", "null"]}
            ),
            config=FREE,
            environment=FREE,
            integrity=_object(sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            timing=FREE,
        ),
        "$defs": {"measurement": _measurement(), "model": _model()},
    }


def _object(**properties: Schema) -> Schema:
    """An object with exactly these properties, all of them required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _dataclass(cls: type, **better: Schema) -> Schema:
    """The schema of a dataclass by its field types; ``better`` replaces single fields."""
    found = {f.name: _FIELD_TYPES[str(f.type)] for f in fields(cls)}
    return _object(**{**found, **better})


def _gate() -> Schema:
    """A statistic came after the first schema, and is there only where one is named."""
    found = _dataclass(Gate, margin={"type": "number"}, statistic=TEXT)
    return {**found, "required": [name for name in found["required"] if name != "statistic"]}


def _policy() -> Schema:
    """What came after the first schema is there only where it says something."""
    positive: Schema = {"type": "integer", "minimum": 1}
    found = _dataclass(
        Policy,
        alpha={"type": "number", "minimum": LEAST_ALPHA, "exclusiveMaximum": 0.5},
        min_n={"type": "integer", "minimum": 2},
        min_groups=positive,
        version=positive,
    )
    return {**found, "required": list(FIRST)}


def _measurement() -> Schema:
    level = {"type": ["number", "null"], "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    chance = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
    row = _dataclass(
        Measurement,
        measure={"type": "string", "minLength": 1},
        condition={"type": "string", "minLength": 1},
        ci_level=level,
        p_fail=chance,
        p_pass=chance,
        se={"type": ["number", "null"], "minimum": 0},
        family={"type": "integer", "minimum": 1},
    )
    # A judged row has the numbers that it was judged by.
    numbers = ("teacher", "student", "delta", "harm", "se", "df", "margin", "p_fail", "p_pass")
    return {
        **row,
        "if": {"properties": {"status": {"enum": ["pass", "fail", "inconclusive"]}}},
        "then": {"properties": {name: {"type": "number"} for name in numbers}},
    }


def _model() -> Schema:
    return _object(
        name=TEXT,
        parameters={"type": ["integer", "null"], "minimum": 0},
        weights_hash={"type": ["string", "null"]},
        architecture={"type": ["string", "null"]},
        capabilities=_list(TEXT),
        layers=_list(TEXT),
    )


def _subjects() -> Schema:
    """Who was compared; controls came after the first schema, and are there only if given."""
    models = _list({"$ref": "#/$defs/model"})
    found = _object(
        teacher=_object(name=TEXT, members={**models, "minItems": 1}),
        student={"$ref": "#/$defs/model"},
        references=models,
    )
    found["properties"]["controls"] = models
    return found


def _data() -> Schema:
    counts = {"type": "object", "additionalProperties": COUNT}
    found = _object(
        n={"type": "integer", "minimum": 1},
        fingerprint=TEXT,
        modality=TEXT,
        groups={"type": "object", "additionalProperties": counts},
        unlabelled=counts,
        warnings=_list(TEXT),
    )
    # Reports of 0.1.0 do not have these yet.
    found["properties"]["eps_unit"] = TEXT
    found["properties"]["leakage"] = _leakage()
    return found


def _leakage() -> Schema:
    finding = _object(
        kind={"enum": ["exact", "near", "labels", "group", "time"]},
        between=TEXT,
        count=COUNT,
        share={"type": "number", "minimum": 0, "maximum": 1},
        words=TEXT,
        examples=_list({"type": "array", "items": COUNT, "minItems": 2, "maxItems": 2}),
        column={"type": ["string", "null"]},
        values=_list(TEXT),
        classes={"type": "object", "additionalProperties": COUNT},
    )
    unchecked = _object(check=TEXT, reason=TEXT)
    version: Schema = {"type": "integer", "minimum": 1}
    return _object(version=version, findings=_list(finding), not_checked=_list(unchecked))


def _verdict() -> Schema:
    group = _object(
        status={"enum": list(get_args(decision.GroupStatus))},
        required={"type": "boolean"},
        ratio={"type": ["number", "null"], "minimum": 0},
        rows=_list(COUNT),
    )
    gate = _object(
        measure=TEXT,
        margin={"type": "number"},
        status={"enum": list(get_args(decision.GateStatus))},
    )
    return _object(
        label={"enum": list(get_args(decision.Label))},
        strength={"type": ["number", "null"], "minimum": 0, "maximum": 1},
        scope={"enum": list(get_args(decision.Scope))},
        matched={"type": "boolean"},
        reasons=_list(TEXT),
        settle=_list(TEXT),
        groups={"type": "object", "additionalProperties": group},
        gates=_list(gate),
        margins_version={"type": "integer", "minimum": 1},
        policy_hash={"type": "string", "pattern": "^[0-9a-f]{16}$"},
    )
