"""Whether a stored report can be trusted: its form, its decision, its digest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args

from ringtest import checked
from ringtest.decision import Scope, Verdict
from ringtest.errors import ConfigError, ReportError
from ringtest.measurement import STATUSES, Measurement, Null
from ringtest.policy import Policy

SCHEMA_VERSION: Final = 1
SECTIONS: Final = (
    "schema_version",
    "student",
    "task",
    "verdict",
    "policy",
    "subjects",
    "data",
    "measurements",
    "not_measured",
    "config",
    "environment",
    "integrity",
    "timing",
)

_OBJECTS: Final = ("verdict", "policy", "subjects", "data", "config", "environment", "timing")
_NULLS: Final = (None, *get_args(Null))
_TEXTS: Final = ("measure", "area", "condition", "statistic", "unit", "reason")
_NAMES: Final = ("slice", "concept", "teacher_layer", "student_layer", "group")
"""Texts that may be missing."""
_NUMBERS: Final = (
    "teacher", "student", "delta", "harm", "se", "df", "margin", "p_fail", "p_pass",
    "ci_low", "ci_high", "ci_level",
)  # fmt: skip


def parse(data: Any) -> tuple[Policy, list[Measurement]]:
    """Check the form of a report and give its policy and rows."""
    if not isinstance(data, dict) or not data:
        raise ReportError("report", "is empty or no JSON object", "audit again")
    check_version(data, SCHEMA_VERSION, "audit again")
    missing = [s for s in SECTIONS if s not in data]
    if missing:
        raise ReportError("report", f"lacks {', '.join(missing)}", "audit again")
    for name in _OBJECTS:
        if not isinstance(data[name], dict):
            raise ReportError(name, "is no JSON object", "audit again")
    for name, kept in _shape(data):
        if not kept:
            raise ReportError(name, "is not of the schema", "audit again")
    unknown = sorted(data.keys() - set(SECTIONS))
    if unknown:
        raise ReportError("report", f"holds unknown {', '.join(unknown)}", "audit again")
    if data["verdict"].get("scope") not in get_args(Scope):
        raise ReportError("verdict.scope", "is not known", "audit again")
    name = "policy"
    try:
        policy = Policy.from_dict(data["policy"])
        name = "measurements"
        rows = [_row(i, r) for i, r in enumerate(data["measurements"])]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as why:
        raise ReportError(name, f"not of the schema ({why})", "audit again") from why
    except ConfigError as why:
        raise ReportError(f"policy: {why.field}", why.problem, "audit again") from why
    if not rows:
        raise ReportError("measurements", "are empty", "audit again")
    return policy, rows


def check_version(data: dict[str, Any], newest: int, again: str) -> None:
    """Raise ReportError for a schema_version that is none, or newer than ours."""
    version = data.get("schema_version")
    if type(version) is not int or version < 1:
        raise ReportError("schema_version", f"is {version!r}, not a whole number", again)
    if version > newest:
        raise ReportError("schema_version", f"is {version}, newer than {newest}", "update ringtest")


def sealed(data: dict[str, Any], sections: Sequence[str]) -> dict[str, Any]:
    """The sections of a new report in their order, with a digest.

    They make a round trip through JSON, so that what is in memory is what will be read back.
    """
    data = json.loads(json.dumps(data, allow_nan=False))
    data["integrity"] = {"sha256": digest(data)}
    return {name: data[name] for name in sections}


def _shape(data: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """What a gate, a set and a baseline read besides the rows, and whether it is what it should."""
    teacher = data["subjects"].get("teacher")
    students, identity = (data["config"].get(key) for key in ("students", "identity"))
    for name in ("student", "task"):
        yield name, isinstance(data[name], str)
    yield (
        "not_measured",
        _all(data["not_measured"], dict)
        and all(type(item.get("required")) is bool for item in data["not_measured"]),
    )
    yield "subjects.student", isinstance(data["subjects"].get("student"), dict)
    yield "subjects.references", _all(data["subjects"].get("references"), dict)
    yield "subjects.controls", _all(data["subjects"].get("controls", []), dict)
    yield "subjects.teacher", isinstance(teacher, dict) and _all(teacher.get("members"), dict)
    yield "config.students", students is None or _all(students, str)
    yield "config.identity", identity is None or isinstance(identity, dict)
    for name in ("reasons", "settle"):
        yield f"verdict.{name}", _all(data["verdict"].get(name), str)


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(v, kind) for v in values)


def _row(index: int, values: Any) -> Measurement:
    """A row whose every field has its type, and whose numbers fit each other if it is judged."""
    row = Measurement.from_dict(values)
    found = vars(row)
    if row.status not in STATUSES or row.direction not in ("higher", "lower"):
        raise ValueError(f"row {index}: status {row.status!r}, direction {row.direction!r}")
    if row.null not in _NULLS:
        raise ValueError(f"row {index}: null is {row.null!r}")
    judged = row.headline and row.status in ("pass", "fail", "inconclusive")
    for name in _NUMBERS:
        value = found[name]
        # Most of a report's time: floats are seen at a glance.
        if type(value) is not float and not checked.is_number(value):
            raise TypeError(f"row {index}: {name} is no number")
        if judged and not math.isfinite(value):
            raise ValueError(f"row {index}: {name} is null in a judged row")
    if row.severity is not None and not checked.is_number(row.severity):
        raise TypeError(f"row {index}: severity is no number")
    for name in _TEXTS:
        if type(found[name]) is not str:
            raise TypeError(f"row {index}: {name} is no text")
    for name in _NAMES:
        if found[name] is not None and type(found[name]) is not str:
            raise TypeError(f"row {index}: {name} is neither text nor null")
    if type(row.params) is not dict:
        raise TypeError(f"row {index}: params is no JSON object")
    if not (checked.is_count(row.n, 0) and checked.is_count(row.family, 1)):
        raise ValueError(f"row {index}: n or family is no count")
    if not all(type(flag) is bool for flag in (found["headline"], found["required"])):
        raise TypeError(f"row {index}: headline and required are true or false")
    if row.headline:
        _check_headline(index, row, judged)
    return row


def measurement(index: int, values: Any) -> Measurement:
    """A stored row, checked; ``index`` is its number for messages.

    Raises KeyError, TypeError or ValueError for what is no row.
    """
    return _row(index, values)


def _check_headline(index: int, row: Measurement, judged: bool) -> None:
    if not row.group:
        # It would count for nothing.
        raise ValueError(f"row {index}: a headline has no group")
    if judged and not (row.ci_low <= row.ci_high and 0 < row.ci_level < 1):
        raise ValueError(f"row {index}: its interval is none")
    turned = -row.delta if row.direction == "higher" else row.delta
    for name, value, said in (
        ("delta", row.student - row.teacher, row.delta),
        ("harm", turned, row.harm),
    ):
        if row.measured and not math.isclose(value, said, abs_tol=1e-6):
            raise ValueError(f"row {index}: {name} is {said}, its row says {value}")


def check_decision(data: dict[str, Any], rows: list[Measurement], again: Verdict) -> None:
    """Raise if the stored decision is not what the stored rows say under the stored policy."""
    fix = "it was altered or made by another version; audit again"
    for i, (row, decided) in enumerate(zip(rows, again.rows, strict=True)):
        if row.status != decided.status:
            raise ReportError(
                f"measurements[{i}].status", f"is {row.status}, the row says {decided.status}", fix
            )
        for name in ("p_fail", "p_pass", "margin") if row.headline else ():
            old, new = getattr(row, name), getattr(decided, name)
            same = math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-12)
            if not same and not (math.isnan(old) and math.isnan(new)):
                raise ReportError(f"measurements[{i}].{name}", f"is {old}, the row says {new}", fix)
    stored, decided_now = data["verdict"], again.as_dict()
    for key in decided_now.keys() | stored.keys():
        # Wording may improve between versions; what was decided may not change. As text: in Python
        # true equals 1.
        if key not in ("reasons", "settle") and _text(stored.get(key)) != _text(
            decided_now.get(key)
        ):
            raise ReportError(f"verdict.{key}", "differs from deciding the rows again", fix)
    if data["integrity"] != {"sha256": digest(data)}:
        raise ReportError("integrity", "the content differs from its digest", fix)


def digest(data: dict[str, Any]) -> str:
    """Digest of everything but the timing, which differs between identical runs."""
    content = {k: v for k, v in data.items() if k not in ("timing", "integrity")}
    return hashlib.sha256(_text(content).encode()).hexdigest()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)
