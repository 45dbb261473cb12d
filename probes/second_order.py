"""Second-order similarity: do two models see a row's neighbours at the same angles?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import Setting, measure
from ringtest.probes.neighbourhood import Neighbourhood, neighbourhood_size
from ringtest.probes.similarity import SCALED, Similarity, directions, z

_CHUNK = 512
_STEP = 4_000_000
"""Weights held at once."""


class Prepared:
    """Directions of the rows of one layer, and who is near whom."""

    def __init__(self, rows: Tensor, k: int, groups: Tensor, layer: str) -> None:
        """Take (m, d) rows and the (m,) jackknife group of each.

        Raises NotMeasurable as ``directions``, or for 2 k rows or fewer.
        """
        self.u = directions(rows, 2 * k + 1, layer)
        self.near = Neighbourhood(rows, k, groups)

    def cosines(self, near: Neighbourhood) -> Tensor:
        """(length * m,) this layer's cosines at the places of a list, which may be another's."""
        parts = []
        for low in range(0, near.m, _CHUNK):
            part = slice(low, low + _CHUNK)
            # Empty places point to row m; they weigh nothing.
            index = near.index[part].clamp_max(near.m - 1)
            parts.append((self.u[part] @ self.u.T).gather(1, index))
        return torch.cat(parts).T.flatten()


def similarities(a: Prepared, b: Prepared) -> Tensor:
    """(groups + 1, m) cosine, over a row's neighbours in either model, of its cosines in both.

    Rows tied for the last places count by the share of a place that they have in the model that
    gives them more, so that the order of equal rows never matters. 0 where either model sees no
    direction at all, as for a row at the centre, and where the row itself is left out. Line g is
    without group g, neighbours found again; the last is the whole.
    """
    m, count = a.near.m, a.near.count
    left, right = a.near.common(b.near)
    products = []
    for near in (a.near, b.near):
        x, y = a.cosines(near), b.cosines(near)
        products.append(torch.stack([x * y, x * x, y * y]))
    mine, theirs = products
    shared = mine.index_select(1, left)
    step = max(1, _STEP // (3 * max(mine.shape[1], theirs.shape[1])))
    out = []
    for low in range(0, count + 1, step):
        wa, wb = (h.weights(slice(low, low + step)).double() for h in (a.near, b.near))
        # The larger of two weights is their sum less the smaller.
        least = torch.minimum(wa.index_select(1, left), wb.index_select(1, right))
        both = torch.zeros(3, len(wa), m, dtype=torch.float64)
        both.index_add_(2, left % m, shared[:, None] * least)
        along, size_x, size_y = (
            (wa * of_a).reshape(len(wa), -1, m).sum(1)
            + (wb * of_b).reshape(len(wb), -1, m).sum(1)
            - of_both
            for of_a, of_b, of_both in zip(mine, theirs, both, strict=True)
        )
        size = size_x * size_y
        out.append(torch.where(size > 0, along / size.clamp_min(0).sqrt(), 0.0))
    return torch.cat(out).clamp_(-1.0, 1.0)


def compare(a: Prepared, b: Prepared) -> Estimate:
    """Atanh of the attenuated mean over rows, with a delete-a-group jackknife."""
    near = a.near
    kept = near.m - torch.bincount(near.groups, minlength=near.count + 1)
    means = z(similarities(a, b).sum(1) / kept)
    return from_deletions(float(means[-1]), means[:-1].numpy(), near.m)


@measure
class SecondOrder(Similarity):
    """Cosine of a row's similarities to its neighbours in two models, mean over rows.

    Rows (m, d1) and (m, d2), any widths; neighbours as in ``similarity.neighbours``, the union of
    both models' k nearest. In [-1, 1]: 1 for codes that are equal up to rotation and scale. No
    one value stands for unrelated codes: rows that are far in both models, which would speak for
    them, are in no list, and that pulls the mean below 0 by an amount that depends on rows and
    dimensions. Gaussian codes of 1000 rows: -1/3 in one dimension (cosines of 1 and -1, and the
    pairs of -1 in both left out), -.02 in 64, -.04 in 1024; of 300 rows, -.08 in 1024. Read it
    beside that of the members. A neighbour that moves a little costs a little, where an overlap of
    lists counts it as lost. The error is a delete-a-group jackknife over 20 groups: rows are
    each other's neighbours, and taken as independent outcomes they gave .55 to .8 of the true one.

    Source: Hamilton et al. 2016 (local neighbourhood measure).
    """

    id = "similarity.second_order"
    about = "cosine of a row's similarities to its neighbours in student and members, last layer"
    null_value = None
    statistic = SCALED % "second-order cosine"
    source = "Hamilton et al. 2016"

    def prepare(self, evidence: Evidence, at: Setting) -> Prepared:
        """Directions and neighbours in the last hidden layer."""
        m = int(evidence.last.shape[0])
        groups = torch.from_numpy(blocks.folds(m, margins.JACKKNIFE_GROUPS, at.sample_units))
        return Prepared(evidence.last, neighbourhood_size(m), groups, evidence.names[-1])

    def compare(self, a: Any, b: Any) -> Estimate:
        """Similarity of two models on the same rows."""
        return compare(a, b)
