"""gate.toml: what ``ringtest gate --policy`` decides by, and the policy that it stands for."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ringtest import margins
from ringtest.checked import MOST
from ringtest.config import GateTable, parse, toml
from ringtest.config_recorded import Table
from ringtest.decision import BENCHMARK
from ringtest.errors import ConfigError, close_to
from ringtest.policy import LEAST_ALPHA, MATCHED, Inconclusive, Policy, Waiver

GROUPS: Final = (BENCHMARK, *margins.GROUPS)
"""What ``require`` may name."""


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in GROUPS:
            raise ValueError(f"{name!r} is no group; {close_to(name, GROUPS)}")
    return names


_Glob = Annotated[str | None, Field(min_length=1)]
_Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class MatchTable(Table):
    """What a waiver answers for: globs, at least one; a row must match all that are given."""

    measure: _Glob = Field(None, description="measure id or glob")
    condition: _Glob = Field(None, description="condition id or glob")
    slice: _Glob = Field(None, description="column=value or glob")
    group: _Glob = Field(None, description="group of the verdict, or glob")
    student: _Glob = Field(None, description="name of a student, or glob")

    @model_validator(mode="after")
    def _narrow(self) -> MatchTable:
        if not any(value for _, value in self):
            raise ValueError(f"give at least one of {MATCHED}")
        return self


class WaiverTable(Table):
    """A finding that somebody answers for until a date. All keys are mandatory."""

    id: _Words = Field(description="its name, given once")
    match: MatchTable = Field(description="what it answers for")
    statement: _Words = Field(description="who accepts what, and why")
    expires: date = Field(description="last day on which it holds, such as 2026-12-31")

    def waiver(self) -> Waiver:
        """The same for the policy."""
        return Waiver(self.id, self.statement, self.expires.isoformat(), **self.match.model_dump())


class GateFile(Table):
    """gate.toml: what ``ringtest gate --policy`` decides by. An empty file is the default."""

    alpha: float = Field(
        margins.ALPHA, ge=LEAST_ALPHA, lt=0.5, description="level of every one-sided test"
    )
    min_n: int = Field(margins.MIN_N, ge=2, le=MOST, description="least rows of a judged row")
    inconclusive: Inconclusive = Field(
        "exit3", description="what becomes of what was measured and is undecided"
    )
    require: Annotated[list[str], AfterValidator(_known)] = Field(
        [], description=f"groups that must be judged and pass: {', '.join(GROUPS)}"
    )
    margins: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="measure id or glob -> margin that replaces the one of the judged rows"
    )
    gate: list[GateTable] = Field([], description="requirements of your own")
    waiver: list[WaiverTable] = Field([], description="findings that somebody answers for")

    def policy(self, today: date) -> Policy:
        """What a verdict is decided by."""
        return Policy(
            alpha=self.alpha,
            min_n=self.min_n,
            overrides=dict(self.margins),
            gates=tuple(g.gate() for g in self.gate),
            require=tuple(dict.fromkeys(self.require)),
            inconclusive=self.inconclusive,
            waivers=tuple(w.waiver() for w in self.waiver),
            # Only where it is needed: else every day would have a policy of its own.
            today=today.isoformat() if self.waiver else "",
        )


def load_policy(path: str | os.PathLike[str], today: date | None = None) -> Policy:
    """Read a gate.toml.

    Args:
        path: the file; an empty one gives the default policy.
        today: the day on which waivers are looked at; None: today, in local time.

    Raises ConfigError, in one line, for whatever is wrong with it.
    """
    file = Path(path)
    table = parse(GateFile, file.name, toml(file))
    try:
        return table.policy(today or date.today())
    except ConfigError as error:
        raise ConfigError(f"{file.name}: {error.field}", error.problem, error.fix) from None
