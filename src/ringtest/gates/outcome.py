"""From a verdict to what a gate does: one list of checks, whose worst is the outcome.

The evidence is never changed here. A waiver answers for a row that does not pass: the label is then
concluded a second time, by the same function, as if that row had passed, and only the gate looks
at it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ringtest import pvalues, reasons
from ringtest.decision import (
    BENCHMARK,
    SEVERITY,
    Check,
    CheckStatus,
    GateStatus,
    GroupVerdict,
    Label,
    Verdict,
)
from ringtest.gates import comparison
from ringtest.gates.waivers import Desk, undecided
from ringtest.measurement import Measurement
from ringtest.policy import Gate, Policy


@dataclass(frozen=True)
class Conclusion:
    """What rows with their statuses come to."""

    label: Label
    matched: bool
    groups: dict[str, GroupVerdict]
    open: frozenset[int]
    """Judged rows whose set does not pass (against any null)."""
    together: tuple[str, ...] = ()
    """Two groups that count as two failing ones: far beyond its margin, and in part."""


Conclude = Callable[[frozenset[int], frozenset[str]], Conclusion]
"""Conclude again as if these rows had passed, and these groups had not been asked for."""


def weigh(
    verdict: Verdict,
    given: Sequence[Measurement],
    found: Conclusion,
    again: Conclude,
    desk: Desk,
) -> Verdict:
    """The verdict with its outcome: label after waivers, and all checks.

    Args:
        verdict: what the evidence says.
        given: the rows before they were decided, with the margins of their measures.
        found: the conclusion that the verdict rests on.
        again: concludes again with rows and groups excused.
        desk: what the gate asks for, and of whom.
    """
    policy, rows = desk.policy, verdict.rows
    excused = {i: ids for i in sorted(found.open) if (ids := desk.excuse(rows[i]))}
    # What a policy requires may be nowhere at all, also among the groups.
    unseen = [name for name, g in found.groups.items() if g.required and not g.rows]
    unseen += [n for n in policy.require if n not in found.groups and n != BENCHMARK]
    absent = {name: ids for name in unseen if (ids := desk.excuse_group(name))}
    after = again(frozenset(excused), frozenset(absent)) if excused or absent else found
    measured = _measured(after, rows)
    ceiling = _label_status(after.label, policy, measured)
    checks = [
        _label_check(verdict, after, ceiling, measured, desk),
        *_groups(found, absent, ceiling, policy),
        *_required(found, after, absent, policy),
        *(_gate(gate, rows, desk) for gate in policy.gates),
        *_overrides(given, desk),
        *comparison.checks(rows, after.label, desk),
    ]
    # Last, since only now it is known which waivers were needed.
    checks += desk.checks()
    checks += [
        _row(row, i in found.open, excused.get(i, ""), ceiling, policy)
        for i, row in enumerate(rows)
        if row.headline
    ]
    return replace(verdict, outcome_label=after.label, checks=tuple(checks))


def _measured(after: Conclusion, rows: Sequence[Measurement]) -> bool:
    """Whether everything that keeps the label from being sound has a number."""
    return (
        any(r.headline and r.group == BENCHMARK for r in rows)
        and all(comparison.judged(rows[i]) for i in after.open)
        and all(g.rows for g in after.groups.values() if g.required)
    )


def _label_status(label: Label, policy: Policy, measured: bool) -> CheckStatus:
    if label == "sound":
        return "pass"
    return undecided(policy.inconclusive, measured) if label == "inconclusive" else "fail"


def _label_check(
    verdict: Verdict, after: Conclusion, status: CheckStatus, measured: bool, desk: Desk
) -> Check:
    message = reasons.sentence(verdict)
    if after.label != verdict.label:
        message += f" Waived by {', '.join(desk.used)}: counts as {after.label}."
        status = "waived" if status == "pass" else status
    elif verdict.label == "inconclusive" and desk.policy.inconclusive != "exit3":
        message += f" The policy lets inconclusive {desk.policy.inconclusive}"
        message += "." if measured else ", but not what could not be measured."
    return Check("verdict", "verdict", status, message)


def _groups(
    found: Conclusion, absent: dict[str, str], ceiling: CheckStatus, policy: Policy
) -> list[Check]:
    """Required groups that no row stands for; all others are seen in their rows."""
    return [
        Check(
            "group",
            name,
            "waived"
            if name in absent
            else _capped(undecided(policy.inconclusive, measured=False), ceiling),
            f"{name.capitalize()} was required but nothing measured it"
            + (f"; waived by {absent[name]}." if name in absent else "."),
            group=name,
        )
        for name, g in found.groups.items()
        if g.required and not g.rows
    ]


def _required(
    found: Conclusion, after: Conclusion, absent: dict[str, str], policy: Policy
) -> list[Check]:
    """Groups of ``require``: what is not judged or undecided fails as what fails does."""
    out = []
    for name in policy.require:
        before, now = _state(found, name), _state(after, name)
        status: CheckStatus = "fail"
        if before == "pass":
            status = "pass"
        elif now == "pass" or name in absent:
            status = "waived"
        said = before.replace("_", " ")
        message = f"{name.capitalize()} is required to pass: {said}."
        message += " A waiver answers for it." if status == "waived" else ""
        out.append(Check("require", name, status, message, group=name))
    return out


def _state(conclusion: Conclusion, name: str) -> str:
    if name == BENCHMARK:
        return "pass" if conclusion.matched else "not shown to match"
    group = conclusion.groups.get(name)
    return "not judged" if group is None else group.status


def gate_status(gate: Gate, rows: tuple[Measurement, ...], policy: Policy) -> GateStatus:
    """The worst of the rows that a gate speaks of; ``no_match`` if there are none."""
    statuses = set(_gate_rows(gate, rows, policy).values())
    return _worst(statuses) if statuses else "no_match"


def _has_number(row: Measurement, policy: Policy) -> bool:
    """Whether a gate can be passed by a row: a row of context may be whatever it says it is."""
    return row.measured and row.n >= policy.min_n and row.status not in ("error", "not_measurable")


def _gate_rows(gate: Gate, rows: tuple[Measurement, ...], policy: Policy) -> dict[int, GateStatus]:
    out: dict[int, GateStatus] = {}
    for i in gate.matches(list(rows)):
        row = rows[i]
        p_fail, p_pass = pvalues.p_values(row.harm, gate.margin, row.se, row.df, row.family)
        # Neither holds for NaN.
        passed = p_pass <= policy.alpha and _has_number(row, policy)
        out[i] = "pass" if passed else "fail" if p_fail <= policy.alpha else "inconclusive"
    return out


def _worst(statuses: set[GateStatus]) -> GateStatus:
    order: tuple[GateStatus, ...] = ("fail", "inconclusive")
    return next((s for s in order if s in statuses), "pass")


def _gate(gate: Gate, rows: tuple[Measurement, ...], desk: Desk) -> Check:
    found = _gate_rows(gate, rows, desk.policy)
    on = "on " + gate.condition if gate.condition else None
    where = " ".join(filter(None, [gate.statistic, on, gate.slice]))
    name = f"{gate.measure} {where}".strip()
    status: CheckStatus
    mode = desk.policy.inconclusive
    if not found and gate in desk.elsewhere:
        status = undecided(mode, measured=False)
        message = "this student has no such row, others of the set have"
    elif not found:
        status = "error"
        message = "matches no row: mend measure, condition, slice or statistic of the gate"
    else:
        excuses = {i: desk.excuse(rows[i]) for i, s in found.items() if s != "pass"}
        left = {i: s for i, s in found.items() if not excuses.get(i)}
        worst = _worst(set(left.values()))
        known = all(_has_number(rows[i], desk.policy) for i in left)
        status = "fail" if worst == "fail" else undecided(mode, known)
        if worst == "pass":
            status = "waived" if excuses else "pass"
        order = ("fail", "inconclusive", "pass")
        i = min(found, key=lambda k: (order.index(found[k]), -_finite(rows[k].harm)))
        message = (
            f"{_count(found)}; the worst: {reasons.describe(replace(rows[i], margin=gate.margin))}"
        )
        if ids := ", ".join(dict.fromkeys(filter(None, excuses.values()))):
            message += f"; waived by {ids}"
    message = f"Harm within {gate.margin:g} is asked for: {message}."
    return Check(
        "gate", name, status, message, gate.measure, gate.condition, gate.slice,
        detail=f"margin {gate.margin:g}",
    )  # fmt: skip


def _count(found: dict[int, GateStatus]) -> str:
    tally = Counter(found.values())
    words: dict[GateStatus, str] = {
        "pass": "within",
        "fail": "beyond",
        "inconclusive": "undecided",
    }
    return ", ".join(f"{tally[s]} {word}" for s, word in words.items() if tally[s])


def _finite(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _overrides(given: Sequence[Measurement], desk: Desk) -> list[Check]:
    """A margin that no headline is judged by, or that lets more through than the row's own.

    The first is a slip of the pen, and either would pass unseen.
    """
    policy = desk.policy
    if not policy.overrides:
        return []
    own: dict[str, list[float]] = {pattern: [] for pattern in policy.overrides}
    for row in given:
        pattern = policy.override(row.measure) if row.headline else None
        if pattern is not None:
            own[pattern].append(row.margin)
    out = []
    for pattern, before in own.items():
        margin = policy.overrides[pattern]
        looser = [m for m in before if not margin <= m]
        if not before and pattern not in desk.elsewhere:
            problem = f"The margin of {pattern!r} is that of no judged row: mend or remove it."
            out.append(Check("margin", pattern, "error", problem, pattern))
        elif looser:
            span = " to ".join(dict.fromkeys(map(reasons.number, (min(looser), max(looser)))))
            what = f"The margin of {pattern!r} is {reasons.number(margin)} instead of {span}"
            said = f"{what}: more is tolerated on {len(looser)} of {len(before)} judged rows."
            out.append(Check("margin", pattern, "note", said, pattern))
    return out


def _row(
    row: Measurement, is_open: bool, waived: str, ceiling: CheckStatus, policy: Policy
) -> Check:
    """A headline. It counts through its group and the label, so never for more than the label."""
    status: CheckStatus
    if row.status == "pass":
        status = "pass"
    elif waived:
        status = "waived"
    elif not is_open:
        status = "note"
    else:
        worst = undecided(policy.inconclusive, comparison.judged(row))
        status = _capped("fail" if row.status == "fail" else worst, ceiling)
    said = {"pass": "passes", "fail": "fails", "inconclusive": "is undecided"}
    what = said.get(row.status, "could not be measured")
    message = f"{str(row.group).capitalize()} {what}: {reasons.describe(row)}"
    if row.reason and not comparison.judged(row):
        message += f": {row.reason}"
    if waived:
        message += f"; waived by {waived}"
    elif status == "note" and not is_open:
        message += "; passes against another null"
    return Check(
        "row", f"{row.measure} on {row.condition}", status, f"{message}.",
        row.measure, row.condition, row.slice, row.group, comparison.detail(row),
    )  # fmt: skip


def _capped(status: CheckStatus, ceiling: CheckStatus) -> CheckStatus:
    """At most as bad as the label; where that is sound, worth a note."""
    return min(status, max(ceiling, "note", key=SEVERITY.__getitem__), key=SEVERITY.__getitem__)
