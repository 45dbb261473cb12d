"""What students of a teacher that was never trained read where a student has its reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ringtest import estimate as estimates
from ringtest.compare import Failure, Paired, nearest
from ringtest.estimate import Estimate
from ringtest.measure import Reading


def controlled(
    found: list[Paired] | Failure,
    readings: Mapping[str, list[Reading] | Failure],
    controls: Sequence[str],
) -> list[Paired] | Failure:
    """The same with what the controls, if there are any, read in each place."""
    if isinstance(found, Failure) or not controls:
        return found
    return [replace(p, control=_control(p.reading, readings, controls)) for p in found]


def _control(
    reading: Reading, readings: Mapping[str, list[Reading] | Failure], controls: Sequence[str]
) -> Estimate | str:
    """Mean of the controls in the place of a reading, on the same rows; or why there is none."""
    theirs = []
    for name in controls:
        found = readings[name]
        if isinstance(found, Failure):
            return found.reason
        match = nearest(reading, found)
        if match is None or match.reason:
            return f"{name}: {match.reason if match else 'is not read here'}"
        if match.estimate.units != reading.estimate.units:
            return f"{name}: is read on other rows"
        theirs.append(match.estimate)
    return estimates.mean(theirs)
