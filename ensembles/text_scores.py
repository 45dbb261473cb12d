"""Numbers from kernels of prompts: excess over the null, correlation, effective numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

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


def effective(rho: Estimate, members: int) -> Estimate:
    """M / (1 + (M - 1) rho), Kish 1965's design effect, with rho held in 0..1."""
    if not math.isfinite(rho.value):
        return NOTHING
    value = float(votes(rho.value, members))
    return replace(rho * (-(members - 1) * value**2 / members), value=value)


def votes(rho: float, members: int) -> float:
    """Effective number of members at a correlation, from 1 to M."""
    return members / (1.0 + (members - 1) * min(max(rho, 0.0), 1.0))


def votes_interval(rho: Estimate, members: int, level: float) -> tuple[float, float]:
    """Interval of the effective number: that of rho carried over, since it is the more even."""
    low, high = bounds(rho, level, unseen=True)
    if not math.isfinite(low):
        return math.nan, math.nan
    return votes(high, members), votes(low, members)


def bounds(estimate: Estimate, level: float, unseen: bool = False) -> tuple[float, float]:
    """Interval of an estimate; NaN where it has none.

    Args:
        estimate: the estimate.
        level: of confidence, in (0, 1).
        unseen: where every prompt says exactly the same of a quantity in 0..1, resampling them
            says nothing; then widen by what the rule of three leaves: 1 - (1 - level)^(1/prompts)
            of all prompts may still say the opposite.
    """
    low, high = interval(estimate.value, standard_error(estimate), estimate.dof, level)
    if unseen and math.isfinite(low) and np.abs(estimate.influence).max() < 1e-6:
        share = 1.0 - (1.0 - level) ** (1.0 / estimate.units)
        low, high = low - share, high + share
    return low, high


def vendi(kernels: Array) -> Both:
    """Vendi scores of M answers to a prompt, one of each member and all of one.

    Args:
        kernels: (prompts, members, members) mean similarities of different answers.

    The mean kernel over prompts, with 1 on the diagonal, is what one answer of each member has in
    expectation; of M answers of one member every entry off the diagonal is the mean within.

    Source: Friedman & Dieng 2023 (arXiv 2210.02410): exp of the entropy of the eigenvalues of K/M.
    """
    members = kernels.shape[-1]
    if members < 2:
        return UNMEASURED
    means = leave_each_out(kernels)
    same = np.diagonal(means, axis1=1, axis2=2).mean(axis=1)
    one = np.repeat(same[:, None, None], members, 1).repeat(members, 2)
    each = means.copy()
    for k in (one, each):
        k[:, np.arange(members), np.arange(members)] = 1.0
    return Both(
        jackknife(vendi_score(one)) if np.isfinite(one).all() else NOTHING,
        jackknife(vendi_score(each)),
    )


def vendi_score(kernels: Array) -> Array:
    """(...) exp of the entropy of the eigenvalues of (..., M, M) kernels of unit diagonal.

    What rounding, or a mean within that more answers than there are samples cannot have, leaves
    below 0 counts as 0.

    >>> [round(float(v), 6) for v in vendi_score(np.stack([np.eye(4), np.ones((4, 4))]))]
    [4.0, 1.0]
    """
    share = np.clip(np.linalg.eigvalsh(kernels) / kernels.shape[-1], 1e-300, None)
    share /= share.sum(axis=-1, keepdims=True)
    score: Array = np.exp(-np.sum(share * np.log(share), axis=-1))
    return score
