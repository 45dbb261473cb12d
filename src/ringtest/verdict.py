"""The one place where rows become a verdict; every renderer, the gate and exit codes use it."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Final

from ringtest import margins, pvalues, reasons
from ringtest.decision import (
    BENCHMARK,
    OFF_SUPPORT,
    GroupStatus,
    GroupVerdict,
    Label,
    Scope,
    Verdict,
)
from ringtest.gates.outcome import Conclusion, gate_status, weigh
from ringtest.gates.waivers import Desk
from ringtest.measurement import FAIL_ONLY, PASS_ONLY, Measurement, Status
from ringtest.policy import Gate, Policy

_UnitKey = tuple[str, str]
_Uneven = tuple[set[_UnitKey], set[_UnitKey]]
"""Units beyond so many times their margin, and beyond as small a part of it."""
_UNEVEN_SINCE: Final = 3
"""Version of the margins that first counted two uneven groups together, and no void band's pass."""


def decide(
    rows: list[Measurement],
    policy: Policy,
    scope: Scope = "full",
    student: str | None = None,
    elsewhere: frozenset[str | Gate] = frozenset(),
) -> Verdict:
    """Decide every headline, every group, the label and the gate.

    Total: any rows get exactly one label, and exactly one outcome.

    Args:
        rows: measurements of one student; their stored statuses and p-values are not believed.
        policy: levels, margins, gates, waivers and what was shipped.
        scope: what the subjects could be asked for.
        student: name, for waivers that speak of one student only.
        elsewhere: margins (by their pattern) and gates for which other students of a set have rows;
            what speaks of nobody's rows is an error.
    """
    judged = [_test(row, policy) for row in rows]
    units = _units(judged)
    rejected = _reject(judged, units, policy)
    judged = [
        _with_status(
            r,
            _row_status(r, policy, r.null not in PASS_ONLY and rejected.get(_unit_key(r), False)),
        )
        for r in judged
    ]
    uneven: _Uneven = (set(), set())
    # Older verdicts were made without, and are checked as they were made.
    if policy.version >= _UNEVEN_SINCE:
        uneven = (
            _beyond(judged, units, policy, margins.UNEVEN),
            _beyond(judged, units, policy, 1 / margins.UNEVEN),
        )

    def conclude(passed: frozenset[int], unasked: frozenset[str]) -> Conclusion:
        kind = [
            replace(r, status="pass") if i in passed else r for i, r in enumerate(judged)
        ] if passed else judged  # fmt: skip
        return _conclude(kind, units, rejected, uneven, policy, scope, unasked)

    found = conclude(frozenset(), frozenset())
    verdict = Verdict(
        label=found.label,
        strength=_strength(found.groups, policy.version),
        scope=scope,
        matched=found.matched,
        reasons=(),
        settle=(),
        groups=found.groups,
        gates=tuple((gate, gate_status(gate, tuple(judged), policy)) for gate in policy.gates),
        margins_version=policy.version,
        policy_hash=policy.hash,
        rows=tuple(judged),
        together=found.together,
    )
    verdict = replace(
        verdict,
        reasons=tuple(reasons.reasons(verdict, policy)),
        settle=tuple(reasons.settle(verdict, policy)),
    )
    return weigh(verdict, rows, found, conclude, Desk(policy, student, elsewhere))


def _conclude(
    rows: list[Measurement],
    units: dict[_UnitKey, list[int]],
    rejected: dict[_UnitKey, bool],
    uneven: _Uneven,
    policy: Policy,
    scope: Scope,
    unasked: frozenset[str],
) -> Conclusion:
    """Groups and label of rows with their statuses."""
    statuses = {
        key: _unit_status([rows[i] for i in members], rejected.get(key, False), policy.version)
        for key, members in units.items()
    }
    groups = _groups(rows, units, statuses, scope)
    for name in unasked:
        groups.pop(name, None)
    benchmark = {i for i, r in enumerate(rows) if r.headline and r.group == BENCHMARK}
    matched = bool(benchmark) and all(rows[i].status == "pass" for i in benchmark)
    failing = [name for name, g in groups.items() if g.status == "fail"]
    firmly, in_part = (_counted(rows, units, statuses, groups, keys) for keys in uneven)
    together = next(((a, b) for a in firmly for b in in_part if a != b), ())
    label: Label
    if any(rows[i].status == "fail" for i in benchmark):
        label = "below-benchmark"
    elif len(failing) >= 2 or together:
        label = "fractured"
    elif matched and _all_pass(groups, policy) and scope != "outputs-only":
        label = "sound"
    else:
        label = "inconclusive"
    still = {i for key, members in units.items() if statuses[key] != "pass" for i in members}
    still |= {i for i in benchmark if rows[i].status != "pass"}
    return Conclusion(label, matched, groups, frozenset(still), together)


def _with_status(row: Measurement, status: Status) -> Measurement:
    """The row itself where nothing changes: most rows of a report are context."""
    return row if row.status == status else replace(row, status=status)


def _test(row: Measurement, policy: Policy) -> Measurement:
    """The row with p-values recomputed from harm, margin, se and df; NaN where it has no test."""
    if not row.headline:
        return row
    margin = policy.margin(row)
    if not row.measured or row.n < policy.min_n:
        return replace(row, margin=margin, p_fail=math.nan, p_pass=math.nan)
    p_fail, p_pass = pvalues.p_values(row.harm, margin, row.se, row.df, row.family)
    if row.null in PASS_ONLY:
        p_fail = 1.0
    return replace(row, margin=margin, p_fail=p_fail, p_pass=p_pass)


def _unit_key(row: Measurement) -> _UnitKey:
    """Rows of one group on one set; they differ only in the null that they are held against."""
    # Structural measures have one row per invariance or column under one condition.
    detail = f"{row.measure}|{row.condition}|{row.concept or ''}|{row.slice or ''}"
    return str(row.group), detail


def _units(rows: list[Measurement]) -> dict[_UnitKey, list[int]]:
    units: dict[_UnitKey, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row.headline and row.group is not None and row.group != BENCHMARK:
            units[_unit_key(row)].append(i)
    return dict(units)


def _reject(
    rows: list[Measurement], units: dict[_UnitKey, list[int]], policy: Policy
) -> dict[_UnitKey, bool]:
    """Holm over all units that can fail. A unit fails only beyond *every* null it has."""
    p: dict[_UnitKey, float] = {}
    for key, members in units.items():
        nulls = [rows[i].p_fail for i in members if rows[i].null not in PASS_ONLY]
        if not nulls:
            continue
        p[key] = math.nan if any(math.isnan(v) for v in nulls) else max(nulls)
    decided = pvalues.holm(list(p.values()), policy.alpha)
    return dict(zip(p, decided, strict=True))


def _beyond(
    rows: list[Measurement], units: dict[_UnitKey, list[int]], policy: Policy, scale: float
) -> set[_UnitKey]:
    """The units that would fail if all margins were ``scale`` times as wide."""
    scaled = list(rows)
    for i in (i for members in units.values() for i in members):
        r = rows[i]
        if r.null not in PASS_ONLY and not math.isnan(r.p_fail):
            p_fail, _ = pvalues.p_values(r.harm, scale * r.margin, r.se, r.df, r.family)
            # No multiple of a margin of 0 is any wider.
            scaled[i] = replace(r, p_fail=p_fail if r.margin > 0 else 1.0)
    return {key for key, failed in _reject(scaled, units, policy).items() if failed}


def _counted(
    rows: list[Measurement],
    units: dict[_UnitKey, list[int]],
    statuses: dict[_UnitKey, GroupStatus],
    groups: dict[str, GroupVerdict],
    keys: set[_UnitKey],
) -> list[str]:
    """The groups that these units speak for, in their order; what passes speaks for nothing."""
    names = {
        OFF_SUPPORT if any(rows[i].null == "band void" for i in units[key]) else key[0]
        for key in keys
        if statuses[key] != "pass"
    }
    return [name for name in groups if name in names]


def _row_status(row: Measurement, policy: Policy, rejected: bool) -> Status:
    if not row.headline:
        return row.status if row.status in ("error", "not_measurable") else "context"
    if math.isnan(row.p_fail) or math.isnan(row.p_pass):
        return "error" if row.status == "error" else "not_measurable"
    if row.p_pass <= policy.alpha:
        return "pass"
    # The benchmark is tested by itself, outside Holm.
    failed = row.p_fail <= policy.alpha if row.group == BENCHMARK else rejected
    return "fail" if failed else "inconclusive"


def _groups(
    rows: list[Measurement],
    units: dict[_UnitKey, list[int]],
    statuses: dict[_UnitKey, GroupStatus],
    scope: Scope,
) -> dict[str, GroupVerdict]:
    always = ("function",) if scope == "outputs-only" else margins.ALWAYS_REQUIRED
    void: list[tuple[GroupStatus, float | None, list[int]]] = []
    groups: dict[str, GroupVerdict] = {}
    for name in dict.fromkeys([*margins.GROUPS, *(key[0] for key in units)]):
        mine = {key: members for key, members in units.items() if key[0] == name}
        # A structural row that is context because the teacher shows no such structure.
        excused = any(
            r.group == name and not r.headline and r.reason and r.status == "context" for r in rows
        )
        if not mine:
            if name in always and not (excused and name not in margins.BAND_GROUPS):
                groups[name] = GroupVerdict("not_measurable", True, None, ())
            continue
        indices = tuple(i for members in mine.values() for i in members)
        verdicts: list[GroupStatus] = []
        ratios: list[float] = []
        for key, members in mine.items():
            status = statuses[key]
            ratio = _unit_ratio([rows[i] for i in members])
            if any(rows[i].null == "band void" for i in members):
                # Passes count singly; failures and ratios count once for all such groups.
                void.append((status, ratio, members))
                status, ratio = ("inconclusive" if status == "fail" else status), None
            verdicts.append(status)
            if ratio is not None:
                ratios.append(ratio)
        required = name in always or any(rows[i].required for i in indices)
        groups[name] = GroupVerdict(_worst(verdicts), required, _largest(ratios), indices)
    if void:
        groups[OFF_SUPPORT] = GroupVerdict(
            _worst([status for status, _, _ in void]),
            False,
            _largest([ratio for _, ratio, _ in void if ratio is not None]),
            tuple(i for _, _, members in void for i in members),
        )
    return groups


def _largest(ratios: list[float]) -> float | None:
    return max(ratios) if ratios else None


def _unit_status(rows: list[Measurement], rejected: bool, version: int) -> GroupStatus:
    """A unit passes against *either* null, fails only beyond all of them.

    What lies within the wide margin of a void band has not failed; that is no pass.
    """
    wide = FAIL_ONLY if version >= _UNEVEN_SINCE else ()
    if any(r.status == "pass" and r.null not in wide for r in rows):
        return "pass"
    if rejected:
        return "fail"
    if any(r.status in ("not_measurable", "error") for r in rows):
        return "not_measurable"
    return "inconclusive"


def _unit_ratio(rows: list[Measurement]) -> float | None:
    """max(0, smallest harm / margin over the nulls); None for levels and unmeasured rows."""
    ratios = []
    for row in rows:
        if math.isnan(row.p_fail) or not row.margin > 0:
            return None
        if row.null not in PASS_ONLY:
            ratios.append(row.harm / row.margin)
    return max(0.0, min(ratios)) if ratios else None


def _worst(statuses: list[GroupStatus]) -> GroupStatus:
    order: tuple[GroupStatus, ...] = ("fail", "not_measurable", "inconclusive")
    for status in order:
        if status in statuses:
            return status
    return "pass"


def _all_pass(groups: dict[str, GroupVerdict], policy: Policy) -> bool:
    named = {n: g for n, g in groups.items() if n != OFF_SUPPORT}
    passing = [g for g in named.values() if g.status == "pass"]
    return len(passing) == len(named) >= policy.min_groups


def _strength(groups: dict[str, GroupVerdict], version: int) -> float | None:
    """From the geometric mean of the two largest ratios; to version 2 from the second alone."""
    ratios = sorted((g.ratio for g in groups.values() if g.ratio is not None), reverse=True)
    if len(ratios) < 2:
        return None
    r = ratios[1]
    if version >= _UNEVEN_SINCE and not math.isinf(r):
        r = math.sqrt(ratios[0] * r) if r > 0 else 0.0
    return 1.0 if math.isinf(r) else r / (1.0 + r)
