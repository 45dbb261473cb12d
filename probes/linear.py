"""Ridge probes: fitted from moments, all folds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ringtest import margins
from ringtest.representations import standardised


@dataclass(frozen=True)
class Probe:
    """A fitted ridge probe on standardised features."""

    centre: Tensor
    scale: Tensor
    weights: Tensor
    """(d, q)"""
    offset: Tensor
    """(q,)"""

    def __call__(self, rows: Tensor) -> Tensor:
        """(b, d) rows to (b, q) predictions."""
        weights = self.weights / self.scale[:, None]
        return rows @ weights + (self.offset - self.centre @ weights)


def fold_probes(
    x: Tensor, y: Tensor, fold: Tensor, scale: bool = True, rank: int | None = None
) -> list[Probe]:
    """One ridge probe a fold, fitted on the rows of all other folds, penalty 0.01 a row.

    Args:
        x: (m, d) float64 features.
        y: (m, q) targets.
        fold: (m,) fold of each row, from 0.
        scale: whether to standardise; False for features that :func:`narrow` has rotated.
        rank: the most that the (d, q) weights may have, of all such weights the best.

    Every probe comes from the moments of the other folds: rows are passed over once.
    """
    parts, sizes = [], []
    for f in range(int(fold.max()) + 1):
        rows, targets = x[fold == f], y[fold == f]
        parts.append((rows.T @ rows, rows.T @ targets, rows.sum(0), targets.sum(0)))
        sizes.append(rows.shape[0])
    out = []
    for f, size in enumerate(sizes):
        others = parts[:f] + parts[f + 1 :]
        xx, xy, sx, sy = (_total(sums) for sums in zip(*others, strict=True))
        out.append(_solve(xx, xy, sx, sy, sum(sizes) - size, scale, rank))
    return out


def by_fold(probes: list[Probe], x: Tensor, fold: Tensor) -> Tensor:
    """(m, q) predictions, each row by the probe of its own fold's number."""
    out = torch.empty(x.shape[0], probes[0].offset.shape[0], dtype=torch.float64)
    for f in range(int(fold.max()) + 1):
        out[fold == f] = probes[f % len(probes)](x[fold == f])
    return out


def cross_validated(x: Tensor, y: Tensor, fold: Tensor, rank: int | None = None) -> Tensor:
    """(m, q) out-of-fold predictions of a ridge probe on (m, d) features of any width."""
    x, rotated = narrow(x)
    return by_fold(fold_probes(x, y, fold, scale=not rotated, rank=rank), x, fold)


def narrow(x: Tensor) -> tuple[Tensor, bool]:
    """Rows as float64, standardised; wider than long, they are rotated into their own span.

    Ridge does not see a rotation, so the solution is that of the wide problem, but only while
    nobody standardises the rotated columns: that would whiten. The second value says so.
    """
    x = standardised(x)
    if x.shape[1] <= x.shape[0]:
        return x, False
    values, vectors = torch.linalg.eigh(x @ x.T)
    keep = values > values[-1] * 1e-12
    return vectors[:, keep] * values[keep].sqrt(), True


def _total(values: Sequence[Tensor]) -> Tensor:
    """The sum; never all less one, in which a unit that is constant would leave a trace."""
    total = values[0].clone()
    for value in values[1:]:
        total += value
    return total


def _solve(
    xx: Tensor, xy: Tensor, sx: Tensor, sy: Tensor, n: int, scale: bool, rank: int | None
) -> Probe:
    mean_x, mean_y = sx / n, sy / n
    cov = torch.addr(xx, mean_x, mean_x, alpha=-n)
    variance = cov.diagonal().clamp_min(0) / n
    sd = variance.sqrt()
    # A unit that is constant on the training rows gets weight 0, not a division by 0.
    sd = torch.where(sd > 1e-9 * sd.max().clamp_min(1e-30), sd, torch.full_like(sd, torch.inf))
    sd = sd if scale else torch.ones_like(sd)
    cross = (xy - n * torch.outer(mean_x, mean_y)) / sd[:, None]
    system = cov.div_(sd[:, None]).div_(sd)
    system.diagonal().add_(margins.PROBE_RIDGE * n)
    # The penalty keeps its smallest eigenvalue at a hundredth of a feature's: Cholesky is safe.
    weights = torch.cholesky_solve(cross, torch.linalg.cholesky(system))
    if rank is not None and rank < cross.shape[1]:
        weights = _reduced(weights, cross, rank)
    return Probe(mean_x, sd, weights, mean_y)


def _reduced(weights: Tensor, cross: Tensor, rank: int) -> Tensor:
    """The best ridge weights of a rank: those of full rank, on the leading fitted directions.

    With the penalty as d further rows of data, ridge is least squares, whose best solution of a
    rank projects the fitted values on their leading right singular vectors (Eckart and Young).
    """
    fitted = weights.T @ cross
    leading = torch.linalg.eigh((fitted + fitted.T) / 2).eigenvectors[:, -rank:]
    reduced: Tensor = weights @ leading @ leading.T
    return reduced
