"""Directions of the probes of several slices, and their cosines in whitened space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ringtest import margins
from ringtest.moments import ridge

_NO_DIRECTION = 1e-16
"""Share of the answers' variance under which a probe says one thing only: rounding."""


def direction(x: Tensor, y: Tensor) -> Tensor:
    """(d, q) weights of a ridge probe fitted on (n, d) rows and (n, q) answers, penalty 0.01 a row.

    Exactly 0 for an answer with one value. Rows are as
    :meth:`ringtest.probes.slices.Slices.narrow` gives them: at one scale.
    """
    n, d = x.shape
    z = x - x.mean(0)
    centred = torch.where((y == y[0]).all(0), 0.0, y - y.mean(0))
    penalty = margins.PROBE_RIDGE * n
    if n < d:
        inner = z @ z.T + penalty * torch.eye(n, dtype=x.dtype)
        weights: Tensor = z.T @ torch.linalg.solve(inner, centred)
        return weights
    return ridge(z.T @ z, z.T @ centred, penalty)


def cosines(parts: list[Tensor], answers: list[Tensor]) -> Tensor:
    """(k, k, q) cosines of the slices' probe directions in whitened space, column by column.

    Whitened by the covariance S within slices, pooled with equal weight: the cosine of S^1/2 w_a
    and S^1/2 w_b, which is the correlation of the two probes' answers within slices. It needs no
    inverse, and says nothing of directions in which slices merely lie apart, which no probe saw.
    NaN where a slice has one answer only in a column, or its probe no direction.

    Args:
        parts: (n_s, d) rows of each slice.
        answers: (n_s, q) their answers: class against the rest, or values.
    """
    if min(len(x) for x in parts) < 2:
        shape = (len(parts), len(parts), answers[0].shape[1])
        return torch.full(shape, math.nan, dtype=torch.float64)
    pairs = zip(parts, answers, strict=True)
    weights = torch.stack([direction(x, y) for x, y in pairs], 1)  # (d, k, q)
    total = torch.zeros(weights.shape[2], len(parts), len(parts), dtype=torch.float64)
    for x in parts:
        said = ((x - x.mean(0)) @ weights.flatten(1)).reshape(len(x), *weights.shape[1:])
        said = said.permute(2, 1, 0)  # (q, k, n_s)
        total += said @ said.mT / (len(x) * len(parts))
    size = total.diagonal(dim1=1, dim2=2)  # (q, k)
    asked = torch.stack([y.var(0, unbiased=False) for y in answers], 1)
    size = torch.where(size > _NO_DIRECTION * asked, size, torch.nan).sqrt()
    return (total / (size[:, :, None] * size[:, None, :])).clamp(-1.0, 1.0).permute(1, 2, 0)


def deletions(x: Tensor, y: Tensor, rows: tuple[Tensor, ...], group: Tensor) -> Tensor:
    """(g + 1, k, k) mean cosines without each jackknife group; the last is without none.

    The mean is over corresponding columns, with their sign: slices that use one direction for
    opposite answers share a subspace, as principal angles would say, and yet no probe. A column
    counts for two slices if it has a cosine there whatever group is left out; NaN where none has.

    Args:
        x: (m, d) rows.
        y: (m, q) answers.
        rows: row numbers of each slice.
        group: (m,) jackknife group of each row, from 0.
    """
    found = []
    for g in range(int(group.max()) + 2):
        kept = [r[group[r] != g] for r in rows]
        found.append(cosines([x[r] for r in kept], [y[r] for r in kept]))
    every = torch.stack(found)
    counts = every.isfinite().all(0)
    return torch.where(counts, every, 0.0).sum(-1) / counts.sum(-1)
