"""What averaging real values gains in squared error: the ambiguity of the members.

mean squared error of the members - squared error of their mean = mean squared distance of the
members from their mean, exactly and at every item. Source: Krogh & Vedelsby 1995 (NeurIPS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ringtest.ensembles.effective import Effective
from ringtest.ensembles.measured import Measured, Units, nothing
from ringtest.errors import DataError
from ringtest.estimate import Array, Estimate, ratio, row_mean


@dataclass(frozen=True)
class Ambiguity:
    """Squared errors of an ensemble of real values, in the units that they were given in."""

    member: Estimate
    """Mean squared error of a member, lower is better."""
    mean: Estimate
    """Of the members' mean."""
    ambiguity: Estimate
    """``member`` - ``mean``, at least 0."""
    votes: Effective
    """``member`` / ``mean``: how many members of independent, unbiased errors would gain as much.
    It is M / (1 + (M - 1) rho) with rho the members' mean product of errors over their mean square:
    1 if all err alike, M if their errors are uncorrelated around 0."""


def of(errors: Array, units: Units = None) -> Ambiguity:
    """The split of one ensemble.

    Args:
        errors: (M, n, k) prediction - target of every member, item and column; M at least 2.
        units: (n,) code of the independent unit of each item; None: each is one.

    Raises:
        DataError: another shape, or a number that is not finite.
    """
    if errors.ndim != 3 or errors.shape[0] < 2 or not errors.size:
        fix = "give (member, item, column) of two members or more"
        raise DataError("errors", f"of shape {errors.shape}", fix)
    if not np.isfinite(errors).all():
        raise DataError("errors", "hold NaN or infinity", "leave such items out for all members")
    members = errors.shape[0]
    each = np.square(errors).mean((0, 2))
    together = np.square(errors.mean(0)).mean(1)
    around = np.square(errors - errors.mean(0)).mean((0, 2))
    member, mean = row_mean(each, units), row_mean(together, units)
    rho = _correlation(member, mean, members)
    votes = Measured(ratio(member, mean)) if mean.value > 0 else _NO_ERROR
    return Ambiguity(
        member,
        mean,
        row_mean(around, units),
        # Where all err alike nothing widens the interval: there is no share of other answers.
        Effective(members, votes if rho.measured else rho, rho, math.inf),
    )


_NO_ERROR = nothing("the members' mean makes no error")


def _correlation(member: Estimate, mean: Estimate, members: int) -> Measured:
    """Mean over pairs of the product of errors, over the mean square of errors."""
    if member.value == 0:
        return nothing("the members make no error")
    share = ratio(mean, member) * (members / (members - 1))
    return Measured(replace(share, value=share.value - 1 / (members - 1)))
