"""Off support: the member test, its band, and what takes the band's place where it is void."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import special

from ringtest import compare, inference, margins
from ringtest import estimate as estimates
from ringtest.compare import Failure, Layers, Likeness
from ringtest.condition import Condition
from ringtest.estimate import Estimate
from ringtest.measure import Measure, PairMeasure
from ringtest.measurement import Measurement, Null

OFF_SUPPORT: Final = "shift.off_support"
_NOT_KIN: Final = (
    "The references have another architecture than the student: off support they are context."
)


@dataclass
class Standing:
    """How a student stands to its teacher: what decides which nulls are fair to it."""

    members: int
    same_architecture: bool
    """The student has the module types and parameter shapes of every member."""
    references: bool
    """Honest models were given."""
    embedding: bool
    """The benchmark of an embedding model is its fidelity on clean data."""
    layers: Layers
    seed: int
    kindred: bool = True
    """The references have the student's own module types and parameter shapes."""

    @property
    def single(self) -> bool:
        """A single teacher without references: levels can be passed, nothing can fail by them."""
        return self.members == 1 and not self.references

    def layers_of(self, entry: Measure) -> dict[str, str | None]:
        """The layers that a row speaks of; outputs have none."""
        return {} if entry.group == "function" else self.layers.fields


def off_support_rows(
    standing: Standing,
    entry: PairMeasure,
    seen: Sequence[tuple[Condition, Likeness | Failure]],
    compared: set[str | None],
) -> list[Measurement]:
    """The member test, averaged over the off-support conditions on which members agree."""
    group = entry.group
    assert group is not None
    fields = {"group": group, "statistic": entry.statistic, **standing.layers_of(entry)}
    judged = {"headline": True, "required": True}
    # A condition that the teacher itself cannot bear says nothing about the student.
    failures = [f for _, f in seen if isinstance(f, Failure)]
    own = [f for f in failures if not f.of_teacher]
    if own:
        return [compare.failed_row(entry, OFF_SUPPORT, own[0], null="band", **fields, **judged)]
    usable = [(c, f) for c, f in seen if isinstance(f, Likeness) and beyond_chance(f)]
    if not usable:
        why = Failure("not_measurable", "off support the members agree no more than by chance")
        why = failures[0] if failures else why
        return [compare.failed_row(entry, OFF_SUPPORT, why, null="band", **fields, **judged)]
    kept = [f for _, f in usable]
    names = [c.key for c, _ in usable]
    kin = standing.references and standing.kindred
    out = []
    if standing.members == 1 and not kin:
        out.append(_level_row(standing, entry, kept, names, {**fields, **judged}))
    if standing.members > 1:
        bands = [f.members for f in kept if f.members is not None]
        null: Null = "band"
        if not standing.same_architecture and not kin:
            null = "band void"
        made = _null_row(standing, entry, kept, bands, names, {**fields, **judged})
        made = replace(made, null=null, margin=band_margin(group, kept, standing.members))
        if null == "band void" and group in compared:
            # Differences need no band; beside them a void band would only accuse the honest.
            made = replace(made, headline=False, required=False)
        out.append(made)
    if standing.references:
        nulls = [f.references for f in kept if f.references is not None]
        made = _null_row(standing, entry, kept, nulls, names, {**fields, **judged})
        made = replace(made, null="references", margin=margins.REFERENCES[group])
        if not kin:
            # What an architecture does to similarity would be held against the student.
            made = replace(made, headline=False, required=False, reason=_NOT_KIN)
        out.append(made)
    return out


def _null_row(
    standing: Standing,
    entry: PairMeasure,
    kept: list[Likeness],
    nulls: list[Estimate],
    names: list[str],
    fields: dict[str, object],
) -> Measurement:
    student = estimates.mean([f.student for f in kept])
    null = estimates.mean(nulls)
    params = {
        "conditions": names,
        "teacher_raw": entry.raw(null.value),
        "student_raw": entry.raw(student.value),
    }
    return compare.row(
        entry,
        OFF_SUPPORT,
        student - null,
        null.value,
        student.value,
        seed=standing.seed,
        params=params,
        **fields,
    )


def _level_row(
    standing: Standing,
    entry: PairMeasure,
    kept: list[Likeness],
    names: list[str],
    fields: dict[str, object],
) -> Measurement:
    """A single teacher: as near to it as a near-copy is, on the similarity's own scale."""
    assert entry.group is not None
    raws = [
        replace(f.student * entry.slope(f.student.value), value=entry.raw(f.student.value))
        for f in kept
    ]
    student = estimates.mean(raws)
    return compare.row(
        entry,
        OFF_SUPPORT,
        minus_constant(student, 1.0),
        1.0,
        student.value,
        seed=standing.seed,
        unit="similarity",
        null="level",
        margin=1.0 - margins.LEVELS[entry.group],
        params={"conditions": names},
        **fields,
    )


def band(found: Likeness) -> Estimate | None:
    """The members among each other; for a single teacher the references, if there are any."""
    return found.members or found.references


def minus_constant(e: Estimate, constant: float) -> Estimate:
    """The difference from a number that is known exactly."""
    return replace(e, value=e.value - constant)


def beyond_chance(found: Likeness) -> bool:
    """Whether the members agree with each other beyond chance (one-sided test at alpha)."""
    if found.members is None:
        return True
    gap = found.members.value - found.chance
    se = inference.standard_error(found.members)
    p, _ = inference.p_values(gap, 0.0, se, found.members.dof, 1)
    return p <= margins.ALPHA


def band_margin(group: str, kept: Sequence[Likeness], members: int) -> float:
    """max(floor, t sqrt(V)): the member band, shrunk towards its prior.

    V = [nu0 s0^2 + (M-1)(kappa SD)^2] / (nu0 + M - 1), kappa = (M-1)/(M-2) sqrt(1 + 1/M), SD over
    members of a_k averaged over the conditions. Two members, and agreement: the floor alone.
    """
    floor = margins.OFF_SUPPORT[group]
    if members < 3 or group not in margins.BAND_PRIOR_SD:
        return floor
    a = np.mean([f.left_out for f in kept], axis=0)
    kappa = (members - 1) / (members - 2) * math.sqrt(1 + 1 / members)
    nu0, s0 = margins.BAND_PRIOR_DF, margins.BAND_PRIOR_SD[group]
    nu = nu0 + members - 1
    v = (nu0 * s0**2 + (members - 1) * (kappa * float(np.std(a, ddof=1))) ** 2) / nu
    return max(floor, float(special.stdtrit(nu, 1 - margins.ALPHA)) * math.sqrt(v))
