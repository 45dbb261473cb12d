"""What a set of rows is judged by: levels, margins, own gates, waivers and what was shipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import date
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, Protocol, get_args

from ringtest import margins
from ringtest.errors import ConfigError
from ringtest.measurement import Measurement

Inconclusive = Literal["exit3", "fail", "warn", "pass"]
"""What a gate makes of whatever the evidence does not decide."""


MATCHED: Final = "measure, condition, slice, group or student"
"""What a waiver can be matched by."""


class Place(Protocol):
    """Where something was measured: what a waiver is matched against."""

    @property
    def measure(self) -> str: ...  # noqa: D102
    @property
    def condition(self) -> str: ...  # noqa: D102
    @property
    def slice(self) -> str | None: ...  # noqa: D102
    @property
    def group(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True)
class Gate:
    """A user's own requirement: the harm of the matching rows must lie below ``margin``."""

    measure: str
    """Measure id or glob."""
    margin: float
    """Harm that is tolerated, in the unit of the row."""
    condition: str | None = None
    """Condition id or glob; None: the measure's headline rows, or clean ones if it has none."""
    slice: str | None = None
    """``column=value`` or glob; None: all rows together, or whole columns where they are judged."""

    def matches(self, rows: list[Measurement]) -> list[int]:
        """Indices of the rows that the gate speaks of."""
        mine = [
            i
            for i, r in enumerate(rows)
            if fnmatchcase(r.measure, self.measure)
            and (
                # A headline with a slice is that of a whole group column.
                (r.slice is None or r.headline)
                if self.slice is None
                else r.slice is not None and fnmatchcase(r.slice, self.slice)
            )
        ]
        if self.condition is not None:
            return [i for i in mine if fnmatchcase(rows[i].condition, self.condition)]
        return [i for i in mine if rows[i].headline] or [
            i for i in mine if rows[i].condition == "clean"
        ]


@dataclass(frozen=True)
class Waiver:
    """A finding that somebody answers for until a date; it never changes what was found.

    The five globs narrow down what is excused; None matches everything, and at least one is given.
    """

    id: str
    statement: str
    """Who accepts what, and why."""
    expires: str
    """ISO date of the last day on which it holds."""
    measure: str | None = None
    condition: str | None = None
    slice: str | None = None
    group: str | None = None
    student: str | None = None

    def __post_init__(self) -> None:
        name = f"waiver {self.id!r}"
        try:
            date.fromisoformat(self.expires)
        except (TypeError, ValueError):
            raise ConfigError(
                f"{name}.expires", f"is {self.expires!r}", "give an ISO date such as 2026-12-31"
            ) from None
        if not (self.id and self.statement):
            raise ConfigError(name, "lacks its id or statement", "say who accepts what, and why")
        globs = (self.measure, self.condition, self.slice, self.group, self.student)
        if not any(globs):
            raise ConfigError(name, "matches everything", f"narrow it down by {MATCHED}")

    def expired(self, today: str) -> bool:
        """Whether its last day is over; both are ISO dates, which sort as text."""
        return today > self.expires

    def covers(self, place: Place) -> bool:
        """Whether a row lies where the waiver speaks."""
        return all(
            pattern is None or (value is not None and fnmatchcase(value, pattern))
            for pattern, value in (
                (self.measure, place.measure),
                (self.condition, place.condition),
                (self.slice, place.slice),
                (self.group, place.group),
            )
        )

    def covers_group(self, name: str) -> bool:
        """Whether it speaks of a whole group, also one that no row stands for."""
        whole = self.measure is None and self.condition is None and self.slice is None
        return whole and (self.group is None or fnmatchcase(name, self.group))

    def covers_student(self, name: str | None) -> bool:
        """Whether it speaks of a student; of one without a name only if it names none."""
        return self.student is None or (name is not None and fnmatchcase(name, self.student))


@dataclass(frozen=True)
class Shipped:
    """A headline of the report of what was shipped."""

    measure: str
    condition: str
    slice: str | None
    concept: str | None
    null: str | None
    group: str | None
    harm: float
    se: float
    df: float
    family: int


@dataclass(frozen=True)
class Baseline:
    """What was shipped: nothing may become worse than this."""

    source: str
    """Name of the shipped student, for messages."""
    label: str
    """Its label under the present policy."""
    rows: tuple[Shipped, ...]
    """Its judged headlines."""


@dataclass(frozen=True)
class Policy:
    """Everything that :func:`ringtest.verdict.decide` needs besides the rows."""

    alpha: float = margins.ALPHA
    """Level of every one-sided test."""
    min_n: int = margins.MIN_N
    """Least rows of a judged row."""
    min_groups: int = margins.MIN_GROUPS
    """Least passing groups for ``sound``."""
    overrides: dict[str, float] = field(default_factory=dict)
    """Measure id or glob -> margin that replaces the row's own; the longest match counts."""
    gates: tuple[Gate, ...] = ()
    version: int = margins.VERSION
    """Version of the margins."""
    require: tuple[str, ...] = ()
    """Groups of the verdict, or ``benchmark``, that must be judged and pass."""
    inconclusive: Inconclusive = "exit3"
    """What the gate makes of what is undecided; ``require`` is not softened by it."""
    waivers: tuple[Waiver, ...] = ()
    today: str = ""
    """ISO date on which waivers are looked at, so that a decision depends on nothing outside."""
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        if self.inconclusive not in get_args(Inconclusive):
            raise ConfigError(
                "inconclusive",
                f"is {self.inconclusive!r}",
                f"known: {', '.join(get_args(Inconclusive))}",
            )
        if self.waivers and not self.today:
            raise ConfigError("today", "is missing", "waivers expire: give the ISO date of today")

    def margin(self, row: Measurement) -> float:
        """The margin that a row is judged by."""
        if not self.overrides:
            return row.margin
        pattern = self.override(row.measure)
        return row.margin if pattern is None else float(self.overrides[pattern])

    def override(self, measure: str) -> str | None:
        """The pattern of ``overrides`` that counts for a measure: itself, or the longest glob."""
        if measure in self.overrides:
            return measure
        # By length, not by order: a policy's hash does not see in which order they were written.
        found = [p for p in self.overrides if fnmatchcase(measure, p)]
        return max(found, key=lambda p: (len(p), p), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values.

        Fields that came after the first schema are left out where they say nothing: a stored
        policy keeps its hash, and an old reader refuses, rather than misreads, one that uses them.
        """
        out: dict[str, Any] = {name: getattr(self, name) for name in FIRST}
        out["overrides"] = dict(self.overrides)
        out["gates"] = [asdict(g) for g in self.gates]
        if self.require:
            out["require"] = list(self.require)
        if self.inconclusive != "exit3":
            out["inconclusive"] = self.inconclusive
        if self.waivers:
            out["waivers"] = [asdict(w) for w in self.waivers]
            out["today"] = self.today
        if self.baseline is not None:
            out["baseline"] = asdict(self.baseline)
            out["baseline"]["rows"] = [asdict(r) for r in self.baseline.rows]
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Policy:
        """Inverse of :meth:`as_dict`.

        Raises TypeError or KeyError on unknown or missing fields, ConfigError on unknown values.
        """
        given = dict(values)
        missing = set(FIRST) - given.keys()
        if missing:
            raise KeyError(f"policy lacks {sorted(missing)}")
        given["gates"] = tuple(Gate(**g) for g in given["gates"])
        given["require"] = _texts("require", given.get("require", ()))
        given["waivers"] = tuple(Waiver(**w) for w in given.get("waivers", ()))
        base = given.get("baseline")
        if base is not None:
            rows = tuple(Shipped(**r) for r in base["rows"])
            given["baseline"] = Baseline(**{**base, "rows": rows})
        return cls(**given)

    @property
    def hash(self) -> str:
        """Short digest that tells two policies apart."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


FIRST: Final = ("alpha", "min_n", "min_groups", "overrides", "gates", "version")
"""Fields of the first schema, which every stored policy has."""


def _texts(name: str, values: Iterable[Any]) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"{name} is {values!r}, no list of names")
    return tuple(values)
