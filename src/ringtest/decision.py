"""What a decision is made of: groups, label, reasons, checks, and the exit code that follows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ringtest.errors import Exit
from ringtest.measurement import Measurement
from ringtest.policy import Gate

Label = Literal["sound", "fractured", "below-benchmark", "inconclusive"]
Scope = Literal["full", "no-gradient", "outputs-only"]
GroupStatus = Literal["pass", "fail", "inconclusive", "not_measurable"]
GateStatus = Literal["pass", "fail", "inconclusive", "no_match"]
CheckStatus = Literal["pass", "waived", "note", "warn", "inconclusive", "fail", "error"]
"""``waived``: a waiver answers for it; ``note``: does not pass, but nothing hangs on it."""
Outcome = Literal["pass", "warn", "inconclusive", "fail", "error"]

BENCHMARK: Final = "benchmark"
OFF_SUPPORT: Final = "off support (band void)"
"""The group as which all off-support failures count together where the band is void."""

SEVERITY: Final[dict[CheckStatus, int]] = {
    "pass": 0,
    "waived": 1,
    "note": 2,
    "warn": 3,
    "inconclusive": 4,
    "fail": 5,
    "error": 6,
}


@dataclass(frozen=True)
class GroupVerdict:
    """What one group of headlines says."""

    status: GroupStatus
    required: bool
    ratio: float | None
    """Largest harm / margin of its sets, at least 0; None if it can only pass or is unmeasured."""
    rows: tuple[int, ...]
    """Indices into ``measurements``."""


@dataclass(frozen=True)
class Check:
    """One thing that a gate looks at. The worst check of a verdict is its outcome."""

    kind: Literal["verdict", "group", "require", "gate", "margin", "waiver", "baseline", "row"]
    name: str
    """What is looked at, in a few words."""
    status: CheckStatus
    message: str
    """Why, in a sentence."""
    measure: str | None = None
    condition: str | None = None
    slice: str | None = None
    group: str | None = None
    detail: str = ""
    """Whatever else tells two checks of one name apart: concept, null, place in a list."""


@dataclass(frozen=True)
class Verdict:
    """The decision on one student."""

    label: Label
    strength: float | None
    """r / (1 + r), r the geometric mean of the two largest harm / margin of groups; .5: both at the
    margin, or one as far beyond its own as the other lies within."""
    scope: Scope
    matched: bool
    """Non-inferior to the mean member on the benchmark, shown."""
    reasons: tuple[str, ...]
    settle: tuple[str, ...]
    """What would settle an open question, or what to do next."""
    groups: dict[str, GroupVerdict]
    gates: tuple[tuple[Gate, GateStatus], ...]
    margins_version: int
    policy_hash: str
    rows: tuple[Measurement, ...] = field(repr=False, default=())
    """The rows with their decided status, p-values and margins."""
    outcome_label: Label = "inconclusive"
    """The label if whatever is waived had passed; :attr:`label` is what was found."""
    together: tuple[str, ...] = ()
    """Two groups that count as two failing ones: one beyond twice its margin, one beyond half."""
    checks: tuple[Check, ...] = field(repr=False, default=())
    """Everything that the gate looks at; the verdict first, then what the policy asks for."""

    @property
    def outcome(self) -> Outcome:
        """What the gate makes of it: the worst of the checks."""
        # Of nothing: nothing was looked at, so nothing passes.
        worst: CheckStatus = max(
            (c.status for c in self.checks), key=SEVERITY.__getitem__, default="error"
        )
        if worst == "pass" or worst == "waived" or worst == "note":
            return "pass"
        return worst

    @property
    def exit_code(self) -> Exit:
        """What ``ringtest gate`` exits with."""
        return OUTCOME_EXIT[self.outcome]

    def as_dict(self) -> dict[str, Any]:
        """The ``verdict`` object of ``report.json``: what was found, whatever the gate asks."""
        return {
            "label": self.label,
            "strength": self.strength,
            "scope": self.scope,
            "matched": self.matched,
            "reasons": list(self.reasons),
            "settle": list(self.settle),
            "groups": {
                name: {
                    "status": g.status,
                    "required": g.required,
                    "ratio": g.ratio,
                    "rows": list(g.rows),
                }
                for name, g in self.groups.items()
            },
            "gates": [
                {"measure": gate.measure, "margin": gate.margin, "status": status}
                for gate, status in self.gates
            ],
            "margins_version": self.margins_version,
            "policy_hash": self.policy_hash,
        }

    def decision(self) -> dict[str, Any]:
        """What the gate decided, as plain JSON values."""
        return {
            "outcome": self.outcome,
            "exit_code": int(self.exit_code),
            "label": self.label,
            "outcome_label": self.outcome_label,
            "strength": self.strength,
            "policy_hash": self.policy_hash,
            "checks": [asdict(c) for c in self.checks],
        }


OUTCOME_EXIT: Final[dict[Outcome, Exit]] = {
    "pass": Exit.PASS,
    "warn": Exit.PASS,
    "inconclusive": Exit.INCONCLUSIVE,
    "fail": Exit.FAIL,
    "error": Exit.ERROR,
}
