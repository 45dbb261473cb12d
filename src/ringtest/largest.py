"""The largest harm over the transformations that the teacher certifies, as one judged row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ringtest import compare, inference, margins
from ringtest.compare import Failure
from ringtest.estimate import Estimate
from ringtest.measure import Measure, PairMeasure
from ringtest.measurement import Measurement, Null
from ringtest.nulls import Standing

CERTIFIED: Final = "shift.certified"

Seen = tuple[str, Estimate | Failure, float, float]
"""Name of a transformation, the difference or why there is none, the teacher's and student's."""


def certified_row(standing: Standing, entry: Measure, seen: Sequence[Seen]) -> Measurement:
    """The largest harm over the certified transformations, calibrated as a maximum.

    Args:
        standing: whom the student is held against.
        entry: the measure.
        seen: what it showed under each certified transformation.

    Its standard error is the largest of the family and its p_fail is multiplied by the
    family's size: conservative in both directions.
    """
    assert entry.group is not None
    drift = isinstance(entry, PairMeasure)
    null: Null = "drift" if drift else "paired"
    if standing.single and entry.group in margins.BAND_GROUPS:
        # A geometry or function group of a single teacher can be passed, but not failed.
        null = "pass only"
    fields = {
        "group": entry.group,
        "margin": margins.CERTIFIED[entry.group],
        "statistic": f"drift of {entry.statistic}" if isinstance(entry, PairMeasure) else "",
        **standing.layers_of(entry),
    }
    failures = [f for _, f, _, _ in seen if isinstance(f, Failure)]
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
            compare.row(entry, CERTIFIED, delta, teacher, student, seed=standing.seed, **fields),
        )
        for name, delta, teacher, student in seen
        if isinstance(delta, Estimate)
    ]
    if not all(r.measured for _, r in made):
        why = Failure("not_measurable", "a certified transformation gave no number")
        return compare.failed_row(
            entry, CERTIFIED, why, headline=True, required=True, null=null, **fields
        )
    name, largest = max(made, key=lambda pair: pair[1].harm)
    se = max(r.se for _, r in made)
    low, high = inference.interval(largest.delta, se, largest.df, margins.CI_LEVEL)
    return replace(
        largest,
        se=se,
        ci_low=low,
        ci_high=high,
        n=min(r.n for _, r in made),
        family=len(made),
        params={"largest": name, "certified": [n for n, _ in made]},
        headline=True,
        required=True,
        null=null,
    )
