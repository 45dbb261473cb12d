"""SARIF 2.1.0: findings for code scanning.

What passes is no finding. What a waiver answers for is suppressed, with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ringtest import __version__
from ringtest.files import FILE, folder_name
from ringtest.reports import view

if TYPE_CHECKING:
    from ringtest.decision import Check, CheckStatus
    from ringtest.gates.gating import Gated

SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
LEVEL: Final[dict[CheckStatus, str]] = {
    "waived": "warning",
    "note": "note",
    "warn": "warning",
    "inconclusive": "error",
    "fail": "error",
    "error": "error",
}


def render(gated: Gated) -> str:
    """One run; a rule is a measure, or what the policy asks for."""
    results = list(_results(gated))
    rules = list(dict.fromkeys(str(r["ruleId"]) for r in results))
    for result in results:
        result["ruleIndex"] = rules.index(result["ruleId"])
    run = {
        "tool": {
            "driver": {
                "name": "ringtest",
                "semanticVersion": __version__,
                "rules": [
                    {"id": rule, "shortDescription": {"text": view.measure(rule)}} for rule in rules
                ],
            }
        },
        "invocations": [
            {
                "executionSuccessful": gated.outcome != "error",
                "exitCode": int(gated.exit_code),
                "exitCodeDescription": gated.outcome,
            }
        ],
        "results": results,
        "properties": {
            "outcome": gated.outcome,
            "labels": {view.clean(name): v.label for name, v in gated.verdicts.items()},
        },
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, allow_nan=False) + "\n"


def _results(gated: Gated) -> Iterator[dict[str, Any]]:
    for student, verdict in gated.verdicts.items():
        seen: Counter[str] = Counter()
        file = f"{quote(folder_name(student))}/{FILE}" if gated.is_set else FILE
        for check in verdict.checks:
            key = _identity(student, check)
            seen[key] += 1
            if check.status != "pass":
                yield _result(student, check, file, f"{key}:{seen[key]}")


def _result(student: str, check: Check, file: str, fingerprint: str) -> dict[str, Any]:
    rule = view.clean(check.measure) if check.measure else f"ringtest.{check.kind}"
    where = [student, check.kind, check.condition, check.slice, check.detail]
    message = view.clean(f"{student}: {check.message}")
    result: dict[str, Any] = {
        "ruleId": rule,
        "level": LEVEL[check.status],
        "message": {"text": message},
        "locations": [
            {
                # Nothing of a report has a line, but code scanning takes no finding without a file.
                "physicalLocation": {
                    "artifactLocation": {"uri": file},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [
                    {
                        "name": view.clean(check.name),
                        "fullyQualifiedName": "/".join(view.clean(w) for w in where if w),
                        "kind": "member",
                    }
                ],
            }
        ],
        "partialFingerprints": {"ringtestCheck/v1": fingerprint},
        "properties": {"status": check.status, "kind": check.kind},
    }
    if check.status == "waived":
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": message}
        ]
    return result


def _identity(student: str, check: Check) -> str:
    """The same for the same check of the next report, whatever its numbers."""
    parts = (student, check.kind, check.name, check.measure, check.condition, check.slice,
             check.group, check.detail)  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
