"""Ridge probes: fitted from moments, all folds at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ringtest import margins
from ringtest.probes.training_rows import RELATIVE
from ringtest.representations import standardised

STRIP: Final = 192
"""Columns of a product of a layer with itself that are made at once, from the diagonal down."""


@dataclass(frozen=True)
class Probe:
    """A fitted ridge probe."""

    weights: Tensor
    """(d, q)"""
    offset: Tensor
    """(q,)"""

    def __call__(self, rows: Tensor) -> Tensor:
        """(b, d) rows to (b, q) predictions."""
        return torch.addmm(self.offset, rows.double(), self.weights)


def fold_probes(
    x: Tensor, y: Tensor, fold: Tensor, scale: bool = True, rank: int | None = None
) -> list[Probe]:
    """One ridge probe a fold, fitted on the rows of all other folds, penalty 0.01 a row.

    Args:
        x: (m, d) features, float32 or float64.
        y: (m, q) targets, float64.
        fold: (m,) fold of each row, from 0.
        scale: whether the penalty is that of features standardised over all (m, d) rows; False for
            features as :func:`narrow` gives them.
        rank: the most that the (d, q) weights may have, of all such weights the best.

    Every probe comes from the moments of the other folds: rows are passed over once. Features are
    standardised over all rows, which takes no look at an answer: a unit that next to no training
    row moves, scaled up by what these say, would send the rows that do move it out of all bounds.
    """
    # Means taken off first: else sums of squares hold little but the offsets.
    centre, middle = x.mean(0, dtype=torch.float64), y.mean(0)
    d, width = x.shape[1], x.shape[1] + y.shape[1] + 1
    others = torch.zeros(int(fold.max()) + 1, width, width, dtype=torch.float64)
    moments = torch.zeros(width, width, dtype=torch.float64)
    for f in range(len(others)):
        own = (fold == f).nonzero()[:, 0]
        # One kind of number at a time: float32 less float64 takes six times as long.
        rows = torch.empty(len(own), width, dtype=torch.float64)
        rows[:, :d], rows[:, d:-1], rows[:, -1] = x[own], y[own], 1.0
        rows[:, :d] -= centre
        rows[:, d:-1] -= middle
        for i in range(0, width, STRIP):
            strip = slice(i, i + STRIP)
            torch.mm(rows[:, i:].T, rows[:, strip], out=moments[i:, strip])
        # Added up over the others; all less one would leave a trace of what is constant.
        others[:f] += moments
        others[f + 1 :] += moments
    weights, offset = _solve(others, d, scale, rank)
    offset += middle - centre @ weights
    return [Probe(w, b) for w, b in zip(weights, offset, strict=True)]


def by_fold(probes: list[Probe], x: Tensor, fold: Tensor) -> Tensor:
    """(m, q) predictions, each row by the probe of its own fold's number."""
    out = torch.empty(x.shape[0], probes[0].offset.shape[0], dtype=torch.float64)
    for f in range(int(fold.max()) + 1):
        own = (fold == f).nonzero()[:, 0]
        out[own] = probes[f % len(probes)](x[own])
    return out


def cross_validated(x: Tensor, y: Tensor, fold: Tensor, rank: int | None = None) -> Tensor:
    """(m, q) out-of-fold predictions of a ridge probe on (m, d) features of any width."""
    # Probes centre and standardise by themselves: a layer that is not wide needs no other copy.
    wide = x.shape[1] > x.shape[0]
    x = narrow(x) if wide else x
    return by_fold(fold_probes(x, y, fold, scale=not wide, rank=rank), x, fold)


def narrow(x: Tensor) -> Tensor:
    """Rows as float64, standardised; wider than long, they are rotated into their own span.

    Ridge does not see a rotation, so the solution is that of the wide problem, but only while
    nobody standardises the rotated columns: that would whiten.
    """
    return in_span(standardised(x))


def in_span(x: Tensor) -> Tensor:
    """(m, at most m) float64 rows that a ridge probe cannot tell from (m, d) centred ones."""
    if x.shape[1] <= x.shape[0]:
        return x
    values, vectors = torch.linalg.eigh(x @ x.T)
    keep = values > values[-1] * 1e-12
    rotated: Tensor = vectors[:, keep] * values[keep].sqrt()
    return rotated


def _solve(moments: Tensor, d: int, scale: bool, rank: int | None) -> tuple[Tensor, Tensor]:
    """(F, d, q) weights and (F, q) offsets of F probes.

    Args:
        moments: (F, d + q + 1, d + q + 1) sums of products of features, targets and 1, of which the
            lower half is read. They are used up.
        d: number of features.
        scale: whether the penalty is that of standardised features.
        rank: of the weights, at most.
    """
    n = moments[:, -1, -1, None]
    mean = moments[:, -1, :-1] / n
    mean_x, mean_y = mean[:, :d], mean[:, d:]
    cross = moments[:, d:-1, :d].mT - (n * mean_x)[:, :, None] * mean_y[:, None]
    # Features are standardised by weighing the penalty, which leaves the moments as they are.
    penalty = margins.PROBE_RIDGE * (
        _variances(moments, d) if scale else torch.ones_like(mean_x[0])
    )
    weights = torch.empty_like(cross)
    for f, system in enumerate(moments[:, :d, :d]):
        system.addr_(mean_x[f], n[f] * mean_x[f], alpha=-1)
        system.diagonal().clamp_min_(0).add_(n[f] * penalty)
        # The penalty keeps its eigenvalues above a hundredth of a feature's: Cholesky is safe.
        lower = torch.linalg.cholesky(system)
        half = torch.linalg.solve_triangular(lower, cross[f], upper=False)
        weights[f] = torch.linalg.solve_triangular(lower.T, half, upper=True)
    if rank is not None and rank < cross.shape[2]:
        weights = _reduced(weights, cross, rank)
    return weights, mean_y - (mean_x[:, None] @ weights)[:, 0]


def _variances(moments: Tensor, d: int) -> Tensor:
    """(d,) variance of each feature over all rows; 1 for a constant, which then weighs nothing."""
    whole = moments.sum(0)  # every row is among the others of all folds but its own
    n, mean = whole[-1, -1], whole[-1, :d] / whole[-1, -1]
    square = whole.diagonal()[:d] / n
    variance = square - mean.square()
    # Relative to the square: what rounding leaves of a constant is no variance.
    return torch.where(variance > RELATIVE * square, variance, 1.0)


def _reduced(weights: Tensor, cross: Tensor, rank: int) -> Tensor:
    """The best ridge weights of a rank: those of full rank, on the leading fitted directions.

    With the penalty as d further rows of data, ridge is least squares, whose best solution of a
    rank projects the fitted values on their leading right singular vectors (Eckart and Young).
    """
    fitted = weights.mT @ cross
    leading = torch.linalg.eigh((fitted + fitted.mT) / 2).eigenvectors[..., -rank:]
    reduced: Tensor = weights @ leading @ leading.mT
    return reduced
