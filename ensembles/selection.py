"""Was the gain selection? pass@k, best-of-k by a verifier, and the gain split in its parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ringtest.ensembles.candidates import Candidates, check_k
from ringtest.ensembles.measured import (
    LEVEL,
    Measured,
    constant_minus,
    difference,
    share_of,
    spread,
)
from ringtest.ensembles.votes import DRAWS, How, majority
from ringtest.estimate import NOTHING, Array, Estimate, row_mean


def pass_at_k(c: Candidates, k: int) -> Estimate:
    """Chance that one of k samples is right, unbiased: 1 - C(n-c, k) / C(n, k) (2107.03374).

    Args:
        c: candidates, n samples for each item.
        k: samples looked at, 1 to n.

    Returns:
        Mean over items, 0 to 1, higher is better. At k = n it is coverage, what an oracle selects.

    Raises:
        DataError: k > n.

    >>> from ringtest.ensembles.candidates import candidates
    >>> round(pass_at_k(candidates([[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]]), 4).value, 6)
    0.833333
    """
    n = c.samples
    size = check_k(k, n)
    missed = _log_subsets(n, size)[n - c.correct.sum(axis=1)]
    return row_mean(-np.expm1(missed))


def mean_single(c: Candidates) -> Estimate:
    """Accuracy of a single sample, pass@1."""
    return row_mean(c.correct.mean(axis=1))


def oracle(c: Candidates) -> Estimate:
    """Coverage: share of items with a right sample among all n; what perfect selection reaches."""
    return pass_at_k(c, c.samples)


def best_of(c: Candidates, k: int | None = None) -> Estimate:
    """Accuracy of the sample that the verifier scores highest among k, expected over the subsets.

    Args:
        c: candidates with scores.
        k: subset size; None: all n samples.

    Returns:
        Mean over items, 0 to 1, higher is better; exact. A sample is the pick with probability
        (C(le, k) - C(lt, k)) / (C(n, k) t), where le samples have its score or less, lt less, and
        t = le - lt the same: ties are split evenly.

    Raises:
        DataError: k > n, or no scores.
    """
    scores, n = c.need_scores(), c.samples
    lower, upto = ranks(scores)
    chance = np.exp(_log_subsets(n, check_k(k, n)))
    picked = (chance[upto] - chance[lower]) / (upto - lower)
    # Rounding may leave a certain pick at 1 + 1e-16
    return row_mean(np.clip((picked * c.correct).sum(axis=1), 0.0, 1.0))


def ranks(scores: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every score how many of its row are lower, and how many are not higher, (items, n)."""
    n = scores.shape[1]
    order = np.argsort(scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    place = np.broadcast_to(np.arange(n), ranked.shape)
    change = np.ones(ranked.shape, dtype=np.bool_)
    change[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.maximum.accumulate(np.where(change, place, 0), axis=1)
    ends = np.ones(ranked.shape, dtype=np.bool_)
    ends[:, :-1] = change[:, 1:]
    backwards = np.where(ends, place + 1, n)[:, ::-1]
    after = np.minimum.accumulate(backwards, axis=1)[:, ::-1]
    lower, upto = np.empty(order.shape, np.int64), np.empty(order.shape, np.int64)
    np.put_along_axis(lower, order, first, axis=1)
    np.put_along_axis(upto, order, after, axis=1)
    return lower, upto


def _log_subsets(n: int, k: int) -> Array:
    """log(C(j, k) / C(n, k)) for j = 0..n; -inf below k.

    A sum of logarithms from n down, not a difference of gamma functions: those lose all digits of a
    ratio near 1 at large n.
    """
    i = np.arange(n, k, -1)
    logs = np.full(n + 1, -np.inf)
    logs[k:] = np.concatenate([[0.0], np.cumsum(np.log1p(-k / i))])[::-1]
    return logs


@dataclass(frozen=True)
class Gains:
    """Where the gain over a single call comes from, with k samples of each item.

    mean + selection + missed + unreachable = 1, and selection = aggregation + beyond_vote.
    """

    k: int
    mean: Estimate
    """Mean single call, pass@1."""
    majority: Estimate
    """Majority vote of k; NOTHING without answers."""
    selected: Estimate
    """Best of k by the verifier; NOTHING without scores."""
    oracle: Estimate
    """pass@k."""
    aggregation: Estimate
    """majority - mean: what a vote, which needs no verifier, gains."""
    selection: Estimate
    """selected - mean: what the verifier gains over a random pick; 0 for one that guesses."""
    beyond_vote: Estimate
    """selected - majority: what only the verifier gives; negative where the vote is better."""
    missed: Estimate
    """oracle - selected: a right sample was there and not picked."""
    unreachable: Estimate
    """1 - oracle: no sample was right."""
    recovery: Measured
    """(selected - pass@1) / (oracle - pass@1), 1 for perfect selection, 0 for a random pick."""
    voted: How
    """How the expected majority was computed."""
    source: str
    """``aggregation``, ``selection``, ``aggregation and selection``, or ``neither``: see gains."""


def gains(
    c: Candidates,
    k: int | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Gains:
    """Split the gain over the mean single call.

    Args:
        c: candidates; without answers there is no aggregation, without scores no selection.
        k: samples of each item; None: all n.
        level: confidence level of what counts as a gain.
        draws: subsets where the expected majority cannot be exact.
        seed: of these.

    Returns:
        All parts, paired by item. The vote and the verifier are two ways from one set of samples,
        so their gains overlap. ``source`` names aggregation where the interval of majority - mean
        lies above 0, and selection where that of selected - mean does and, if there is a vote, that
        of selected - majority too: a verifier that only finds what a vote finds selected nothing.

    Raises:
        DataError: k > n.
    """
    size = check_k(k, c.samples)
    single, cover = mean_single(c), pass_at_k(c, size)
    vote = majority(c, size, draws, seed) if c.codes is not None else None
    voted = vote.estimate if vote else NOTHING
    chosen = best_of(c, size) if c.scores is not None else NOTHING
    aggregation, selection = difference(voted, single), difference(chosen, single)
    beyond = difference(chosen, voted)
    found = []
    if _above(aggregation, level):
        found.append("aggregation")
    if _above(selection, level) and (vote is None or _above(beyond, level)):
        found.append("selection")
    recovery = share_of(selection, difference(cover, single), "oracle - pass@1", level)
    if recovery.measured:
        # Items without a choice, all right or all wrong, say nothing of a selection
        choice = c.correct.any(axis=1) & ~c.correct.all(axis=1)
        recovery = Measured(replace(recovery.estimate, n=int(choice.sum())))
    return Gains(
        k=size,
        mean=single,
        majority=voted,
        selected=chosen,
        oracle=cover,
        aggregation=aggregation,
        selection=selection,
        beyond_vote=beyond,
        missed=difference(cover, chosen),
        unreachable=constant_minus(1.0, cover),
        recovery=recovery,
        voted=vote.how if vote else "exact",
        source=" and ".join(found) or "neither",
    )


def _above(gain: Estimate, level: float) -> bool:
    """Whether a gain's interval lies above 0; False where it could not be measured."""
    return spread(gain, level)[0] > 0
