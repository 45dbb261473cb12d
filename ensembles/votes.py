"""Votes among the samples of an item: majority, and weighted by a verifier's scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ringtest.ensembles.candidates import Candidates, Codes, check_k, tally
from ringtest.errors import DataError
from ringtest.estimate import Array, Estimate, row_mean

How = Literal["exact", "draws"]

DRAWS = 200
"""Subsets drawn where there are too many to go through all."""
_WORK = 1e9
"""Multiplications up to which the expected majority is computed exactly: about a second."""
_CELLS = 1 << 21
"""Numbers held at once."""


@dataclass(frozen=True)
class Vote:
    """Accuracy of a vote among k samples."""

    estimate: Estimate
    """Mean over items, 0 to 1, higher is better."""
    per_item: Array
    """(items,) chance that the vote is right; ties count the share of right answers in them."""
    k: int
    """Samples that vote."""
    how: How
    """``exact``: the expectation over all subsets of size k; ``draws``: the mean of seeded ones."""


def majority(c: Candidates, k: int | None = None, draws: int = DRAWS, seed: int = 0) -> Vote:
    """Plurality vote of k samples, each with one vote; ties are split evenly among the answers.

    Args:
        c: candidates with answers.
        k: voters; None: all n samples. Fewer: the expectation over all subsets of size k.
        draws: number of subsets where the exact expectation would take too long.
        seed: of these.

    Returns:
        Accuracy in 0..1, and whether it is exact. The exact expectation conditions independent
        binomial counts of the answers on their sum k, which makes them multivariate hypergeometric,
        and integrates the tie's 1 / (1 + t) as that of y^t over 0..1 by Gauss and Legendre, exact
        for these polynomials.

    Raises:
        DataError: k > n, or no answers.
    """
    codes, size = c.need_codes(), check_k(k, c.samples)
    if size == c.samples:
        won = _plurality(codes, None, _right(c))
        return Vote(row_mean(won), won, size, "exact")
    counts, right = tally(codes), _right(c)
    item, answer = np.nonzero(right)
    others = counts[item]
    rows = np.arange(item.shape[0])
    own = others[rows, answer].astype(np.int64)
    others[rows, answer] = 0.0
    # Items with the same counts have the same chance, whatever their answers are
    profile = np.column_stack([own, -np.sort(-others, axis=1)]).astype(np.int64)
    kinds, which = np.unique(profile, axis=0, return_inverse=True)
    if kinds.shape[0] * max(kinds.shape[1] - 1, 1) * _work(size) > _WORK:
        return _over_subsets(c, None, size, draws, seed)
    chances = _chances(kinds, c.samples, size)[which.ravel()]
    expected = np.zeros(c.items)
    np.add.at(expected, item, chances)
    expected = np.clip(expected, 0.0, 1.0)
    return Vote(row_mean(expected), expected, size, "exact")


def weighted(c: Candidates, k: int | None = None, draws: int = DRAWS, seed: int = 0) -> Vote:
    """Vote in which a sample counts as much as its verifier's score.

    Args:
        c: candidates with answers and scores; scores are finite and not negative, such as
            probabilities. Where all are 0 all answers tie.
        k: voters; None: all. Fewer: the expectation over the subsets of size k, exact where there
            are no more of them than ``draws``.
        draws: number of subsets otherwise.
        seed: of these.

    Raises:
        DataError: k > n, no answers or scores, or scores that cannot be weights.
    """
    scores, size = c.need_scores(), check_k(k, c.samples)
    bad = ~(np.isfinite(scores) & (scores >= 0)).all(axis=1)
    if bad.any():
        raise DataError(
            "scores",
            f"item {int(bad.argmax())} has a score below 0 or infinite, which is no weight",
            "give probabilities, for log probabilities their exponential",
        )
    if size == c.samples:
        won = _plurality(c.need_codes(), scores, _right(c))
        return Vote(row_mean(won), won, size, "exact")
    return _over_subsets(c, scores, size, draws, seed)


def _right(c: Candidates) -> NDArray[np.bool_]:
    """(items, answers) whether each answer is right; answers are graded alike in an item."""
    return tally(c.need_codes(), c.correct.astype(np.float64)) > 0


def _plurality(codes: Codes, weights: Array | None, right: NDArray[np.bool_]) -> Array:
    """Share of right answers among those of most votes, (items,)."""
    width = right.shape[1]
    votes = tally(codes, weights, width)
    if weights is not None:
        # An answer without weight ties only with others that were given
        votes = np.where(tally(codes, None, width) > 0, votes, -1.0)
    best = votes.max(axis=1, keepdims=True)
    # .1 + .2 and .3 are a tie
    top = votes >= best - 1e-12 * np.abs(best)
    won: Array = (top & right).sum(axis=1) / top.sum(axis=1)
    return won


def _over_subsets(c: Candidates, weights: Array | None, k: int, draws: int, seed: int) -> Vote:
    """Mean of the vote over all subsets of the samples, or over seeded ones."""
    codes, right, n = c.need_codes(), _right(c), c.samples
    how: How = "exact" if math.comb(n, k) <= draws else "draws"
    subsets: Iterator[tuple[int, ...]] | NDArray[np.int64] = combinations(range(n), k)
    if how == "draws":
        if draws < 1:
            raise DataError("draws", f"{draws} subsets are none", "give 1 or more")
        rng = np.random.default_rng([seed, n, k, 0x507E])
        subsets = rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)[:, :k]
        # Each item in an order of its own: the subsets are then as good as drawn for each
        order = rng.permuted(np.tile(np.arange(n), (c.items, 1)), axis=1)
        codes = np.take_along_axis(codes, order, axis=1)
        weights = None if weights is None else np.take_along_axis(weights, order, axis=1)
    won = np.zeros(c.items)
    for number, subset in enumerate(subsets, start=1):
        chosen = np.asarray(subset)
        part = None if weights is None else weights[:, chosen]
        won += (_plurality(codes[:, chosen], part, right) - won) / number
    return Vote(row_mean(won), won, k, how)


def _nodes(k: int, m: int) -> int:
    """Points that integrate y^t exactly for all ties t that m votes of k leave room for."""
    return -(-(k // m) // 2)


def _work(k: int) -> float:
    """Multiplications for one answer of one item."""
    m = np.arange(1, k + 1)
    return float((-(-(k // m) // 2) * (np.minimum(m, k - m) + 1) * (k - m + 1)).sum())


def _chances(kinds: Codes, n: int, k: int) -> Array:
    """Expected share of the win of an answer, (kinds,), from [own, others...] counts; k < n."""
    share = k / n
    chance = stats.binom.pmf(np.arange(k + 1)[None, :], np.arange(n + 1)[:, None], share)
    step = max(1, _CELLS // (_nodes(k, 1) * (k + 1)))
    parts = [_block(kinds[i : i + step], chance, k) for i in range(0, kinds.shape[0], step)]
    won: Array = np.concatenate([*parts, np.zeros(0)]) / stats.binom.pmf(k, n, share)
    return won


def _block(kinds: Codes, chance: Array, k: int) -> Array:
    own, others = kinds[:, 0], kinds[:, 1:]
    rivals = others[:, : int(others.any(axis=0).sum())]
    won = np.zeros(own.shape[0])
    for m in range(1, min(k, int(own.max())) + 1):
        points, weights = np.polynomial.legendre.leggauss(_nodes(k, m))
        tied, left = (points + 1) / 2, k - m
        # Coefficients of x^0..x^left: the chance that the rivals so far have that many votes
        votes = np.zeros((own.shape[0], points.shape[0], left + 1))
        votes[..., 0] = 1.0
        for rival in rivals.T:
            given, before = chance[rival], votes
            votes = given[:, :1, None] * before
            for i in range(1, min(m, left) + 1):
                factor = given[:, i, None] * (tied if i == m else np.ones_like(tied))
                votes[..., i:] += factor[:, :, None] * before[..., : left + 1 - i]
        won += chance[own, m] * (votes[..., left] @ (weights / 2))
    return won
