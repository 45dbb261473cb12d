"""The largest harm over the transformations that the teacher certifies, as one judged row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ringtest import compare, inference, margins
from ringtest.compare import Failure
from ringtest.estimate import Estimate
from ringtest.measure import Measure, PairMeasure
from ringtest.measurement import Measurement, Null
from ringtest.nulls import Drifting, Standing, drift_null

CERTIFIED: Final = "shift.certified"


@dataclass(frozen=True)
class Drift:
    """What one transformation showed of a student beside its teacher."""

    delta: Estimate
    """Student - members."""
    members: float
    student: float
    width: float = 0.0
    """How far another member would lie from these; 0 where that is not known."""
    form: str = ""
    """In which form of the evidence; "" is as it is."""

    @property
    def params(self) -> dict[str, object]:
        """What a row tells besides its numbers."""
        return {"band": self.width} | ({"form": self.form} if self.form else {})


Seen = tuple[str, Drift | Failure]
"""Name of a transformation, and what it showed, or why there is nothing."""


def certified_row(
    standing: Standing, entry: Measure, seen: Sequence[Seen], of: Drifting = "members"
) -> Measurement:
    """The largest harm over the certified transformations, calibrated as a maximum.

    Args:
        standing: whom the student is held against.
        entry: the measure.
        seen: what it showed under each certified transformation.
        of: whose drift the student's is held against.

    The row is that whose harm lies least below its margin, or furthest beyond. Its standard error
    is the largest of the family and its p_fail is multiplied by the family's size: conservative in
    both directions.
    """
    assert entry.group is not None
    drift = isinstance(entry, PairMeasure)
    null: Null = drift_null(standing, of) if drift else "paired"
    floor = standing.drift_floor("certified", entry.group, of)
    if standing.single and entry.group in margins.BAND_GROUPS:
        # A geometry or function group of a single teacher can be passed, but not failed.
        null = "pass only"
    fields = {
        "group": entry.group,
        "margin": floor,
        "statistic": f"drift of {entry.statistic}" if isinstance(entry, PairMeasure) else "",
        **standing.layers_of(entry),
    }
    failures = [f for _, f in seen if isinstance(f, Failure)]
    unknown = [f for f in failures if f.status == "context"]
    if unknown:
        # Without a drift to compare with, nothing here is judged, whatever else went wrong.
        return compare.failed_row(entry, CERTIFIED, unknown[0], **fields)
    if failures:
        judged = {"headline": True, "required": True, "null": null}
        return compare.failed_row(entry, CERTIFIED, failures[0], **fields, **judged)
    made = [
        (
            name,
            compare.row(
                entry,
                CERTIFIED,
                found.delta,
                found.members,
                found.student,
                seed=standing.seed,
                **{**fields, "margin": max(floor, found.width)},
                params=found.params,
            ),
        )
        for name, found in seen
        if isinstance(found, Drift)
    ]
    if not all(r.measured for _, r in made):
        why = Failure("not_measurable", "a certified transformation gave no number")
        return compare.failed_row(
            entry, CERTIFIED, why, headline=True, required=True, null=null, **fields
        )
    # Margins differ where members scatter. The least distance below a margin, with the largest
    # error: no other row of the family would pass less easily.
    name, largest = max(made, key=lambda pair: pair[1].harm - pair[1].margin)
    se = max(r.se for _, r in made)
    low, high = inference.interval(largest.delta, se, largest.df, margins.CI_LEVEL)
    return replace(
        largest,
        se=se,
        ci_low=low,
        ci_high=high,
        n=min(r.n for _, r in made),
        family=len(made),
        params={**largest.params, "largest": name, "certified": [n for n, _ in made]},
        headline=True,
        required=True,
        null=null,
    )
