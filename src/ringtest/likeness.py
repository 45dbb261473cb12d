"""From prepared layers to the likeness of the student to the members, beside that of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ringtest import compare
from ringtest import estimate as estimates
from ringtest.compare import Failure, guarded
from ringtest.condition import Condition
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, PairMeasure, Setting
from ringtest.measurement import Measurement


@dataclass(frozen=True)
class Likeness:
    """A similarity of one student to the members, beside those of the members to each other."""

    student: Estimate
    """Mean over members k of f(student, member k)."""
    members: Estimate | None
    """Mean over pairs of members; None for a single teacher."""
    references: Estimate | None
    """Mean over references and members; None without references."""
    left_out: tuple[float, ...]
    """a_k: mean over j != k of f(member k, member j)."""
    chance: float
    heaviest: float | None
    """Largest share of one row in a layer's squared norm, where the measure tells it."""
    form: str = ""
    """In which form of the evidence; "" is as it is."""
    other: Likeness | None = None
    """The same in another form of the evidence, such as units at one scale."""

    @property
    def forms(self) -> tuple[Likeness, ...]:
        """This, and all other forms."""
        return (self,) if self.other is None else (self, *self.other.forms)


def compute(
    entry: PairMeasure,
    evidence: Mapping[str, Evidence],
    members: Sequence[str],
    students: Sequence[str],
    references: Mapping[str, Sequence[str]],
    at: Setting,
) -> dict[str, Likeness | Failure]:
    """Similarity of every student to the members, computed once for members and references.

    Args:
        entry: the similarity.
        evidence: what each model showed.
        members: names of the members.
        students: names of the students.
        references: the references of each student.
        at: the condition.
    """
    honest = list(dict.fromkeys(name for names in references.values() for name in names))
    everyone = (*members, *honest, *students)
    forms = {
        name: guarded(
            evidence[name],
            lambda e: {
                form: guarded(shown, lambda s: entry.prepare(s, at))
                for form, shown in entry.forms(e).items()
            },
        )
        for name in everyone
    }
    named = next((list(f) for f in forms.values() if not isinstance(f, Failure)), [""])
    out: dict[str, Likeness | Failure] = {}
    for form in reversed(named):
        lost = Failure("error", f"not every model has the form {form!r}")
        prepared = {n: f if isinstance(f, Failure) else f.get(form, lost) for n, f in forms.items()}
        found = _in_one_form(entry, prepared, members, students, references)
        for name, like in found.items():
            other = out.get(name)
            if isinstance(like, Likeness):
                other = other if isinstance(other, Likeness) else None
                out[name] = replace(like, form=form, other=other)
            elif form == named[0] or other is None:
                out[name] = like  # the form that evidence comes in has to be there
    return out


def _in_one_form(
    entry: PairMeasure,
    prepared: Mapping[str, Any],
    members: Sequence[str],
    students: Sequence[str],
    references: Mapping[str, Sequence[str]],
) -> dict[str, Likeness | Failure]:
    honest = list(dict.fromkeys(name for names in references.values() for name in names))
    for name in (*members, *honest):
        if isinstance(prepared[name], Failure):
            return dict.fromkeys(students, replace(prepared[name], of_teacher=True))

    def similarity(a: str, b: str) -> Estimate:
        return entry.compare(prepared[a], prepared[b])

    def to_members(name: str) -> Estimate:
        return estimates.mean([similarity(name, m) for m in members])

    try:
        between = {
            (j, k): similarity(members[j], members[k])
            for k in range(len(members))
            for j in range(k)
        }
        band = estimates.mean(list(between.values())) if between else None
        nulls = {name: to_members(name) for name in honest}
        chance = entry.chance([prepared[m] for m in members])
    except NotMeasurable as error:
        return dict.fromkeys(students, Failure("not_measurable", str(error), of_teacher=True))
    left_out = tuple(
        float(np.mean([e.value for pair_, e in between.items() if k in pair_]))
        for k in range(len(members) if between else 0)
    )
    out: dict[str, Likeness | Failure] = {}
    for name in students:
        if isinstance(prepared[name], Failure):
            out[name] = prepared[name]
            continue
        try:
            mine = to_members(name)
        except NotMeasurable as error:
            out[name] = Failure("not_measurable", str(error))
            continue
        shares = [getattr(prepared[n], "heaviest", None) for n in (*members, name)]
        heaviest = max((s for s in shares if s is not None), default=None)
        own = [nulls[r] for r in references.get(name, ())]
        null = estimates.mean(own) if own else None
        out[name] = Likeness(mine, band, null, left_out, chance, heaviest)
    return out


def row(
    entry: PairMeasure, condition: Condition, found: Likeness | Failure, layers: Layers, seed: int
) -> Measurement:
    """The context row of a similarity under one condition."""
    if isinstance(found, Failure):
        return compare.failed_row(entry, condition.id, found, severity=condition.severity)
    null = found.members or found.references
    delta = found.student - null if null is not None else found.student
    params = {"student_raw": entry.raw(found.student.value)}
    if null is not None:
        params["teacher_raw"] = entry.raw(null.value)
    if found.heaviest is not None and found.heaviest > HEAVY:
        params["heaviest_row"] = found.heaviest
    made = compare.row(
        entry,
        condition.id,
        delta,
        null.value if null is not None else math.nan,
        found.student.value,
        seed=seed,
        severity=condition.severity,
        params=params,
        statistic=entry.statistic,
        **layers.fields,
    )
    return compare.as_level(made) if null is None else made


HEAVY = 0.05
"""A row that holds more than this share of a layer's squared norm is told."""


@dataclass(frozen=True)
class Layers:
    """The last hidden layers that a similarity compares."""

    teacher: str | None
    student: str | None

    @property
    def fields(self) -> dict[str, str | None]:
        """As fields of a row."""
        return {"teacher_layer": self.teacher, "student_layer": self.student}
