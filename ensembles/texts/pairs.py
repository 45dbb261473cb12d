"""Means over pairs of answers, within and between members, from unit rows.

Every member weighs the same within, every pair of members the same between, whatever the numbers
of samples. Means of similarities take no pairs: the mean over the pairs of two sets of rows is the
product of their mean rows. Only shares above a threshold look at every pair, in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ringtest.ensembles.texts.ngrams import Rows
from ringtest.estimate import Array

_BLOCK: Final = 2_048
"""Rows that are written out at once: 134 MB at the default width."""


def kernel(rows: Rows, counts: Sequence[int]) -> Array:
    """(members, members) mean similarity of answers to one prompt.

    Args:
        rows: (n, d) unit rows, members one after another.
        counts: rows of each member, which sum to n.

    Off the diagonal the mean over all pairs of one answer of either member. On the diagonal the
    mean over pairs of *different* answers of a member, n_m (n_m - 1) / 2 of them: no answer is
    compared with itself, so that samples of the same distribution agree on average as much within
    as between. NaN for a member with one answer.
    """
    n = np.asarray(counts)
    code = np.repeat(np.arange(n.size), n)
    to_means = sparse.csr_matrix((1.0 / n[code], (code, np.arange(code.size))))
    means = to_means @ rows
    product = means @ means.T
    mean: Array = np.asarray(product.toarray() if sparse.issparse(product) else product)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = (n * mean.diagonal() - 1.0) / (n - 1.0)
    np.fill_diagonal(mean, np.where(n > 1, own, np.nan))
    return mean


def within(kernels: Array) -> Array:
    """(...) mean of the diagonals of (..., members, members) kernels; NaN if a member's is."""
    means: Array = np.diagonal(kernels, axis1=-2, axis2=-1).mean(axis=-1)
    return means


def between(kernels: Array) -> Array:
    """(...) mean off the diagonals of (..., members, members) kernels; NaN for one member."""
    members = kernels.shape[-1]
    if members < 2:
        return np.full(kernels.shape[:-2], np.nan)
    means: Array = kernels[..., ~np.eye(members, dtype=bool)].mean(axis=-1)
    return means


@dataclass(frozen=True)
class Kinds:
    """Values of the two kinds of pairs, each against thresholds of its own."""

    within: Array
    between: Array


def above(rows: Rows, counts: Sequence[int], thresholds: Kinds) -> Kinds:
    """Shares of the pairs of answers to one prompt whose similarity lies above thresholds.

    Args:
        rows: (n, d) unit rows, members one after another.
        counts: rows of each member.
        thresholds: (k,) of either kind, in any order.

    Returns:
        (k,) shares of either kind, in 0..1. Members with one answer have no pairs within and are
        left out there; NaN where there is no pair at all.
    """
    n = np.asarray(counts)
    code = np.repeat(np.arange(n.size), n)
    sums = {kind: np.zeros(thresholds.within.size) for kind in ("within", "between")}
    # A pair weighs 1 over the pairs of its members; within, each is seen once.
    weight = 1.0 / np.outer(n, n)
    weight[np.diag_indices(n.size)] = 2.0 / np.maximum(n * (n - 1), 1)
    for low in range(0, code.size, _BLOCK):
        first = _dense(rows[low : low + _BLOCK])
        for start in range(low, code.size, _BLOCK):
            second = first if start == low else _dense(rows[start : start + _BLOCK])
            similarity = first @ second.T
            a, b = code[low : low + _BLOCK], code[start : start + _BLOCK]
            later = np.arange(start, start + b.size) > np.arange(low, low + a.size)[:, None]
            same = a[:, None] == b
            for kind, mask in (("within", later & same), ("between", later & ~same)):
                at: Array = getattr(thresholds, kind)
                # Most pairs may lie below all thresholds: only the others are looked at.
                i, j = np.nonzero(mask & (similarity > at.min()))
                sums[kind] += exceeding(similarity[i, j], weight[a[i], b[j]], at)
    totals = {"within": int((n > 1).sum()), "between": n.size * (n.size - 1) // 2}
    shares = {k: s / totals[k] if totals[k] else np.full_like(s, np.nan) for k, s in sums.items()}
    return Kinds(shares["within"], shares["between"])


def exceeding(values: NDArray[np.floating], weights: Array, thresholds: Array) -> Array:
    """(k,) total weight of the (n,) values above each of (k,) thresholds."""
    order = np.argsort(thresholds)
    passed = np.searchsorted(thresholds[order], values, side="left")
    counted = np.bincount(passed, weights, thresholds.size + 1)
    totals = np.empty(thresholds.size)
    totals[order] = np.cumsum(counted[::-1])[::-1][1:]
    return totals


def _dense(rows: Rows) -> NDArray[np.float32]:
    # The product of sparse rows took twice as long as writing them out and multiplying those.
    dense: NDArray[np.float32] = rows.toarray() if sparse.issparse(rows) else rows
    return dense
