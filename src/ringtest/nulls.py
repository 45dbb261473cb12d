"""Off support: the member test, its band, and what takes the band's place where it is void."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ringtest import compare, inference, margins
from ringtest import estimate as estimates
from ringtest.compare import Failure
from ringtest.condition import Condition
from ringtest.estimate import Estimate
from ringtest.likeness import Layers, Likeness
from ringtest.measure import Measure, PairMeasure
from ringtest.measurement import Measurement, Null

OFF_SUPPORT: Final = "shift.off_support"
Drifting = Literal["members", "references"]
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
    def kin(self) -> bool:
        """Honest models of the student's own architecture were given."""
        return self.references and self.kindred

    def floor(self, where: str, group: str, own: bool | None = None) -> float:
        """The floor of a margin; lower against models of the student's ``own`` architecture."""
        own = self.same_architecture if own is None else own
        special = margins.OWN_FLOORS[where] if own else {}
        return special.get(group, margins.FLOORS[where][group])

    @property
    def drifts(self) -> tuple[Drifting, ...]:
        """Whose drift a student's is held against: it passes against any, fails beyond all."""
        if self.members == 1:
            return ("references",) if self.references else ("members",)
        if not self.kin:
            return ("members",)
        # What an architecture does to drift cancels only against its own kind.
        return ("members", "references") if self.same_architecture else ("references",)

    def drift_floor(self, where: str, group: str, of: Drifting) -> float:
        """The floor of a drift; references of the student's kind are of its architecture."""
        return self.floor(where, group, own=True if of == "references" and self.kin else None)

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
    asked: dict[str, object]
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
    # Another form counts where it, too, says something of the members under every condition.
    forms = [kept] + [
        list(form)
        for form in list(zip(*(f.forms for f in kept), strict=False))[1:]
        if all(map(beyond_chance, form))
    ]
    names = [c.key for c, _ in usable]
    kin = standing.kin
    out = []
    if standing.members == 1 and not kin:
        out.append(
            _kindest(_level_row(standing, entry, f, names, {**fields, **judged}) for f in forms)
        )
    if standing.members > 1:
        asked = {**fields, **judged}
        context = kin or group in compared
        out += _member_rows(standing, entry, forms, names, asked, context)
    if standing.references:
        margin = standing.floor("references", group)
        asked = {**fields, **judged, "null": "references", "margin": margin}
        made = _kindest(_null_row(standing, entry, f, "references", names, asked) for f in forms)
        if not kin:
            # What an architecture does to similarity would be held against the student.
            made = replace(made, headline=False, required=False, reason=_NOT_KIN)
        out.append(made)
    return out


def without_elsewhere(rows: Sequence[Measurement]) -> list[Measurement]:
    """The rows as if no inputs from elsewhere had been given: what they excused counts again.

    Args:
        rows: of one student.
    """
    kept = [r for r in rows if not r.condition.startswith("shift.unlabelled.")]
    if any(r.headline and r.null == "references" for r in kept):
        return kept
    return [replace(r, headline=True, required=True) if of_void_band(r) else r for r in kept]


def of_void_band(row: Measurement) -> bool:
    """Whether a row is one of the two that stand for a void band: to be failed, to be passed."""
    return row.null == "band void" or (row.null == "pass only" and row.condition == OFF_SUPPORT)


def _kindest(rows: Iterable[Measurement]) -> Measurement:
    """The row of the form in which the student lies least beyond its margin.

    Rows without a number come last.
    """
    return min(rows, key=lambda r: r.harm - r.margin if r.measured else math.inf)


def _member_rows(
    standing: Standing,
    entry: PairMeasure,
    forms: list[list[Likeness]],
    names: list[str],
    fields: dict[str, object],
    context: bool,
) -> list[Measurement]:
    """The row beside the member band; two for a student of another architecture.

    ``context``: the band is not needed where it is void, as references of the student's own kind
    are given, or differences elsewhere are judged. There it would only accuse the honest.
    """

    def beside(null: Null, own: bool | None = None) -> Measurement:
        floor = standing.floor("off support", str(entry.group), own)
        asked = {**fields, "null": null}
        return _kindest(_band_row(standing, entry, f, names, asked, floor) for f in forms)

    if standing.same_architecture:
        return [beside("band")]
    # Beyond the wide margin hardly an honest student lies. Within it fallen students do, too: a
    # pass takes what it takes of the members' own architecture.
    found = [beside("band void"), beside("pass only", own=True)]
    return [replace(r, headline=False, required=False) for r in found] if context else found


def _band_row(
    standing: Standing,
    entry: PairMeasure,
    kept: list[Likeness],
    names: list[str],
    fields: dict[str, object],
    floor: float,
) -> Measurement:
    made = _null_row(standing, entry, kept, "members", names, fields)
    width = band_width(str(entry.group), np.mean([f.left_out for f in kept], axis=0))
    # What the floor hides stays in the report, for whoever holds the row against another.
    return replace(made, margin=max(floor, width), params={**made.params, "band": width})


def _null_row(
    standing: Standing,
    entry: PairMeasure,
    kept: list[Likeness],
    of: Drifting,
    names: list[str],
    fields: dict[str, object],
) -> Measurement:
    nulls = [null for f in kept if (null := band(f, of)) is not None]
    student = estimates.mean([f.student for f in kept])
    null = estimates.mean(nulls)
    params = {
        **_told(kept, names),
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
        params=_told(kept, names),
        **fields,
    )


def _told(kept: list[Likeness], names: list[str]) -> dict[str, object]:
    """What a row tells of the conditions, and of the form of the evidence if it is another."""
    form = kept[0].form
    return {"conditions": names} | ({"form": form} if form else {})


def drift_null(standing: Standing, of: Drifting) -> Null:
    """The null of a drift row: a single teacher's is told by its references alone."""
    return "references" if of == "references" and standing.members > 1 else "drift"


def band(found: Likeness, of: Drifting) -> Estimate | None:
    """The members among each other, or the references beside the members."""
    return found.members if of == "members" else found.references


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


def at_chance(found: Likeness) -> bool:
    """Whether the members' agreement was measured, and does not lie beyond chance."""
    if found.members is None:
        return False
    measured = math.isfinite(found.members.value)
    measured = measured and math.isfinite(inference.standard_error(found.members))
    return measured and not beyond_chance(found)


def band_width(group: str, shown: Sequence[float] | NDArray[np.float64]) -> float:
    """How far another member would lie from these, t sqrt(V), shrunk towards a prior.

    V = [nu0 s0^2 + (M-1)(kappa SD)^2] / (nu0 + M - 1), kappa = (M-1)/(M-2) sqrt(1 + 1/M), SD over
    members of what each shows beside the others. 0 for two members and for agreement, which are
    held against the floor alone.

    Args:
        group: whose prior counts.
        shown: (M,) a_k, or how much a_k changes from one place to another.
    """
    members = len(shown)
    if members < 3 or group not in margins.BAND_PRIOR_SD:
        return 0.0
    kappa = (members - 1) / (members - 2) * math.sqrt(1 + 1 / members)
    nu0, s0 = margins.BAND_PRIOR_DF, margins.BAND_PRIOR_SD[group]
    nu = nu0 + members - 1
    v = (nu0 * s0**2 + (members - 1) * (kappa * float(np.std(shown, ddof=1))) ** 2) / nu
    return float(special.stdtrit(nu, 1 - margins.ALPHA)) * math.sqrt(v)
