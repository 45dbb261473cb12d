"""Representational similarity analysis: do two layers find the same pairs of rows alike?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.estimate import Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.moments import ratio
from ringtest.probes.similarity import SCALED, Similarity, directions, z

_CHUNK = 512
_FLAT = 1e-10
"""Cosines that vary by less than this share of their mean square are equal, but for rounding."""


class Prepared:
    """Directions of the rows of one layer, and how their cosines vary over pairs of rows.

    The dissimilarity of two rows is 1 - cosine. A correlation does not see the 1 or the sign, so
    sums of cosines are all that is needed, and no (m, m) matrix is kept.
    """

    def __init__(self, rows: Tensor, units: NDArray[np.int64] | None, layer: str) -> None:
        """Take (m, d) rows; raises NotMeasurable as ``directions``, or if all cosines are equal."""
        self.u = directions(rows, 5, layer)
        self.n, self.units = int(self.u.shape[0]), units
        self.norm = self.u.square().sum(1)
        self.k = self.u @ self.u.sum(0) - self.norm
        """(n,) sum of a row's cosines with the others."""
        d = products(self, self)
        self.own, without = covariances(d, self, self)
        least = _FLAT * float(d.sum())
        self.own_without = torch.where(without > least, without, math.nan)
        if not float(self.own) > least:
            raise NotMeasurable(f"all pairs of rows of layer {layer} lie equally far apart")


def products(a: Prepared, b: Prepared) -> Tensor:
    """(n,) sum over all other rows of cosine in a times cosine in b, by the cheaper of two ways."""
    widths = a.u.shape[1], b.u.shape[1]
    if 2 * widths[0] * widths[1] <= a.n * sum(widths):
        whole = ((a.u @ (a.u.T @ b.u)) * b.u).sum(1)
    else:
        parts = zip(a.u.split(_CHUNK), b.u.split(_CHUNK), strict=True)
        whole = torch.cat([((p @ a.u.T) * (q @ b.u.T)).sum(1) for p, q in parts])
    return whole - a.norm * b.norm


def covariances(d: Tensor, a: Prepared, b: Prepared) -> tuple[Tensor, Tensor]:
    """Sum over pairs of centred cosine times centred cosine, whole and (n,) without each row.

    Args:
        d: (n,) from :func:`products`.
        a: one layer.
        b: another, or the same.
    """
    n, total, sum_a, sum_b = a.n, d.sum(), a.k.sum(), b.k.sum()
    whole = total - sum_a * sum_b / (n * (n - 1))
    pairs = (n - 1) * (n - 2)
    return whole, total - 2 * d - (sum_a - 2 * a.k) * (sum_b - 2 * b.k) / pairs


def compare(a: Prepared, b: Prepared) -> Estimate:
    """Atanh of the attenuated correlation, with its exact delete-one jackknife."""
    cross, without = covariances(products(a, b), a, b)
    value = float(z(ratio(cross, a.own, b.own)))
    deleted = z(ratio(without, a.own_without, b.own_without))
    return from_deletions(value, deleted.numpy(), a.n, a.units)


@measure
class RSA(Similarity):
    """Pearson correlation of two layers' cosine distances over all pairs of rows.

    Rows (m, d1) and (m, d2), any widths. In [-1, 1]: 1 for codes that are equal up to rotation and
    scale; 0 in expectation for rows in random order, however wide the layers are.

    The distance is 1 - cosine of centred rows: it is the same in a rotated layer, which 1 -
    correlation over units is not; and a far row counts by no more than what it does to the centre,
    which is CKA's weak point (squared Euclidean distances, compared by a whitened cosine, are CKA:
    Diedrichsen et al. 2021). Such distances lie in [0, 2] and have no outliers that ranks would
    have to tame, so Pearson's correlation is taken and its delete-one jackknife is exact; the
    centre is held fixed in it.

    Source: Kriegeskorte et al. 2008.
    """

    id = "similarity.rsa"
    about = "correlation of student's and members' cosine distances of rows, last hidden layer"
    statistic = SCALED % "rsa"
    source = "Kriegeskorte et al. 2008"

    def prepare(self, evidence: Evidence, at: Setting) -> Prepared:
        """Directions of the rows of the last hidden layer."""
        return Prepared(evidence.last, at.sample_units, evidence.names[-1])

    def compare(self, a: Any, b: Any) -> Estimate:
        """Similarity of two models on the same rows."""
        return compare(a, b)
