"""Numbers from kernels of prompts: excess over the null, correlation, effective numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ringtest.ensembles import effective, vendi
from ringtest.ensembles.measured import check_level, unseen
from ringtest.estimate import NOTHING, Array, Estimate, from_deletions, ratio
from ringtest.inference import interval, standard_error


@dataclass(frozen=True)
class Both:
    """One number within members and between them, on the same prompts: they may be subtracted."""

    within: Estimate
    """Of two answers of one member to the same prompt; the mean over members."""
    between: Estimate
    """Of an answer each of two members to the same prompt; the mean over pairs of members."""


UNMEASURED = Both(NOTHING, NOTHING)


def jackknife(values: Array) -> Estimate:
    """Estimate from (prompts + 1,) values: of all prompts, then without each of them."""
    if not np.isfinite(values).all():
        return NOTHING
    return from_deletions(float(values[0]), values[1:], values.size - 1)


def leave_each_out(values: Array) -> Array:
    """(prompts + 1, ...) means of (prompts, ...) values: of all, then without each.

    One prompt leaves nothing: its row is the mean again.
    """
    mean = values.mean(axis=0, keepdims=True)
    return np.concatenate([mean, mean - (values - mean) / max(values.shape[0] - 1, 1)])


def correlation(excess: Both, level: float = 0.95) -> tuple[Estimate, str]:
    """Excess similarity between members over that within, and why it cannot be measured.

    NOTHING where the interval of the excess within does not lie above 0: the ratio then has no
    denominator.
    """
    low, _ = bounds(excess.within, level)
    if not low > 1e-6:  # what float32 products leave
        return NOTHING, (
            "answers of one member to the same prompt are no more alike than its answers to "
            "different prompts, by their interval"
        )
    return ratio(excess.between, excess.within), ""


def votes(rho: Estimate, members: int) -> Estimate:
    """Effective number of members, with the correlation held in 0..1."""
    if not math.isfinite(rho.value):
        return NOTHING
    return effective.estimate(replace(rho, value=_held(rho.value)), members)


def votes_interval(rho: Estimate, members: int, level: float) -> tuple[float, float]:
    """Interval of the effective number: that of rho carried over, since it is the more even."""
    low, high = bounds(rho, level, never=True)
    if not math.isfinite(low):
        return math.nan, math.nan
    return effective.votes(_held(high), members), effective.votes(_held(low), members)


def _held(rho: float) -> float:
    return min(max(rho, 0.0), 1.0)


def bounds(estimate: Estimate, level: float, never: bool = False) -> tuple[float, float]:
    """Interval of an estimate; NaN where it has none.

    Args:
        estimate: the estimate.
        level: of confidence, in (0, 1).
        never: where every prompt says exactly the same of a quantity in 0..1, resampling them
            says nothing; then widen by what the rule of three leaves: a share of ``unseen`` prompts
            may still say the opposite.
    """
    error = standard_error(estimate)
    low, high = interval(estimate.value, error, estimate.dof, check_level(level))
    if never and math.isfinite(low) and np.abs(estimate.influence).max() < 1e-6:
        share = unseen(estimate.units, level, sides=1)
        low, high = low - share, high + share
    return low, high


def vendi_scores(kernels: Array) -> Both:
    """Vendi scores of M answers to a prompt, one of each member and all of one.

    Args:
        kernels: (prompts, members, members) mean similarities of different answers.

    The mean kernel over prompts, with 1 on the diagonal, is what one answer of each member has in
    expectation; of M answers of one member every entry off the diagonal is the mean within.
    """
    if kernels.shape[-1] < 2:
        return UNMEASURED
    own = np.diagonal(kernels, axis1=1, axis2=2).mean(axis=1)
    one = np.broadcast_to(own[:, None, None], kernels.shape)
    return Both(_vendi(one) if np.isfinite(own).all() else NOTHING, _vendi(kernels))


def _vendi(kernels: Array) -> Estimate:
    mean = kernels.mean(axis=0)
    np.fill_diagonal(mean, 1.0)
    off = np.where(np.eye(len(mean), dtype=bool), 0.0, kernels)  # NaN with one sample a member
    return vendi.estimate(mean, lambda weights: np.einsum("pab,ab->p", off, weights)).estimate
