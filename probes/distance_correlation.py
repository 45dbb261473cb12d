"""Bias-corrected distance correlation: dependence of any kind, not of linear kind only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.probes.cka import normalised, with_deletions
from ringtest.probes.similarity import SCALED, Similarity, centred

_CHUNK = 512
_FLAT = 1e-12
"""Distances that vary by less than this share of their mean square are equal, but for rounding."""


class Prepared:
    """Centred rows of one layer; their distances are made again, some rows at a time, when needed.

    The U-centred inner product of Szekely and Rizzo is the unbiased HSIC of Song et al. with
    distances in the kernel's place, whose diagonal is 0 as it is; so is its exact jackknife.
    """

    def __init__(self, rows: Tensor, units: NDArray[np.int64] | None, layer: str) -> None:
        """Take (m, d) rows; raises NotMeasurable as ``centred``, or if all distances are equal."""
        self.x = centred(rows, 5, layer)
        self.n, self.units = int(self.x.shape[0]), units
        self.norm = self.x.square().sum(1)
        self.k = torch.cat([self.distances(part).sum(1) for part in self.parts])
        """(n,) sum of a row's distances."""
        self.own, without = covariances(self, self)
        least = _FLAT * 2 * float(self.norm.sum()) / (self.n - 1)
        self.own_without = torch.where(without > least, without, math.nan)
        if not float(self.own) > least:
            raise NotMeasurable(f"all pairs of rows of layer {layer} lie equally far apart")

    @property
    def parts(self) -> list[slice]:
        """Some rows at a time."""
        return list(blocks.parts(self.n, _CHUNK))

    def distances(self, part: slice) -> Tensor:
        """(b, n) Euclidean distances of some rows to all."""
        squared = self.norm[part, None] + self.norm - 2 * (self.x[part] @ self.x.T)
        own = torch.arange(part.start, part.stop)
        squared[own - part.start, own] = 0  # rounding would leave 1e-8 of the norm
        return squared.clamp_min_(0).sqrt_()


def covariances(a: Prepared, b: Prepared) -> tuple[Tensor, Tensor]:
    """Unbiased squared distance covariance, and its (n,) values without each row, exactly."""
    d, c1, c2 = torch.empty(3, a.n, dtype=torch.float64)
    for part in a.parts:
        of_a = a.distances(part)
        of_b = of_a if b is a else b.distances(part)
        d[part] = (of_a * of_b).sum(1)
        c1[part], c2[part] = of_b @ a.k, of_a @ b.k
    return with_deletions(d, a.k, b.k, c1, c2)


@measure
class DistanceCorrelation(Similarity):
    """Bias-corrected distance correlation of two layers, on the squared scale.

    Rows (m, d1) and (m, d2), any widths. In [-1, 1]: 1 for codes that are equal up to rotation and
    scale, 0 in expectation for independent ones, however wide. Distances, not their squares: it
    sees dependence that no linear kernel shows, and far rows weigh less than in CKA. This is the
    U-statistic R*, which may be negative; its root would be biased. Exact delete-one jackknife.
    At most (512, m) distances are held at a time.

    Source: Szekely and Rizzo 2013; Sejdinovic et al. 2013 (as an HSIC).
    """

    id = "similarity.distance_correlation"
    about = "bias-corrected distance correlation of student and members, last hidden layer"
    statistic = SCALED % "distance correlation"
    source = "Szekely and Rizzo 2013"

    def prepare(self, evidence: Evidence, at: Setting) -> Prepared:
        """Row sums of the distances within the last hidden layer."""
        return Prepared(evidence.last, at.sample_units, evidence.names[-1])

    def compare(self, a: Any, b: Any) -> Estimate:
        """Similarity of two models on the same rows."""
        return normalised(*covariances(a, b), a, b)
