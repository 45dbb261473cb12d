"""GitHub's workflow commands: at most ten lines that show up beside a run, most severe first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringtest import reasons
from ringtest.decision import SEVERITY
from ringtest.reports import view

if TYPE_CHECKING:
    from ringtest.decision import CheckStatus, Outcome
    from ringtest.gates.gating import Gated

MOST: Final = 10
"""Annotations that GitHub shows for a step."""
WIDTH: Final = 600
COMMAND: Final[dict[CheckStatus, str]] = {
    "error": "error",
    "fail": "error",
    "inconclusive": "error",
    "warn": "warning",
    "waived": "notice",
    "note": "notice",
}


def render(gated: Gated) -> str:
    """The outcome, then whatever does not pass."""
    found = [
        (name, check)
        for name, verdict in gated.verdicts.items()
        for check in verdict.checks
        if check.status != "pass" and (gated.is_set or check.kind != "verdict")
    ]
    found.sort(key=lambda pair: -SEVERITY[pair[1].status])
    lines = [_outcome(gated, len(found) - MOST + 1)]
    lines += [
        command(COMMAND[check.status], f"{name}: {check.kind} {check.name}", check.message)
        for name, check in found[: MOST - 1]
    ]
    return "\n".join(lines) + "\n"


def _outcome(gated: Gated, left: int) -> str:
    outcome: Outcome = gated.outcome
    named = [f"{n}: {reasons.sentence(gated.verdicts[n])}" for n in gated.worst[:3]]
    more = f" {left} more findings are in the summary." if left > 0 else ""
    kind = "notice" if outcome == "pass" else COMMAND[outcome]
    title = f"ringtest gate: {outcome} (exit code {int(gated.exit_code)})"
    return command(kind, title, " ".join(named) + more)


def command(name: str, title: str, message: str) -> str:
    """One workflow command: ``error``, ``warning`` or ``notice``."""
    return (
        f"::{name} title={escape_property(view.shorten(title, 120))}"
        f"::{escape_message(view.clean(message)[:WIDTH])}"
    )


def escape_message(text: str) -> str:
    """What stands after the second ``::``."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """The value of a property, which ends at a comma or colon."""
    return escape_message(text).replace(":", "%3A").replace(",", "%2C")
