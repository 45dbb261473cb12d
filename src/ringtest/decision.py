"""What a decision is made of: groups, label, reasons, and the exit code that follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ringtest.errors import Exit
from ringtest.measurement import Measurement
from ringtest.policy import Gate

Label = Literal["sound", "fractured", "below-benchmark", "inconclusive"]
Scope = Literal["full", "no-gradient", "outputs-only"]
GroupStatus = Literal["pass", "fail", "inconclusive", "not_measurable"]
GateStatus = Literal["pass", "fail", "inconclusive", "no_match"]

BENCHMARK: Final = "benchmark"
OFF_SUPPORT: Final = "off support (band void)"
"""The group as which all off-support failures count together where the band is void."""


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
class Verdict:
    """The decision on one student."""

    label: Label
    strength: float | None
    """r / (1 + r), r the second largest harm / margin of a group; .5: both at the margin."""
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

    @property
    def exit_code(self) -> Exit:
        """What ``ringtest gate`` exits with: the worse of the label and the user's own gates."""
        codes = {_LABEL_EXIT[self.label]} | {_GATE_EXIT[status] for _, status in self.gates}
        for code in (Exit.ERROR, Exit.FAIL, Exit.INCONCLUSIVE):
            if code in codes:
                return code
        return Exit.PASS

    def as_dict(self) -> dict[str, Any]:
        """The ``verdict`` object of ``report.json``."""
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


_LABEL_EXIT: Final[dict[str, Exit]] = {
    "sound": Exit.PASS,
    "fractured": Exit.FAIL,
    "below-benchmark": Exit.FAIL,
    "inconclusive": Exit.INCONCLUSIVE,
}
_GATE_EXIT: Final[dict[str, Exit]] = {
    "pass": Exit.PASS,
    "fail": Exit.FAIL,
    "inconclusive": Exit.INCONCLUSIVE,
    "no_match": Exit.ERROR,
}
