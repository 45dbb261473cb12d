"""For tests: assert what ``ringtest gate`` would let pass, and say why it does not."""

from __future__ import annotations

import warnings
from typing import Final

from ringtest import reasons
from ringtest.decision import SEVERITY, Verdict
from ringtest.errors import Exit
from ringtest.gates.gating import AnyPolicy, AnyReport, Gated, judge

__all__ = ["assert_sound"]

MOST: Final = 5
"""Reasons, checks and next steps that a message shows of each."""
_ASKED: Final = ("require", "gate", "margin", "waiver", "baseline")
"""Checks that a policy asks for; the others say what the reasons say."""


def assert_sound(report: AnyReport, policy: AnyPolicy | None = None) -> None:
    """Raise AssertionError unless a gate would let the student pass.

    Args:
        report: a report, or where one was saved; of a set all students must pass.
        policy: judge by this, or by this gate.toml, instead of the policy stored in the report.

    Raises AssertionError with the verdict, its reasons and what would settle it. An inconclusive
    student fails, too, unless the policy says otherwise; where it says ``warn``, it warns.
    """
    __tracebackhide__ = True
    gated = judge(report, policy)
    if gated.exit_code is not Exit.PASS:
        raise AssertionError(describe(gated))
    if gated.outcome == "warn":
        warnings.warn(describe(gated), UserWarning, stacklevel=2)


def describe(gated: Gated) -> str:
    """What a gate decided, in a few lines: the worst student in full, the others by name."""
    first = gated.worst[0]
    lines = _student(first, gated.verdicts[first])
    if len(gated.verdicts) > 1:
        bad = [n for n, v in gated.verdicts.items() if v.outcome != "pass"]
        lines.append(f"{len(bad)} of {len(gated.verdicts)} students do not pass:")
        lines += [f"  - {n}: {gated.verdicts[n].label}" for n in bad[: 2 * MOST]]
        lines += _more(bad, 2 * MOST)
    return "\n".join(lines)


def _student(name: str, verdict: Verdict) -> list[str]:
    strength = "" if verdict.strength is None else f" (strength {verdict.strength:.2f})"
    asked = [
        c.message
        for c in verdict.checks
        if c.kind in _ASKED and SEVERITY[c.status] >= SEVERITY["warn"]
    ]
    next_steps = "What to do next:"
    if verdict.label == "inconclusive":
        next_steps = "What would settle it:"
    code = f"{verdict.outcome}, exit code {int(verdict.exit_code)}"
    return [
        f"{name} is {verdict.label}{strength}; gate: {code}",
        reasons.sentence(verdict),
        *_list("Reasons:", verdict.reasons),
        *_list("What the policy asks for:", asked),
        *_list(next_steps, verdict.settle),
    ]


def _list(title: str, items: tuple[str, ...] | list[str]) -> list[str]:
    if not items:
        return []
    return [title, *(f"  - {item}" for item in items[:MOST]), *_more(items, MOST)]


def _more(items: tuple[str, ...] | list[str], shown: int) -> list[str]:
    return [f"  and {len(items) - shown} more"] if len(items) > shown else []
