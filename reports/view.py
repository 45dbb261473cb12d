"""Words, marks and orders that every renderer shares, so that all of them say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ringtest.decision import SEVERITY
from ringtest.measurement import AREA
from ringtest.reasons import number
from ringtest.reports.names import CONDITION, MEASURE

if TYPE_CHECKING:
    from ringtest.decision import Check, Verdict
    from ringtest.measurement import Measurement
    from ringtest.report import Report


@dataclass(frozen=True)
class Look:
    """How a status or label is shown: never by its colour alone."""

    word: str
    mark: str
    """One character, also in the table of a terminal."""
    ascii: str
    """The same where only ASCII can be shown."""
    css: str
    """Class of the page's style sheet; also the name of the colour."""
    rich: str
    """Style of a terminal."""


_PASS: Final = ("✓", "+", "pass", "green")
_FAIL: Final = ("✕", "x", "fail", "red")
_OPEN: Final = ("?", "?", "open", "yellow")
_NONE: Final = ("–", "-", "none", "bright_black")

STATUS: Final = {
    "pass": Look("pass", *_PASS),
    "fail": Look("fail", *_FAIL),
    "inconclusive": Look("undecided", *_OPEN),
    "not_measurable": Look("not measurable", *_NONE),
    "error": Look("error", "!", "!", "none", "magenta"),
    "context": Look("context", "·", ".", "none", "bright_black"),
    "no_match": Look("matches no row", "!", "!", "none", "magenta"),
    "waived": Look("waived", "~", "~", "open", "cyan"),
    "note": Look("noted", "·", ".", "none", "bright_black"),
    "warn": Look("warning", "!", "!", "open", "yellow"),
}
OUTCOME: Final = {name: STATUS[name] for name in ("pass", "warn", "inconclusive", "fail", "error")}
"""What a gate makes of a verdict."""
LABEL: Final = {
    "sound": Look("sound", *_PASS),
    "fractured": Look("fractured", *_FAIL),
    "below-benchmark": Look("below-benchmark", "↓", "v", "fail", "red"),
    "inconclusive": Look("inconclusive", *_OPEN),
}
SCOPE: Final = {
    "full": "outputs, layers and gradients could be seen",
    "no-gradient": "outputs and layers could be seen, gradients could not",
    "outputs-only": "only outputs could be seen, which alone never show that a student is sound",
}
NULL: Final = {
    "paired": "the mean member on the same rows",
    "band": "the members among each other",
    "band void": "the members among each other (band void: another architecture, can only fail)",
    "references": "references of the student's kind",
    "level": "the level of a near-copy (can only pass)",
    "pass only": "the teacher (can only pass)",
    "drift": "the members' own drift",
}
NULL_SHORT: Final = {
    "paired": "mean member",
    "band": "member band",
    "band void": "band void",
    "references": "references",
    "level": "level",
    "pass only": "pass only",
    "drift": "members' drift",
}


def clean(text: object) -> str:
    """One line without control characters: names come from users' files and models."""
    joined = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "\ufffd" for c in joined)


def lines(text: str) -> str:
    """Several lines, and their indentation, without control characters."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def student(name: object) -> str:
    """The name of a student, which a user may have left empty."""
    return clean(name) or "(no name)"


def shorten(text: object, width: int) -> str:
    """At most ``width`` characters: the end of a long name tells more than its beginning."""
    full = clean(text)
    return full if len(full) <= width else "…" + full[1 - width :]


def sentence_case(text: str) -> str:
    """Words as they begin a sentence."""
    return text[:1].upper() + text[1:]


def measure(name: str) -> str:
    """A measure in words, or its id."""
    return MEASURE.get(name, clean(name))


def condition(name: str) -> str:
    """A condition in words, or its id."""
    if name in CONDITION:
        return CONDITION[name]
    for prefix, word in (
        ("shift.unlabelled.", "elsewhere: "),
        ("shift.invariance.", "invariance: "),
        ("shift.certified.", "certified: "),
        ("shift.off_support.", "off support: "),
        ("shift.strongest.", "strongest: "),
        ("shift.rewritten.", "rewritten: "),
        ("shift.split.", "split: "),
        ("shift.corruption.", ""),
        ("shift.", ""),
        ("attack.", "attack: "),
        ("text.", "text: "),
    ):
        if name.startswith(prefix):
            return word + clean(name.removeprefix(prefix)).replace("_", " ")
    return clean(name)


def place(row: Measurement) -> str:
    """Where a row was measured: condition, strength, slice, concept, largest of a family."""
    largest = row.params.get("largest")
    parts = [condition(row.condition)]
    if row.severity is not None:
        parts.append(f"severity {row.severity:g}")
    if row.statistic == AREA:
        parts.append(AREA)
    if largest:
        parts.append(f"worst: {clean(largest)}")
    parts += [clean(detail) for detail in (row.slice, row.concept) if detail]
    if row.null == "pass only" and row.condition == "shift.off_support":
        parts.append("to pass")
    return ", ".join(parts)


def layers(row: Measurement) -> str:
    """The student's layer against the teacher's, once if both have one name."""
    ours, theirs = row.student_layer, row.teacher_layer
    if ours == theirs or not (ours and theirs):
        return clean(ours or theirs or "")
    return f"{clean(ours)} / {clean(theirs)}"


def harm_interval(row: Measurement) -> tuple[float, float]:
    """The interval of delta, turned as harm is."""
    sign = -1.0 if row.direction == "higher" else 1.0
    low, high = sorted((sign * row.ci_low, sign * row.ci_high))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)


def interval(low: float, high: float) -> str:
    """An interval, or a dash."""
    return f"[{shown(low)}, {shown(high)}]" if math.isfinite(low) else "–"


def shown(value: float | None) -> str:
    """A number for a table; a dash where there is none."""
    text = number(value)
    return "–" if text == "-" else text.replace("-", "−")


def raw(row: Measurement) -> tuple[float, float]:
    """Teacher and student as they were measured, before the scale on which they are judged."""
    teacher = row.params.get("teacher_raw")
    student = row.params.get("student_raw")
    return (
        row.teacher if teacher is None else float(teacher),
        row.student if student is None else float(student),
    )


def headlines(verdict: Verdict) -> list[tuple[str, list[Measurement]]]:
    """Judged rows by group: the benchmark, then the verdict's groups, also those without rows."""
    rows = [r for r in verdict.rows if r.headline]
    names = dict.fromkeys([*verdict.groups, *(str(r.group) for r in rows)])
    grouped = [(name, [r for r in rows if str(r.group) == name]) for name in names]
    return sorted(grouped, key=lambda pair: pair[0] != "benchmark")


def without_rows(verdict: Verdict, group: str) -> str:
    """Why a group of the verdict has no row of its own."""
    judged = verdict.groups.get(group)
    if judged is None or not judged.rows:
        return "required, but nothing measured it"
    void = sum(verdict.rows[i].null == "band void" for i in judged.rows)
    return f"{void} band-void rows of other groups, counted once"


def benchmark(verdict: Verdict) -> Measurement | None:
    """The row of the benchmark, if there is one."""
    return next((r for r in verdict.rows if r.headline and r.group == "benchmark"), None)


def strength_words(verdict: Verdict) -> str:
    """What the strength means, in a sentence."""
    if verdict.strength is None:
        return (
            "Fewer than two groups could be compared with their margins, so there is no strength."
        )
    side = "at" if verdict.strength == 0.5 else "beyond" if verdict.strength > 0.5 else "within"
    which = "the second worst group lies" if verdict.margins_version < 3 else (
        "the two worst groups together lie"
    )  # fmt: skip
    its = "its margin" if verdict.margins_version < 3 else "their margins"
    return (
        f"Strength of the evidence for fracture, from 0 to 1. At .50 two groups lie exactly at "
        f"their margin; here {which} {side} {its}."
    )


def sure(report: Report) -> list[str]:
    """How sure the verdict is, in sentences."""
    verdict, policy = report.verdict, report.policy
    tally = [g.status for g in verdict.groups.values()]
    words = [f"{tally.count(s)} {STATUS[s].word}" for s in dict.fromkeys(tally)]
    level = f"{100 * policy.alpha:g} %"
    out = [
        f"{len(tally)} groups: {', '.join(words)}." if tally else "No group was judged.",
        f"Every test is one-sided at {level}; failures are corrected for the number of headlines "
        f"(Holm), and a pass must be shown, not assumed.",
        f"At least {policy.min_n} rows a judged row; margins of version {policy.version}.",
    ]
    rows = [r for r in verdict.rows if r.headline and r.n]
    if rows:
        least, most = min(r.n for r in rows), max(r.n for r in rows)
        span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        out.insert(1, f"The judged rows rest on {span} examples.")
    return out


def rerun(data: Mapping[str, Any]) -> str:
    """What to type to get this report again."""
    config = data["config"]
    call = f"ringtest.audit(teacher, student, data, task={data['task']!r}, seed="
    return str(config.get("command") or f"{call}{data['environment']['seed']})")


def again(data: dict[str, Any]) -> str:
    """Seed and versions in one line."""
    flat: dict[str, Any] = {}
    for key, value in data["environment"].items():
        flat.update(value if isinstance(value, dict) else {key: value})
    return ", ".join(f"{clean(key)} {clean(value)}" for key, value in flat.items())


def set_title(count: int) -> str:
    """Headline of a comparison."""
    return "One student of one teacher" if count == 1 else f"{count} students of one teacher"


def asked(verdict: Verdict) -> list[Check]:
    """What a policy asks for beyond the verdict, and what it lets through; the worst first."""
    found = [
        c
        for c in verdict.checks
        if c.kind in ("require", "gate", "margin", "waiver", "baseline") or c.status == "waived"
    ]
    return sorted(found, key=lambda c: -SEVERITY[c.status])


def tally(verdicts: Mapping[str, Verdict]) -> str:
    """How many students have each label."""
    labels = [v.label for v in verdicts.values()]
    counts = [f"{labels.count(name)} {name}" for name in LABEL if name in labels]
    return ", ".join(counts) + "."


def comparable(verdicts: Mapping[str, Verdict]) -> str:
    """A warning where strengths rest on other groups or margins; empty if they compare."""
    bases = {(v.margins_version, tuple(sorted(v.groups))) for v in verdicts.values()}
    if len(bases) == 1:
        return ""
    return (
        "The students were judged on different groups or margins: their strengths do not compare."
    )
