"""Leakage: what the data's rows have in common with each other and with what was trained on.

Checks stand in the areas and register themselves, as measures and conditions do. They are made
before any number, and tell: a finding is a warning of the report and changes no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.progress import Progress, bar, part
from ringtest.registry import Registry

Extent = Literal["auto", "full", "exact"]
"""``exact``: no search for near copies; ``full``: at any cost; ``auto``: where it takes seconds."""
VERSION: Final = 1
"""Raised with every change of what counts as a finding; it stands in the report."""
EXAMPLES: Final = 5
"""Pairs of rows, or values of a column, that a finding names."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check noticed."""

    kind: Literal["exact", "near", "labels", "group", "time"]
    between: str
    """Whose rows: ``inputs``, ``inputs and train``, ``unlabelled[NAME] and train``."""
    count: int
    """Rows of the first of them that are concerned; for ``time`` rows of train."""
    share: float
    """The same, of all its rows, 0 to 1."""
    words: str
    """One line for people."""
    examples: tuple[tuple[int, int], ...] = ()
    """Row numbers from 0, in the data as given: of the first and of what it is like."""
    column: str | None = None
    """Group column; None where rows themselves are compared."""
    values: tuple[str, ...] = ()
    """Of the column: values on both sides, or the two times."""
    classes: dict[str, int] = field(default_factory=dict)
    """``count`` by class, where targets are classes."""

    def as_dict(self) -> dict[str, Any]:
        """For ``report.json``."""
        found = asdict(self)
        found["examples"] = [list(pair) for pair in self.examples]
        return {**found, "values": list(self.values)}


@dataclass(frozen=True)
class Unchecked:
    """What a check could not look at, and why: silence about it says nothing."""

    check: str
    reason: str
    worth_a_warning: bool = False
    """Whether the user gave something that was not used."""


Run = Callable[[AuditData, Extent, Progress], Iterator[Finding | Unchecked]]


@dataclass(frozen=True)
class Check:
    """A check as it is registered."""

    id: str
    about: str
    run: Run


checks: Registry[Check] = Registry("leakage check")


def check(name: str, about: str) -> Callable[[Run], Run]:
    """Decorator: register a check of leakage."""

    def register(run: Run) -> Run:
        checks.add(Check(name, about, run))
        return run

    return register


@dataclass(frozen=True)
class Leakage:
    """What all checks found, and what they did not look at."""

    findings: tuple[Finding, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        """The findings."""
        return iter(self.findings)

    def __len__(self) -> int:
        """Number of findings."""
        return len(self.findings)

    @property
    def warnings(self) -> list[str]:
        """Lines for people."""
        told = [u.reason for u in self.unchecked if u.worth_a_warning]
        return list(dict.fromkeys([f.words for f in self.findings] + told))

    def as_dict(self) -> dict[str, Any]:
        """The ``leakage`` of the data in ``report.json``."""
        return {
            "version": VERSION,
            "findings": [f.as_dict() for f in self.findings],
            "not_checked": [{"check": u.check, "reason": u.reason} for u in self.unchecked],
        }


def extent(value: Any) -> Extent:
    """How far to look; raises ConfigError for anything else."""
    if value not in get_args(Extent):
        known = ", ".join(repr(name) for name in get_args(Extent))
        raise ConfigError("leakage", f"is {value!r}", f"give one of {known}")
    known_value: Extent = value
    return known_value


def find(data: AuditData, how: Extent, say: Progress) -> Leakage:
    """Make every check; findings in the order of the checks' ids."""
    found: list[Finding] = []
    left: list[Unchecked] = []
    entries = list(checks)
    for i, entry in enumerate(entries):
        told = part(say, i / len(entries), (i + 1) / len(entries))
        for item in entry.run(data, how, told):
            if isinstance(item, Finding):
                found.append(item)
            else:
                left.append(item)
    return Leakage(tuple(found), tuple(left))


def leakage(
    data: AuditData,
    train: Any = None,
    how: Extent = "full",
    progress: Progress | bool = True,
) -> Leakage:
    """Look for rows of the data in each other and in what was trained on.

        for finding in ringtest.leakage(data):
            print(finding.words)

    Args:
        data: the rows of an audit.
        train: inputs or AuditData to compare with, in the place of ``data.train``: the teacher's
            training rows, say. As AuditData, its targets and groups are compared, too.
        how: ``full``; ``auto``, as an audit looks by itself; ``exact``, without near copies.
        progress: True for a progress bar, False for none, or a callable.

    Returns:
        Findings, to iterate over, and ``unchecked``: what could not be looked at and why.

    Raises DataError for data or a train that cannot be read, ConfigError for an unknown ``how``.
    """
    if not isinstance(data, AuditData):
        raise DataError("data", f"is a {type(data).__name__}", "give ringtest.AuditData(...)")
    wanted = extent(how)
    with bar(progress) as say:
        found = find(data if train is None else data.against(train), wanted, say)
        say("leakage", 1.0)
    return found
