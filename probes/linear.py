"""Ridge probes: fitted from moments, all folds at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ringtest import margins
from ringtest.moments import ridge
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
        return ((rows - self.centre) / self.scale) @ self.weights + self.offset


def fold_probes(x: Tensor, y: Tensor, fold: Tensor, scale: bool = True) -> list[Probe]:
    """One ridge probe a fold, fitted on the rows of all other folds, penalty 0.01 a row.

    Args:
        x: (m, d) float64 features.
        y: (m, q) targets.
        fold: (m,) fold of each row, from 0.
        scale: whether to standardise; False for features that :func:`narrow` has rotated.

    Every probe comes from the whole's moments less its fold's: rows are passed over once.
    """
    masks = [fold == f for f in range(int(fold.max()) + 1)]
    sizes = [int(k.sum()) for k in masks]
    parts = [(x[k].T @ x[k], x[k].T @ y[k], x[k].sum(0), y[k].sum(0)) for k in masks]
    out = []
    for f, size in enumerate(sizes):
        rest = [part for g, part in enumerate(parts) if g != f]
        xx, xy, sx, sy = (torch.stack(sums).sum(0) for sums in zip(*rest, strict=True))
        out.append(_solve(xx, xy, sx, sy, sum(sizes) - size, scale))
    return out


def by_fold(probes: list[Probe], x: Tensor, fold: Tensor) -> Tensor:
    """(m, q) predictions, each row by the probe of its own fold's number."""
    out = torch.empty(x.shape[0], probes[0].offset.shape[0], dtype=torch.float64)
    for f in range(int(fold.max()) + 1):
        out[fold == f] = probes[f % len(probes)](x[fold == f])
    return out


def cross_validated(x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    """(m, q) out-of-fold predictions of a ridge probe on (m, d) features of any width."""
    x, rotated = narrow(x)
    return by_fold(fold_probes(x, y, fold, scale=not rotated), x, fold)


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


def _solve(xx: Tensor, xy: Tensor, sx: Tensor, sy: Tensor, n: int, scale: bool) -> Probe:
    mean_x, mean_y = sx / n, sy / n
    cov = xx - n * torch.outer(mean_x, mean_x)
    variance = cov.diagonal().clamp_min(0) / n
    sd = variance.sqrt()
    # A unit that is constant on the training rows gets weight 0, not a division by 0.
    sd = torch.where(sd > 1e-9 * sd.max().clamp_min(1e-30), sd, torch.full_like(sd, torch.inf))
    sd = sd if scale else torch.ones_like(sd)
    cross = (xy - n * torch.outer(mean_x, mean_y)) / sd[:, None]
    weights = ridge(cov / torch.outer(sd, sd), cross, margins.PROBE_RIDGE * n)
    return Probe(mean_x, sd, weights, mean_y)
