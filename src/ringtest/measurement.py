"""One row of the report: a comparison of student and teacher on one measure and condition."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

Direction = Literal["higher", "lower"]
Status = Literal["pass", "fail", "inconclusive", "not_measurable", "error", "context"]
Null = Literal["paired", "band", "band void", "references", "level", "pass only", "drift"]
"""What a headline is held against.

``paired``: the mean member on the same rows. ``drift``: the members' own drift (difference in
differences). ``band``: the members among each other, off support; ``band void``: the same for a
student of another architecture, which can be failed but not passed. ``references``: models of the
student's kind, off support and in drift. ``level``: an absolute level, which can be passed but not
failed. ``pass only``: likewise, the paired difference of a single teacher's geometry or function
group, and the member band for a student of another architecture.
"""
PASS_ONLY: Final = ("level", "pass only")
FAIL_ONLY: Final = ("band void",)

AREA: Final = "area over severity"
"""Statistic of a row that sums up a curve: its mean from severity 0 to the largest."""
ERROR_RATIO: Final = "error over the teacher's"
"""Statistic of a row that sums up a curve of errors: their sum over that of the teacher."""
RISE_RATIO: Final = "rise of error over the teacher's"
"""The same of what the errors lie above those on clean rows."""
STATUSES: Final = ("pass", "fail", "inconclusive", "not_measurable", "error", "context")


@dataclass
class Measurement:
    """A row of ``report.json``'s ``measurements``; NaN is written as null."""

    measure: str
    """Registered id, such as ``similarity.cka``."""
    area: str
    """Folder that provides the measure."""
    condition: str
    """Condition id, or the name of the averaged or largest-of family."""
    severity: float | None = None
    """Strength of the condition in its own unit."""
    params: dict[str, Any] = field(default_factory=dict)
    """Anything else that a reader needs, JSON values only."""
    slice: str | None = None
    """``column=value``, or None for all rows."""
    concept: str | None = None
    """What is decoded, or None."""
    statistic: str = ""
    """Scale of the values, such as ``atanh(0.9 cka)``."""
    teacher_layer: str | None = None
    student_layer: str | None = None
    teacher: float = math.nan
    """Mean member; for similarities member to member."""
    student: float = math.nan
    """The student; for similarities student to members."""
    delta: float = math.nan
    """student - teacher."""
    harm: float = math.nan
    """delta turned so that positive is worse."""
    se: float = math.nan
    df: float = math.nan
    ci_low: float = math.nan
    """Confidence interval of delta."""
    ci_high: float = math.nan
    ci_level: float = math.nan
    margin: float = math.nan
    """Harm up to this is tolerated; NaN for context."""
    p_fail: float = math.nan
    """p-value of H0: harm <= margin."""
    p_pass: float = math.nan
    """p-value of H0: harm >= margin."""
    n: int = 0
    unit: str = ""
    """Unit of teacher, student, delta and harm."""
    direction: Direction = "higher"
    """Which way is better."""
    headline: bool = False
    """Judged (together with the other headlines of its group)."""
    required: bool = False
    """Must pass for the verdict ``sound``."""
    status: Status = "context"
    group: str | None = None
    """Group of the verdict that this headline speaks for; ``benchmark`` for the benchmark."""
    null: Null | None = None
    """What the headline is held against."""
    family: int = 1
    """Of how many rows this is the largest harm: p_fail is multiplied by it (Bonferroni)."""
    reason: str = ""
    """Why it could not be measured, or is context, in words."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: NaN and infinities become None."""
        out = asdict(self)
        for key, value in out.items():
            if isinstance(value, float) and not math.isfinite(value):
                out[key] = None
        return out

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Measurement:
        """Inverse of :meth:`as_dict`. Raises KeyError or TypeError on missing or unknown fields."""
        if row.keys() != _NAMES:
            missing, unknown = _NAMES - row.keys(), row.keys() - _NAMES
            raise KeyError(f"missing {sorted(missing)}, unknown {sorted(unknown)}")
        values = dict(row)
        for name in _FLOATS:
            if values[name] is None:
                values[name] = math.nan
        # Past the constructor, which takes most of the time of loading a large report.
        made = cls.__new__(cls)
        made.__dict__.update(values)
        return made

    @property
    def measured(self) -> bool:
        """True if every number that a decision needs is finite."""
        return all(
            math.isfinite(v) for v in (self.teacher, self.student, self.delta, self.harm, self.se)
        )

    @property
    def drifts(self) -> bool:
        """Whether two drifts are compared, that of members or that of references being the null."""
        elsewhere = self.condition != "shift.off_support"
        return self.null == "drift" or (self.null == "references" and elsewhere)


_NAMES: Final = frozenset(f.name for f in fields(Measurement))
_FLOATS: Final = tuple(f.name for f in fields(Measurement) if f.type == "float")
