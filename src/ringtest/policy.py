"""What a set of rows is judged by: levels, margins and a user's own gates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ringtest import margins
from ringtest.measurement import Measurement


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
class Policy:
    """Everything that :func:`ringtest.verdict.decide` needs besides the rows."""

    alpha: float = margins.ALPHA
    """Level of every one-sided test."""
    min_n: int = margins.MIN_N
    """Least rows of a judged row."""
    min_groups: int = margins.MIN_GROUPS
    """Least passing groups for ``sound``."""
    overrides: dict[str, float] = field(default_factory=dict)
    """Measure id -> margin that replaces the row's own."""
    gates: tuple[Gate, ...] = ()
    version: int = margins.VERSION
    """Version of the margins."""

    def margin(self, row: Measurement) -> float:
        """The margin that a row is judged by."""
        return float(self.overrides.get(row.measure, row.margin))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        out = asdict(self)
        out["gates"] = [asdict(g) for g in self.gates]
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Policy:
        """Inverse of :meth:`as_dict`. Raises TypeError on unknown or missing fields."""
        gates = tuple(Gate(**g) for g in values["gates"])
        return cls(**{**values, "gates": gates})

    @property
    def hash(self) -> str:
        """Short digest that tells two policies apart."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
