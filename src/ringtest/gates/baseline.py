"""What was shipped, as something that a new report can be held against."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ringtest.errors import ReportError
from ringtest.policy import Baseline, Policy, Shipped
from ringtest.verdict import decide

if TYPE_CHECKING:
    from ringtest.report import Report


def shipped(old: Report, new: Report, policy: Policy) -> Baseline:
    """The judged headlines of what was shipped, decided as the new report is.

    Args:
        old: the report of what was shipped.
        new: the report that is to be no worse.
        policy: what the new report is judged by; its levels and margins count for both.

    Raises ReportError, naming the first difference, if the two cannot be compared, or if the old
    one judged nothing.
    """
    difference = next(_differences(old.data, new.data), None)
    if difference:
        raise ReportError(
            f"baseline {old.student}",
            f"cannot be compared with {new.student}: {difference}",
            "audit what was shipped again, as the new one was, and give that report",
        )
    # Its own gates and waivers are no part of what was measured.
    plain = replace(policy, gates=(), require=(), waivers=(), baseline=None)
    verdict = decide(old.rows, plain, old.verdict.scope)
    rows = tuple(
        Shipped(r.measure, r.condition, r.slice, r.concept, r.null, r.group, r.harm, r.se, r.df,
                r.family)
        for r in verdict.rows
        if r.headline and r.status in ("pass", "fail", "inconclusive") and math.isfinite(r.harm)
    )  # fmt: skip
    if not rows:
        raise ReportError(
            f"baseline {old.student}", "judged nothing", "give a report that judged something"
        )
    hashes = [r.data["subjects"]["student"].get("weights_hash") for r in (old, new)]
    return Baseline(old.student, verdict.label, rows, hashes[0] is not None and len({*hashes}) == 1)


def notes(old: Report, new: Report) -> list[str]:
    """What differs between two comparable reports and may show in the last digits.

    Versions of torch and the like, threads and devices do not forbid a comparison: both reports
    are measurements with standard errors, and a policy that fails with every update of a library
    would soon be switched off.
    """
    flat = [_flat(r.data["environment"]) for r in (old, new)]
    return [
        f"{key} was {before}, now {now}: harms may differ in their last digits."
        for key in sorted(flat[0].keys() | flat[1].keys())
        if (before := flat[0].get(key)) != (now := flat[1].get(key))
        and key not in ("ringtest", "seed")
    ]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out.update(value if isinstance(value, dict) else {key: value})
    return out


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """In words, what keeps two reports from being compared; empty if nothing does."""
    for name in ("task", "data.fingerprint", "environment.ringtest", "verdict.margins_version"):
        before, now = _at(old, name), _at(new, name)
        # What is not told is not known to be equal.
        if before is None or now is None or before != now:
            yield f"{name} was {before}, now {now}"
    teachers = [_weights(d["subjects"]["teacher"]["members"]) for d in (old, new)]
    if teachers[0] != teachers[1]:
        yield "the teacher's weights differ"
    if not teachers[0] or None in teachers[0]:
        yield "the teacher has no weights that could be compared"
    references = [_weights(d["subjects"]["references"]) for d in (old, new)]
    if references[0] != references[1] or None in references[0]:
        yield "the references differ"
    for name in ("layers", "seed", "metric"):
        before, now = _at(old, f"config.{name}"), _at(new, f"config.{name}")
        if before != now:
            yield f"config.{name} was {before}, now {now}"
    # Whatever else makes an audit the same; the students are what is compared, and controls move
    # nothing that is.
    known = [_at(d, "config.identity") or {} for d in (old, new)]
    for key in sorted(known[0].keys() | known[1].keys()):
        if not key.startswith(("student", "control")) and known[0].get(key) != known[1].get(key):
            yield f"config.identity.{key} differs"


def _at(data: dict[str, Any], path: str) -> Any:
    value: Any = data
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _weights(models: list[dict[str, Any]]) -> list[str | None]:
    return [m.get("weights_hash") for m in models]
