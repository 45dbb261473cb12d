"""Why a verdict came out as it did, and what would settle it, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringtest import margins, pvalues
from ringtest.measurement import FAIL_ONLY, PASS_ONLY, Measurement

if TYPE_CHECKING:
    from ringtest.decision import Verdict
    from ringtest.policy import Policy


def _failing(verdict: Verdict) -> list[str]:
    return [n for n, g in verdict.groups.items() if g.status == "fail"]


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    failing = _failing(verdict)
    match verdict.label:
        case "below-benchmark":
            return "The student scores below its teacher on the benchmark itself."
        case "fractured":
            inside = "The student does not carry the teacher's inside"
            if len(failing) < 2:
                return f"{inside}: {_uneven(verdict)}."
            where = " and ".join([", ".join(failing[:-1]), failing[-1]])
            return f"{inside}: {where} fail."
        case "sound":
            where = "" if _has_elsewhere(verdict) else f", {_where(verdict)} only"
            return f"The student matches the score and kept the teacher's inside{where}."
        case _:
            matched = "matches the score" if verdict.matched else "may match the score"
            return f"The student {matched}, but the evidence decides neither way."


def _uneven(verdict: Verdict) -> str:
    """Two groups that count together, in words."""
    first, second = verdict.together
    return (
        f"{first} lies beyond {margins.UNEVEN:g} times its margin and {second} beyond "
        f"{1 / margins.UNEVEN:g} of its own"
    )


def reasons(verdict: Verdict, policy: Policy) -> list[str]:
    """Sentences, worst first, each naming measure, condition, layers, values and interval."""
    rows = verdict.rows
    out: list[str] = []
    benchmark = [r for r in rows if r.headline and r.group == "benchmark"]
    if not benchmark:
        out.append("The benchmark was not measured, so nothing can be called matched.")
    out += [
        f"Benchmark: {describe(r)}."
        if r.measured
        else f"The benchmark could not be measured{': ' + r.reason if r.reason else ''}."
        for r in benchmark
    ]

    judged = [r for r in rows if r.headline and r.group != "benchmark"]
    failed = sorted((r for r in judged if r.status == "fail"), key=_ratio, reverse=True)
    out += [f"{_name(r)} fails: {describe(r)}." for r in failed]
    if len({r.group for r in failed}) == 1 and verdict.label == "inconclusive":
        out.append(
            "One group alone does not make a student fractured: two must fail, or one at "
            f"{margins.UNEVEN:g} times its margin and another at {1 / margins.UNEVEN:g} of its own."
        )
    if verdict.label == "fractured" and len(_failing(verdict)) < 2:
        out.append(f"{_uneven(verdict).capitalize()}: together they are as far out as two.")
    out += [
        f"{_name(r)} is undecided: {describe(r)}."
        for r in judged
        if r.status == "inconclusive" and r.null not in FAIL_ONLY and not _failed_beside(r, failed)
    ]
    out += [
        f"{_name(r)} could not be measured: {r.measure} on {r.condition}{_why(r, policy)}."
        for r in judged
        if r.status in ("not_measurable", "error")
    ]
    out += [
        f"{name.capitalize()} was required but nothing measured it."
        for name, g in verdict.groups.items()
        if g.required and not g.rows
    ]
    if verdict.scope == "outputs-only" and verdict.label != "fractured":
        out.append(
            "Only outputs could be seen, and outputs alone never show that a student is sound."
        )
    if verdict.label == "sound":
        passed = [n for n, g in verdict.groups.items() if g.status == "pass"]
        out.append(f"Every required group passes: {', '.join(passed)}.")
    if verdict.label == "inconclusive" and not verdict.matched:
        out += ["Whether the student matches the benchmark is undecided." for _ in benchmark[:1]]
    if not _has_elsewhere(verdict) and verdict.label in ("sound", "inconclusive"):
        out.append(
            f"No unlabelled inputs from elsewhere were judged: this holds {_where(verdict)} only."
        )
    out += _void(rows)
    out += list(dict.fromkeys(r.reason for r in rows if r.group and not r.headline and r.reason))
    return out


def _failed_beside(row: Measurement, failed: Sequence[Measurement]) -> bool:
    """Whether a row that can only pass stands beside one of the same set that fails."""
    same = (row.group, row.measure, row.condition)
    return row.null in PASS_ONLY and any(same == (f.group, f.measure, f.condition) for f in failed)


def _void(rows: Sequence[Measurement]) -> list[str]:
    """What a void band means, unless references of the student's own kind stand in its place."""
    void = [r for r in rows if r.null == "band void"]
    if not void or any(r.null == "references" and r.headline for r in rows):
        return []
    what = (
        "The student has another architecture than the members and no references of its own: "
        "the member band is void, so "
    )
    if any(r.headline for r in void):
        return [
            what
            + "off support it takes a wide margin to fail, and that of the members' own kind to "
            "pass; failures count together as one group."
        ]
    return [what + "constant structural loss was not tested."]


def settle(verdict: Verdict, policy: Policy) -> list[str]:
    """What to do next, most useful first."""
    rows = verdict.rows
    out: list[str] = []
    judged = [r for r in rows if r.headline]
    if verdict.label == "inconclusive":
        out += _rows_needed(verdict, policy)
        small = [r for r in judged if 0 < r.n < policy.min_n]
        out += [
            f"Give at least {policy.min_n} rows for {r.measure} on {r.condition} (it had {r.n})."
            for r in small[:3]
        ]
        if _void(rows) or any(r.null == "level" for r in rows):
            out.append(
                "Give references: independently trained, honest models of the student's kind."
            )
    if verdict.label in ("inconclusive", "sound"):
        given = any(r.condition.startswith("shift.unlabelled.") for r in rows)
        if not _has_elsewhere(verdict) and not given:
            out.append(
                "Give unlabelled inputs from elsewhere (production traffic, another domain): "
                "the sharpest condition known, and it needs no labels."
            )
        # Slices are compared by what a probe reads off them: without targets there is nothing.
        targets = any(r.measure == "outputs.score" for r in rows)
        if targets and not any(r.group == "slice transfer" for r in rows):
            out.append("Give a group column, so that slices can be compared.")
    if verdict.label == "fractured":
        out.append(
            "Do not ship on the benchmark score alone; look at the conditions that fail above."
        )
        out.append("Distil again on inputs as varied as the teacher's own training inputs.")
    if verdict.label == "below-benchmark":
        out.append(
            "Close the gap on the benchmark first; the inside is worth asking about after that."
        )
    return out


_SAMPLED = ("similarity.", "structure.", "probe.")
"""Measures that read layers, of at most ``margins.SAMPLE`` rows whatever is given."""
_FAR = 20
"""More rows than so many times those at hand is no advice."""


def _why(row: Measurement, policy: Policy) -> str:
    if row.reason:
        return f": {row.reason}"
    return f": {row.n} rows, at least {policy.min_n} are needed" if row.n < policy.min_n else ""


def _rows_needed(verdict: Verdict, policy: Policy) -> list[str]:
    """How many rows would settle what is undecided, in the groups that do not fail already."""
    failing = {name for name, g in verdict.groups.items() if g.status == "fail"}
    out, most = [], 0
    for row in verdict.rows:
        if not row.headline or row.status != "inconclusive" or row.group in failing:
            continue
        if row.null in FAIL_ONLY or (row.null in PASS_ONLY and row.harm >= row.margin):
            continue  # more rows never make these pass
        n = pvalues.needed_n(row.harm, row.margin, row.se, row.n, policy.alpha)
        limit = margins.SAMPLE if row.measure.startswith(_SAMPLED) else _FAR * row.n
        if n is None or n > limit:
            where = f"{row.measure} on {row.condition}"
            out.append(f"{where} lies too near its margin for more rows to settle it.")
        elif n > row.n:
            most = max(most, n)
    if most:
        out.insert(0, f"About {most:,} rows a set would settle what else is undecided.")
    return out


def describe(row: Measurement) -> str:
    """One row in words: where, what the teacher and the student show, and the interval."""
    what = f"{row.measure} on {row.condition}"
    largest = row.params.get("largest")
    if largest:
        what += f" (largest at {largest})"
    layers = ""
    if row.teacher_layer or row.student_layer:
        layers = f", layer {row.student_layer}"
        if row.teacher_layer != row.student_layer:
            layers += f" against {row.teacher_layer}"
    if row.params.get("form"):
        layers += f", {row.params['form']}"
    who = {
        "drift": ("drift of the student", "of the members"),
        "level": ("student to teacher", "level of a near-copy"),
        "references": ("student to members", "references to members"),
    }.get(str(row.null), ("student", "teacher"))
    if row.drifts and row.null == "references":
        who = ("drift of the student", "of the references")
    teacher = (
        1.0 - row.margin if row.null == "level" else row.params.get("teacher_raw", row.teacher)
    )
    student = row.params.get("student_raw", row.student)
    sign = -1.0 if row.direction == "higher" else 1.0
    low, high = sorted((sign * row.ci_low, sign * row.ci_high)) if _finite(row) else (math.nan,) * 2
    return (
        f"{what}{layers}: {who[0]} {number(student)}, {who[1]} {number(teacher)}; "
        f"harm {number(row.harm)} [{number(low)}, {number(high)}] {row.unit}".rstrip()
        + f", margin {number(row.margin)}, n = {row.n:,}"
    )


def number(value: float | None) -> str:
    """A number for people: two or three significant digits, no trailing clutter."""
    if value is None or not math.isfinite(value):
        return "-"
    value = 0.0 if abs(value) < 5e-5 else value
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.1g}" if abs(value) >= 1e-4 else "0.00"


def worst_finding(verdict: Verdict) -> str:
    """The worst judged row in a few words, for a line of a table."""
    rows = [r for r in verdict.rows if r.headline and math.isfinite(r.harm)]
    order = {"fail": 0, "inconclusive": 1, "pass": 2}
    if not rows:
        return "nothing could be measured"
    row = min(rows, key=lambda r: (order.get(r.status, 3), -_ratio(r)))
    if verdict.label == "sound":
        harm, margin = number(row.harm), number(row.margin)
        return f"nothing: {row.group} nearest to its margin, harm {harm} of {margin}"
    where = row.condition.removeprefix("shift.").replace("_", " ")
    return f"{row.group} on {where}: harm {number(row.harm)}, margin {number(row.margin)}"


def _finite(row: Measurement) -> bool:
    return math.isfinite(row.ci_low) and math.isfinite(row.ci_high)


def _ratio(row: Measurement) -> float:
    return row.harm / row.margin if row.margin > 0 and math.isfinite(row.harm) else -math.inf


def _name(row: Measurement) -> str:
    return str(row.group).capitalize()


def _where(verdict: Verdict) -> str:
    """Where a verdict without inputs from elsewhere holds."""
    off = any(r.headline and r.condition == "shift.off_support" for r in verdict.rows)
    return "on the benchmark's domain" + (" and off support" if off else "")


def _has_elsewhere(verdict: Verdict) -> bool:
    return any(r.headline and r.condition.startswith("shift.unlabelled.") for r in verdict.rows)


__all__ = ["describe", "number", "reasons", "sentence", "settle", "worst_finding"]
