"""Whether a stored report can be trusted: its form, its decision, its digest."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final, get_args

from ringtest.decision import Scope, Verdict
from ringtest.errors import ConfigError, ReportError
from ringtest.measurement import STATUSES, Measurement
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

_NUMBERS: Final = (
    "teacher", "student", "delta", "harm", "se", "df", "margin", "p_fail", "p_pass",
)  # fmt: skip


def parse(data: Any) -> tuple[Policy, list[Measurement]]:
    """Check the form of a report and give its policy and rows."""
    if not isinstance(data, dict) or not data:
        raise ReportError("report", "is empty or no JSON object", "audit again")
    version = data.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ReportError("schema_version", f"is {version!r}, not a whole number", "audit again")
    if version > SCHEMA_VERSION:
        raise ReportError(
            "schema_version", f"is {version}, newer than {SCHEMA_VERSION}", "update ringtest"
        )
    missing = [s for s in SECTIONS if s not in data]
    if missing:
        raise ReportError("report", f"lacks {', '.join(missing)}", "audit again")
    for name in ("verdict", "policy", "subjects", "data", "config", "environment", "timing"):
        if not isinstance(data[name], dict):
            raise ReportError(name, "is no JSON object", "audit again")
    unknown = sorted(data.keys() - set(SECTIONS))
    if unknown:
        raise ReportError("report", f"holds unknown {', '.join(unknown)}", "audit again")
    if data["verdict"].get("scope") not in get_args(Scope):
        raise ReportError("verdict.scope", "is not known", "audit again")
    try:
        policy = Policy.from_dict(data["policy"])
        rows = [_row(i, r) for i, r in enumerate(data["measurements"])]
    except (KeyError, TypeError, AttributeError, ValueError, ConfigError) as error:
        raise ReportError(
            "measurements", f"are not of the schema ({error})", "audit again"
        ) from error
    if not rows:
        raise ReportError("measurements", "are empty", "audit again")
    return policy, rows


def _row(index: int, values: Any) -> Measurement:
    row = Measurement.from_dict(values)
    if row.status not in STATUSES:
        raise ValueError(f"row {index}: status {row.status!r}")
    judged = row.headline and row.status in ("pass", "fail", "inconclusive")
    for name in _NUMBERS:
        value = getattr(row, name)
        # Most of a report's time: floats are seen at a glance.
        if type(value) is not float and type(value) is not int:
            raise TypeError(f"row {index}: {name} is {value!r}")
        if judged and math.isnan(value):
            raise ValueError(f"row {index}: {name} is null in a judged row")
    flags: tuple[Any, ...] = (row.headline, row.required)
    if type(flags[0]) is not bool or type(flags[1]) is not bool:
        raise TypeError(f"row {index}: headline and required are true or false")
    if not row.headline:
        return row
    turned = -row.delta if row.direction == "higher" else row.delta
    for name, value, said in (
        ("delta", row.student - row.teacher, row.delta),
        ("harm", turned, row.harm),
    ):
        if row.measured and not math.isclose(value, said, abs_tol=1e-6):
            raise ValueError(f"row {index}: {name} is {said}, its row says {value}")
    return row


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
    stored, decided_now = data["verdict"], json.loads(json.dumps(again.as_dict()))
    for key in decided_now.keys() | stored.keys():
        # Wording may improve between versions; what was decided may not change.
        if key not in ("reasons", "settle") and stored.get(key) != decided_now.get(key):
            raise ReportError(f"verdict.{key}", "differs from deciding the rows again", fix)
    if data["integrity"] != {"sha256": digest(data)}:
        raise ReportError("integrity", "the content differs from its digest", fix)


def digest(data: dict[str, Any]) -> str:
    """Digest of everything but the timing, which differs between identical runs."""
    content = {k: v for k, v in data.items() if k not in ("timing", "integrity")}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
