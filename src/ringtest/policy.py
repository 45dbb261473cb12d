"""What a set of rows is judged by: levels, margins, own gates, waivers and what was shipped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, Protocol, get_args

from ringtest import checked, margins
from ringtest.errors import ConfigError
from ringtest.measurement import Measurement

Inconclusive = Literal["exit3", "fail", "warn", "pass"]
"""What a gate makes of whatever the evidence does not decide."""


MATCHED: Final = "measure, condition, slice, group or student"
"""What a waiver can be matched by."""
LEAST_ALPHA: Final = 1e-6
"""Standard errors of some thousand resamples and tails of a few degrees of freedom tell no smaller
p-values; and somewhere below, 1 - alpha is 1."""


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
    """Condition id or glob; None: each measure's headline rows, or clean ones if it has none."""
    slice: str | None = None
    """``column=value`` or glob; None: all rows together, or whole columns where they are judged."""
    statistic: str | None = None
    """Statistic or glob, for a measure that gives several, such as ``mean*``; None: all of them."""

    def __post_init__(self) -> None:
        checked.text("gate.measure", self.measure)
        checked.number(f"gate {self.measure!r}.margin", self.margin)
        for name in ("condition", "slice", "statistic"):
            if getattr(self, name) is not None:
                checked.text(f"gate {self.measure!r}.{name}", getattr(self, name))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, as those of the policy."""
        out = asdict(self)
        if self.statistic is None:
            del out["statistic"]
        return out

    def matches(self, rows: list[Measurement]) -> list[int]:
        """Indices of the rows that the gate speaks of."""
        mine = [
            i
            for i, r in enumerate(rows)
            if fnmatchcase(r.measure, self.measure)
            and (self.statistic is None or fnmatchcase(r.statistic, self.statistic))
            and (
                # A headline with a slice is that of a whole group column.
                (r.slice is None or r.headline)
                if self.slice is None
                else r.slice is not None and fnmatchcase(r.slice, self.slice)
            )
        ]
        if self.condition is not None:
            return [i for i in mine if fnmatchcase(rows[i].condition, self.condition)]
        # Of each measure by itself: the headlines of one must not hide the rows of another.
        judged = {rows[i].measure for i in mine if rows[i].headline}
        return [
            i
            for i in mine
            if rows[i].headline or (rows[i].measure not in judged and rows[i].condition == "clean")
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
        checked.text("waiver.id", self.id)
        name = f"waiver {self.id!r}"
        checked.text(f"{name}.statement", self.statement)
        object.__setattr__(self, "expires", checked.day(f"{name}.expires", self.expires))
        globs = {k: v for k in _GLOBS if (v := getattr(self, k)) is not None}
        for key, glob in globs.items():
            checked.text(f"{name}.{key}", glob)
        if not any(map(checked.names_something, globs.values())):
            fix = f"name what it answers for by {MATCHED}, not by wildcards alone"
            raise ConfigError(name, "matches everything", fix)

    def expired(self, today: str) -> bool:
        """Whether its last day is over; both are ISO dates of one form, which sort as text."""
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


_GLOBS: Final = ("measure", "condition", "slice", "group", "student")


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

    def __post_init__(self) -> None:
        checked.text("baseline.measure", self.measure)
        checked.text("baseline.condition", self.condition)
        for name in ("harm", "se", "df"):
            checked.number(f"baseline {self.measure!r}.{name}", getattr(self, name))
        checked.count(f"baseline {self.measure!r}.family", self.family, 1)


@dataclass(frozen=True)
class Baseline:
    """What was shipped: nothing may become worse than this."""

    source: str
    """Name of the shipped student, for messages."""
    label: str
    """Its label under the present policy."""
    rows: tuple[Shipped, ...]
    """Its judged headlines."""
    same: bool = False
    """Whether it has the weights of the student that is judged: equal rows are then no worse."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", checked.every("baseline.rows", self.rows, Shipped))


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
        checked.number("alpha", self.alpha)
        if not LEAST_ALPHA <= self.alpha < 0.5:
            fix = f"give a level from {LEAST_ALPHA:g} to below 0.5"
            raise ConfigError("alpha", f"is {self.alpha:g}", fix)
        checked.count("min_n", self.min_n, 2)
        checked.count("min_groups", self.min_groups, 1)
        checked.count("version", self.version, 1)
        if not isinstance(self.overrides, dict):
            raise ConfigError("overrides", "are no dict", "give measure or glob -> margin")
        for pattern, margin in self.overrides.items():
            checked.text("overrides", pattern)
            checked.number(f"overrides {pattern!r}", margin, 0.0)
        # Frozen: what the caller still holds may change.
        object.__setattr__(self, "overrides", dict(self.overrides))
        for name, kind in (("gates", Gate), ("require", str), ("waivers", Waiver)):
            object.__setattr__(self, name, checked.every(name, getattr(self, name), kind))
        if self.inconclusive not in get_args(Inconclusive):
            known = ", ".join(get_args(Inconclusive))
            raise ConfigError(
                "inconclusive", f"is {checked.shown(self.inconclusive)}", f"known: {known}"
            )
        ids = [w.id for w in self.waivers]
        for name in ids:
            if ids.count(name) > 1:
                raise ConfigError(f"waiver {name!r}", "stands twice", "rename one of them")
        if self.today != "":
            object.__setattr__(self, "today", checked.day("today", self.today))
        elif self.waivers:
            raise ConfigError("today", "is missing", "waivers expire: give the ISO date of today")
        if self.baseline is not None and not isinstance(self.baseline, Baseline):
            raise ConfigError("baseline", "is no Baseline", "give the baseline to the gate")

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
        out["gates"] = [g.as_dict() for g in self.gates]
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
            if not self.baseline.same:
                del out["baseline"]["same"]
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
        given["gates"] = tuple(Gate(**g) for g in checked.every("gates", given["gates"], dict))
        waivers = checked.every("waivers", given.get("waivers", ()), dict)
        given["waivers"] = tuple(Waiver(**w) for w in waivers)
        base = given.get("baseline")
        if base is not None:
            rows = checked.every("baseline.rows", base["rows"], dict)
            given["baseline"] = Baseline(**{**base, "rows": tuple(Shipped(**r) for r in rows)})
        return cls(**given)

    @property
    def hash(self) -> str:
        """Short digest that tells two policies apart."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


FIRST: Final = ("alpha", "min_n", "min_groups", "overrides", "gates", "version")
"""Fields of the first schema, which every stored policy has."""
