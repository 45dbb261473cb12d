"""Jaccard similarity of neighbourhoods: what two lists share, of all that is in either."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ringtest.estimate import Estimate, from_deletions
from ringtest.measure import measure
from ringtest.probes import neighbourhood
from ringtest.probes.neighbourhood import Neighbourhood
from ringtest.probes.neighbours import Neighbours


def jaccard(a: Neighbourhood, b: Neighbourhood) -> tuple[float, list[float]]:
    """Mean over rows of the weighted Jaccard similarity, whole and without each jackknife group.

    Sum of the smaller over sum of the larger of both weights of every neighbour. A row's weights
    sum to k in either model, so the larger ones sum to 2 k less the smaller ones.
    """
    common = _common(a, b)
    kept = a.m - torch.bincount(a.groups, minlength=a.count + 1)
    # Where fewer than k others stay, all of them are neighbours. A row left out shares nothing.
    size = (kept - 1).clamp(1, a.k)[:, None]
    *without, whole = ((common / (2 * size - common)).sum(1) / kept).tolist()
    return whole, without


def _common(a: Neighbourhood, b: Neighbourhood) -> Tensor:
    """(count + 1, m) sum of the smaller of both weights of each row's neighbours, by deletion."""
    left, right = a.common(b)
    row = left % a.m
    if a.bits is not None and b.bits is not None:
        both = a.bits.take(left.numpy()) & b.bits.take(right.numpy())
        found = [
            np.bincount(row.numpy()[(both & np.int32(1 << g)) != 0], minlength=a.m)
            for g in range(a.count + 1)
        ]
        return torch.from_numpy(np.stack(found)).double()
    parts = []
    for least in neighbourhood.least_weights(a, b, left, right):
        summed = torch.zeros(len(least), a.m, dtype=torch.float64)
        parts.append(summed.index_add_(1, row, least.double()))
    return torch.cat(parts)


def chance(a: Neighbourhood, b: Neighbourhood) -> float:
    """Mean Jaccard similarity that a and b would have if b's rows were permuted at random.

    Without ties what two lists share is hypergeometric. Ties spread a list over many rows, so that
    what is shared hardly varies: then it is the similarity at the overlap to be expected.
    """
    if _untied(a) and _untied(b):
        shared = np.arange(a.k + 1)
        probability = stats.hypergeom(a.m - 1, a.k, a.k).pmf(shared)
        return float((probability * shared / (2 * a.k - shared)).sum())
    overlap = neighbourhood.chance(a, b)
    return overlap / (2 - overlap)


def _untied(a: Neighbourhood) -> bool:
    nearer, tied, _ = a.counts
    return bool((nearer + tied == a.k).all())


@measure
class Jaccard(Neighbours):
    """Jaccard similarity of a row's nearest neighbours in two models, mean over rows.

    Rows (m, d1) and (m, d2); the neighbours are those of ``similarity.neighbours``: cosine of
    centred rows, k = max(5, 2 % of m), ties shared. In [0, 1]: 1 for equal neighbourhoods, about
    k / (2 m) for unrelated ones. It falls faster than the overlap o, as o / (2 - o), and rows that
    share little pull it down more. Judged as its logarithm, floored at chance; delete-a-group
    jackknife over 20 groups, neighbours found again, conservative.

    Source: Klabunde et al. 2023 (review); Hryniowski and Wong 2020 (nearest-neighbour topology).
    """

    id = "similarity.jaccard"
    about = "Jaccard similarity of nearest neighbours in student and members, last hidden layer"
    group = None
    default = False
    statistic = "log(jaccard)"
    source = "Klabunde et al. 2023"

    def compare(self, a: Any, b: Any) -> Estimate:
        """Log Jaccard similarity of two models on the same rows."""
        whole, without = jaccard(a, b)
        floor = chance(a, b)
        logs = torch.tensor(without, dtype=torch.float64).clamp_min(floor).log()
        return from_deletions(math.log(max(whole, floor)), logs.numpy(), a.m)

    def chance(self, prepared: Sequence[Any]) -> float:
        """Log of the similarity of permuted rows, mean over pairs."""
        pairs = list(combinations(prepared, 2)) or [(prepared[0], prepared[0])]
        return sum(math.log(chance(a, b)) for a, b in pairs) / len(pairs)
