"""Who answers for what does not pass, and what becomes of what is undecided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ringtest.decision import SEVERITY, Check, CheckStatus
from ringtest.policy import Gate, Inconclusive, Place, Policy, Waiver

_OPEN: Final[dict[Inconclusive, CheckStatus]] = {
    "exit3": "inconclusive",
    "fail": "fail",
    "warn": "warn",
    "pass": "note",
}


def undecided(mode: Inconclusive, measured: bool = True) -> CheckStatus:
    """The status of what does not pass and does not fail, by what the policy says of it.

    A policy softens what was ``measured`` and lies too near its margin to be decided. What
    crashed, had too few rows or was never looked at is no pass, whatever the policy says.
    """
    status = _OPEN[mode]
    return status if measured else max(status, "inconclusive", key=SEVERITY.__getitem__)


@dataclass
class Desk:
    """What a gate decides one student by: hands out excuses and notes which waivers were needed."""

    policy: Policy
    student: str | None
    elsewhere: frozenset[str | Gate] = frozenset()
    """Margins (by their pattern) and gates for which other students of the set have rows."""
    used: Counter[str] = field(default_factory=Counter)

    def excuse(self, place: Place) -> str:
        """Ids of the waivers that answer for a row that does not pass; empty if none does."""
        return self._note(w for w in self._valid() if w.covers(place))

    def excuse_group(self, name: str) -> str:
        """The same for a whole group, which may have no rows."""
        return self._note(w for w in self._valid() if w.covers_group(name))

    def _valid(self) -> list[Waiver]:
        return [
            w
            for w in self.policy.waivers
            if not w.expired(self.policy.today) and w.covers_student(self.student)
        ]

    def _note(self, waivers: Iterable[Waiver]) -> str:
        ids = [w.id for w in waivers]
        self.used.update(ids)
        return ", ".join(ids)

    def checks(self) -> list[Check]:
        """All waivers; ask last, when it is known which of them were needed."""
        out = []
        for w in self.policy.waivers:
            count = self.used[w.id]
            status: CheckStatus = "pass" if count else "fail"
            if w.expired(self.policy.today):
                status, message = "fail", f"Expired on {w.expires}: renew it or mend what it waives"
            elif count:
                message = f"Answers for {count} until {w.expires}"
            else:
                message = "Matches nothing that needs it: remove it or mend its match"
            out.append(Check("waiver", w.id, status, f"{message}. It says: {w.statement}",
                             w.measure, w.condition, w.slice, w.group))  # fmt: skip
        return out
