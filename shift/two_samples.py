"""Can two sets of points be told apart: by a line, and by their distributions?"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import Array, Estimate, to_units

PERMUTATIONS: Final = 499
"""Of a permutation test; its least p-value is 1 / (PERMUTATIONS + 1)."""


def auc(
    x: Tensor, y: Tensor, *, paired: bool, seed: int, permutations: int = PERMUTATIONS
) -> tuple[Estimate, float]:
    """AUC with which a ridge classifier tells points that it was not fitted on, and its p-value.

    Args:
        x: (m, d) points of the first set.
        y: (n, d) points of the second, which a larger score stands for.
        paired: whether ``y[i]`` is a changed ``x[i]``; both then lie in one fold, are one unit of
            the error, and are swapped in the test.
        seed: of the permutations.
        permutations: how many; a ridge fit is linear in its labels, so each is cheap.

    Returns:
        The AUC in [0, 1], with the placement values of DeLong et al. 1988 on held-out scores as
        influences, and the share of permutations of the labels, the data's own among them, that
        reach it. Where there is no shift the p-value is to be believed, not the interval: held-out
        rows of one fold are training rows of another, which placement values know nothing of.
    """
    m, n = len(x), len(y)
    points = torch.cat([x, y]).double().numpy()
    fold = np.concatenate([blocks.folds(size, margins.PROBE_FOLDS) for size in (m, n)])
    second = _relabelled(m, fold, paired, permutations, np.random.default_rng(seed))
    scores = np.empty(second.shape)
    for held in range(margins.PROBE_FOLDS):
        out = fold == held
        scores[out] = _ridge_scores(points[~out], second[~out], points[out])
    # Rounding must not part versions of a row that are equal.
    scores = np.round(scores, 9)
    ranks = rankdata(scores, axis=0)
    found = ((ranks * second).sum(0) - n * (n + 1) / 2) / (m * n)
    above, below = placements(scores[:m, 0], scores[m:, 0])
    value = float(found[0])
    of_x, of_y = (below - value) / m, (above - value) / n
    influence = (
        to_units(of_x + of_y, None)
        if paired
        else np.concatenate([to_units(of_x, None), to_units(of_y, None)])
    )
    p = (1 + (found[1:] >= value - 1e-12).sum()) / (permutations + 1)
    return Estimate(value, influence, m + n), float(p)


def _relabelled(
    m: int, fold: NDArray[np.int64], paired: bool, permutations: int, rng: np.random.Generator
) -> Array:
    """(m + n, 1 + permutations) which points are of the second set: in truth, and permuted.

    Permuted within folds, since the truth has both sets in each: a fold with more of one set leaves
    fewer for training, which pushes the AUC below .5.
    """
    truth = (np.arange(len(fold)) >= m).astype(np.float64)
    if paired:
        swapped = rng.integers(0, 2, size=(m, permutations)).astype(np.float64)
        shuffled = np.concatenate([swapped, 1.0 - swapped])
    else:
        shuffled = np.empty((len(fold), permutations))
        for held in range(margins.PROBE_FOLDS):
            own = fold == held
            shuffled[own] = rng.permuted(np.tile(truth[own], (permutations, 1)), axis=1).T
    return np.concatenate([truth[:, None], shuffled], axis=1)


def _ridge_scores(fit: Array, labels: Array, out: Array) -> Array:
    """(b, p) scores of (b, d) points by ridge regression of (k, p) labels on (k, d) points."""
    centre, sd = fit.mean(0), fit.std(0)
    scale = np.where(sd > 0, sd, np.inf)
    z = (fit - centre) / scale
    gram = z.T @ z
    gram[np.diag_indices_from(gram)] += margins.PROBE_RIDGE * len(fit)
    weights = np.linalg.solve(gram, z.T @ (labels - labels.mean(0)))
    scores: Array = ((out - centre) / scale) @ weights + labels.mean(0)
    return scores


def placements(low: Array, high: Array) -> tuple[Array, Array]:
    """Share of ``low`` under each of ``high``, and share of ``high`` over each of ``low``.

    Ties count half. The mean of either is the AUC.
    """
    m, n = len(low), len(high)
    ranks = rankdata(np.concatenate([low, high]))
    above = (ranks[m:] - rankdata(high)) / m
    below = 1.0 - (ranks[:m] - rankdata(low)) / n
    return above, below


def mmd(
    x: Tensor,
    y: Tensor,
    *,
    paired: bool,
    seed: int,
    bandwidth: float | None = None,
    permutations: int = PERMUTATIONS,
) -> tuple[float, float]:
    """Squared maximum mean discrepancy under exp(-|a - b|^2 / (2 h^2)), and its p-value.

    Args:
        x: (m, d) points of the first set.
        y: (n, d) points of the second.
        paired: whether ``y[i]`` is a changed ``x[i]``: then a row is never compared with its own
            version, which would be no independent pair, and the test swaps within pairs.
        seed: of the permutations.
        bandwidth: h; None: the median distance of two different points of both sets together.
        permutations: how many; each is one more pass over an (m + n, m + n) kernel.

    Returns:
        The unbiased estimate (below 0 by chance where both sets are alike), and the share of
        permutations, the data's own among them, that reach it.
    """
    k = _kernel(torch.cat([x, y]).double(), bandwidth)
    m, n = len(x), len(y)
    rng = np.random.default_rng(seed)
    if paired:
        h = k[:m, :m] + k[m:, m:] - k[:m, m:] - k[m:, :m]
        h.fill_diagonal_(0.0)
        # To swap a row with its version is to turn the sign of all its entries.
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=(permutations, m)))
        found = torch.cat([torch.ones(1, m, dtype=torch.float64), signs])
        sums = ((found @ h) * found).sum(1) / (m * (m - 1))
    else:
        k.fill_diagonal_(0.0)
        first = np.zeros((permutations + 1, m + n))
        first[0, :m] = 1.0
        first[1:] = rng.permuted(np.tile(first[0], (permutations, 1)), axis=1)
        a = torch.from_numpy(first)
        row, ka = k.sum(1), a @ k
        both = (ka * a).sum(1)
        one = a @ row
        rest = row.sum() - 2.0 * one + both
        sums = both / (m * (m - 1)) + rest / (n * (n - 1)) - 2.0 * (one - both) / (m * n)
    values: NDArray[np.float64] = sums.numpy()
    # Rounding must not decide between equal sums.
    reached = values[1:] >= values[0] - 1e-12
    return float(values[0]), float((1 + reached.sum()) / (permutations + 1))


def _kernel(points: Tensor, bandwidth: float | None) -> Tensor:
    """(N, N) kernel of float64 points."""
    square = torch.cdist(points, points).square()
    if bandwidth is None:
        apart = square[tuple(torch.triu_indices(len(points), len(points), 1))]
        # Half of all pairs may be equal where inputs are counts of few tokens.
        middle = apart.median()
        scale = middle if middle > 0 else apart.mean()
    else:
        scale = torch.tensor(bandwidth**2)
    return torch.exp(-square / (2.0 * scale))
