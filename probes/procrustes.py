"""Orthogonal Procrustes: how well one layer, turned, lies on another; fitted and scored apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import margins
from ringtest.estimate import Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.probes.concepts import folds
from ringtest.probes.similarity import SCALED, Similarity, centred, z

_RANK, _NOISE = 1e-10, 1e-24
"""Directions that the two layers share less than this much, of the most and of the layers' sizes,
say nothing of how to turn: rounding would choose for them."""


@dataclass(frozen=True)
class Shape:
    """How alike two sets of rows are after the best rotation, fitted on the rows themselves."""

    score: float
    """Cosine of the angle between them, in [0, 1]; 1 is alike."""
    angular: float
    """That angle in radians, a distance of shapes: it obeys the triangle inequality."""
    squared: float
    """Squared Euclidean distance of the centred rows, not scaled."""


def shape(x: Tensor, y: Tensor) -> Shape:
    """Shape distance of (n, p) and (n, q) rows, any widths, without cross-validation.

    Padding the narrower with zeros and turning it costs nothing: the best alignment is the sum of
    the singular values of X'Y. With as many units as rows it is high for any two layers; the
    measure scores rows that the rotation has not seen. Raises NotMeasurable as :func:`centred`.

    Source: Williams et al. 2021 (generalized shape metrics on neural representations).
    """
    a, b = centred(x, 2, "x"), centred(y, 2, "y")
    best = float(torch.linalg.svdvals(a.T @ b).sum())
    size_a, size_b = float(a.square().sum()), float(b.square().sum())
    score = min(best / math.sqrt(size_a * size_b), 1.0)
    return Shape(score, math.acos(score), max(size_a + size_b - 2 * best, 0.0))


def rotation(cross: Tensor, size: float) -> Tensor:
    """(p, q) map Q that turns x nearest to y, from (p, q) X'Y: it has the largest tr(Q'X'Y).

    Directions that the rows do not show in both layers are mapped to nothing.

    Args:
        cross: X'Y.
        size: |X| |Y| of the whole layers, against which rounding is told.
    """
    u, s, vt = torch.linalg.svd(cross, full_matrices=False)
    known = s > max(_RANK * float(s[0]), _NOISE * size)
    turned: Tensor = u[:, known] @ vt[known]
    return turned


class Prepared:
    """Centred rows of one layer, no wider than long, and their folds."""

    def __init__(
        self, rows: Tensor, fold: Tensor, units: NDArray[np.int64] | None, layer: str
    ) -> None:
        """Take (m, d) rows; raises NotMeasurable as :func:`centred`, or for too few folds."""
        x = centred(rows, 2 * margins.PROBE_FOLDS, layer)
        present = len(fold.unique())
        if present < margins.PROBE_FOLDS:
            raise NotMeasurable(
                f"{present} independent rows are fewer than {margins.PROBE_FOLDS} folds"
            )
        # In the basis of its own rows a wide layer has the same angles and fewer columns.
        self.x = x if x.shape[1] <= x.shape[0] else torch.linalg.qr(x.T, mode="r").R.T
        self.fold, self.units = fold, units


def compare(a: Prepared, b: Prepared) -> Estimate:
    """Atanh of the attenuated cosine over all rows, each turned by what the other folds say.

    The jackknife leaves rows out of the score, not out of the fits: at the best rotation the score
    is flat, so that what a row does to the fit is of second order. For related layers that gives
    1.1 to 1.3 of the true error; near 0, where no rotation is best, .6 to .8.
    """
    m = int(a.x.shape[0])
    along, size_a, size_b = torch.empty(3, m, dtype=torch.float64)
    size = float(a.x.norm() * b.x.norm())
    for f in range(margins.PROBE_FOLDS):
        out = a.fold == f
        centre_a, centre_b = a.x[~out].mean(0), b.x[~out].mean(0)
        # One scale for the whole layer leaves rotation and cosine as they are.
        turn = rotation((a.x[~out] - centre_a).T @ (b.x[~out] - centre_b), size)
        xa, xb = a.x[out] - centre_a, b.x[out] - centre_b
        along[out] = ((xa @ turn) * xb).sum(1)
        size_a[out], size_b[out] = xa.square().sum(1), xb.square().sum(1)

    def cosine(part: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
        return z(part / (of_a * of_b).sqrt())

    whole = along.sum(), size_a.sum(), size_b.sum()
    deleted = cosine(*(t - v for t, v in zip(whole, (along, size_a, size_b), strict=True)))
    return from_deletions(float(cosine(*whole)), deleted.numpy(), m, a.units)


@measure
class Procrustes(Similarity):
    """Cosine of the angle between two layers after a rotation that was fitted on other rows.

    Rows (m, d1) and (m, d2), any widths. In [-1, 1]: 1 for codes that are equal up to rotation and
    scale, 0 in expectation for unrelated ones, whatever their width. 5 folds, clusters whole; each
    fold is centred and turned by what the others say, so a layer with more directions than training
    rows falls short of 1 even against its copy, as members do. Unlike CKA it weighs directions by
    their standard deviation, not their variance: it sees what small directions do.

    Source: Williams et al. 2021; Schonemann 1966 (the rotation); Ding et al. 2021 (against CKA).
    """

    id = "similarity.procrustes"
    about = "cosine of student and members after the best rotation, cross-validated, last layer"
    statistic = SCALED % "procrustes"
    source = "Williams et al. 2021"

    def prepare(self, evidence: Evidence, at: Setting) -> Prepared:
        """Centre the last hidden layer."""
        return Prepared(evidence.last, folds(at), at.sample_units, evidence.names[-1])

    def compare(self, a: Any, b: Any) -> Estimate:
        """Similarity of two models on the same rows."""
        return compare(a, b)
