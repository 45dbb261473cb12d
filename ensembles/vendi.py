"""The Vendi score: how many wholly different things a matrix of similarities amounts to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ringtest.ensembles.measured import Measured, Units, linearised
from ringtest.errors import DataError
from ringtest.estimate import Array

_ROUNDING: Final = 1e-10


def score(similarity: Array) -> float:
    """Effective rank: exp of the entropy of the eigenvalues of ``similarity`` / M.

    Args:
        similarity: (M, M) symmetric, positive semidefinite, with a diagonal of 1.

    Returns:
        From 1 (all the same) to M (nothing in common).

    Raises:
        DataError: the matrix is none of similarities.

    Source: Friedman & Dieng 2023 (arXiv:2210.02410).

    >>> float(score(np.eye(4))), float(score(np.ones((4, 4))))
    (4.0, 1.0)
    """
    k = np.asarray(similarity, dtype=np.float64)
    if k.ndim != 2 or k.shape[0] != k.shape[1] or not k.size:
        raise DataError("similarity", f"of shape {k.shape}", "give a square matrix")
    if not np.isfinite(k).all():
        raise DataError("similarity", "has NaN or infinite entries", "leave such members out")
    if np.abs(k - k.T).max() > _ROUNDING or np.abs(np.diagonal(k) - 1).max() > _ROUNDING:
        raise DataError("similarity", "is not symmetric with a diagonal of 1", "normalise it")
    lowest = float(np.linalg.eigvalsh(k)[0])
    if lowest < -_ROUNDING * len(k):
        raise DataError(
            "similarity",
            f"has the negative eigenvalue {lowest:.3g}",
            "use a positive semidefinite kernel",
        )
    return _entropy(k)[0]


def estimate(similarity: Array, second: Callable[[Array], Array], units: Units = None) -> Measured:
    """Vendi score of a mean similarity, with the influence of every item.

    Args:
        similarity: (M, M) mean over items of similarities with a diagonal of 1. What a mean that
            leaves a thing's likeness to itself out has below 0 in its eigenvalues counts as 0.
        second: (M, M) symmetric weights -> (n,) weighted sum over ordered pairs of each item's
            similarities, the diagonal left out.
        units: (n,) code of the independent unit of each item, or None.
    """
    value, slope = _entropy(similarity)
    np.fill_diagonal(slope, 0.0)
    effect = second(slope)
    return Measured(linearised(value, effect - effect.mean(), units))


def _entropy(similarity: Array) -> tuple[float, Array]:
    """The score, and its (M, M) derivative where the trace is held."""
    roots, vectors = np.linalg.eigh(similarity / len(similarity))
    # A direction in which the mean is 0 is 0 for every item, since no item's kernel is negative:
    # it adds nothing, to the score or to its derivative.
    kept = roots > _ROUNDING
    roots = np.where(kept, roots, 0.0)
    total = roots.sum()
    logs = np.where(kept, np.log(np.where(kept, roots / total, 1.0)), 0.0)
    value = float(np.exp(-np.sum(roots * logs) / total))
    # Of shares that were rescaled, whose sum moves with those that are kept.
    by_root = np.where(kept, logs + np.log(value), 0.0) / total
    slope: Array = -value / len(similarity) * (vectors * by_root) @ vectors.T
    return value, slope
