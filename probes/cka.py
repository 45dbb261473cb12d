"""Debiased linear CKA: the exact delete-one jackknife on rows, and all layer pairs from moments."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.estimate import Estimate, from_deletions
from ringtest.evidence import GRAM_WIDTH, Evidence
from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.moments import hsic, ratio
from ringtest.probes.similarity import SCALED, Similarity, z


class Prepared:
    """Centred rows of one layer with its own HSIC, whole and without each row."""

    def __init__(self, rows: Tensor, units: NDArray[np.int64] | None = None) -> None:
        """Take (m, d) rows; raises NotMeasurable if nothing varies or there are under 5 rows."""
        x = rows.double()
        self.x = x - x.mean(0)
        self.n = int(x.shape[0])
        self.units = units
        self.norm = self.x.square().sum(1)
        total = float(self.norm.sum())
        if self.n < 5 or not total > 0:
            raise NotMeasurable("no unit of the layer varies, or under 5 rows")
        self.heaviest = float(self.norm.max()) / total
        """Largest share of one row in the sum of squared norms."""
        self.k = self.x @ self.x.sum(0) - self.norm
        # Built for wide layers only: d x d products would cost more than the m x m Gram matrix.
        self.gram = self.x @ self.x.T if self.x.shape[1] > GRAM_WIDTH else None
        self.own, self.own_without = hsic_and_deletions(self, self)

    def outer(self, v: Tensor) -> Tensor:
        """X X' v."""
        return self.gram @ v if self.gram is not None else self.x @ (self.x.T @ v)


def hsic_and_deletions(a: Prepared, b: Prepared) -> tuple[Tensor, Tensor]:
    """Unbiased HSIC and its (n,) values without each row, exactly."""
    both = a.norm * b.norm
    if a.gram is not None or b.gram is not None:
        gram_a = a.gram if a.gram is not None else a.x @ a.x.T
        gram_b = b.gram if b.gram is not None else b.x @ b.x.T
        d = (gram_a * gram_b).sum(1) - both
    else:
        d = ((a.x @ (a.x.T @ b.x)) * b.x).sum(1) - both
    c1 = b.outer(a.k) - a.k * b.norm
    c2 = a.outer(b.k) - b.k * a.norm
    return with_deletions(d, a.k, b.k, c1, c2)


def with_deletions(
    d: Tensor, kx: Tensor, ky: Tensor, c1: Tensor, c2: Tensor
) -> tuple[Tensor, Tensor]:
    """Unbiased HSIC of two kernels K and L, and its (n,) values without each row, exactly.

    Args:
        d: (n,) sum over j of K_ij L_ij; diagonals are taken out, here and below.
        kx: (n,) sum over j of K_ij.
        ky: (n,) sum over j of L_ij.
        c1: (n,) sum over j of L_ij kx_j.
        c2: (n,) sum over j of K_ij ky_j.
    """
    n = int(d.shape[0])
    t1, sx, sy, t3 = d.sum(), kx.sum(), ky.sum(), kx @ ky
    without = hsic(
        t1 - 2 * d,
        sx - 2 * kx,
        sy - 2 * ky,
        t3 - kx * ky - c1 - c2 + d,
        torch.full_like(d, n - 1),
    )
    return hsic(t1, sx, sy, t3, n), without


class Own(Protocol):
    """What a prepared layer knows of itself."""

    n: int
    units: NDArray[np.int64] | None
    own: Tensor
    """HSIC with itself."""
    own_without: Tensor
    """(n,) the same without each row."""


def compare(a: Prepared, b: Prepared) -> Estimate:
    """Atanh of the attenuated CKA of two prepared layers, with its jackknife influences."""
    return normalised(*hsic_and_deletions(a, b), a, b)


def normalised(cross: Tensor, without: Tensor, a: Own, b: Own) -> Estimate:
    """Atanh of the attenuated ratio of an HSIC to those of the layers with themselves."""
    value = float(z(ratio(cross, a.own, b.own)))
    deleted = z(ratio(without, a.own_without, b.own_without)).numpy()
    return from_deletions(value, deleted, a.n, a.units)


@measure
class CKA(Similarity):
    """Debiased linear centred kernel alignment of two layers.

    Rows (m, d1) and (m, d2) of the same inputs, any widths; about [-1, 1], 1 for codes that are
    equal up to rotation and scale, 0 in expectation for unrelated ones. Judged as atanh(.9 CKA),
    on which honest training runs scatter alike wherever they lie. One row moved far enough drives
    it to 0, so it is never evidence alone.

    Source: Song et al. 2012 (unbiased HSIC); Kornblith et al. 2019; Murphy et al. 2024 (debiasing).
    """

    id = "similarity.cka"
    about = "debiased linear CKA of student and members, last hidden layer and all layer pairs"
    group = "global geometry"
    default = True
    statistic = SCALED % "cka"
    needs = frozenset({"sample", "moments", "cross_model"})
    source = "Kornblith et al. 2019, Song et al. 2012"

    def prepare(self, evidence: Evidence, at: Setting) -> Prepared:
        """Centre the last hidden layer and compute its own HSIC."""
        return Prepared(evidence.last, at.sample_units)

    def compare(self, a: Any, b: Any) -> Estimate:
        """Similarity of two models on the same rows."""
        return compare(a, b)
