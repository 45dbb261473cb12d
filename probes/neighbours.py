"""Overlap of neighbourhoods: who lies near whom, in student and members."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import (
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    NotMeasurable,
    PairMeasure,
    Setting,
    measure,
)

_TIE = 1e-9
"""Cosines nearer than this are ties: float64 rounding of equal rows lies far below."""
_CHUNK = 512
_CACHED = 8_000_000
"""Weights of all deletions are kept if they hold at most so many numbers."""


def neighbourhood_size(n: int) -> int:
    """K = max(5, 2 % of the rows)."""
    return max(5, round(margins.NEIGHBOUR_SHARE * n))


class Neighbourhood:
    """The nearest rows of every row, by the cosine of centred rows, with ties shared.

    Rows nearer than the k-th distance weigh 1; rows tied at that distance share what is left of k,
    so that the order of equal rows never matters. A list somewhat longer than k is kept, from
    which the neighbours without any one group of rows are read off exactly.
    """

    def __init__(self, rows: Tensor, k: int, groups: Tensor) -> None:
        """Take (m, d) rows and the (m,) jackknife group of each."""
        x = rows.double()
        x = x - x.mean(0)
        norm = x.norm(dim=1, keepdim=True)
        # An infinite norm turns cosines into NaN, and NaN neighbours into a finite overlap.
        if x.shape[0] <= 2 * k or not 0 < float(norm.max()) < math.inf:
            raise NotMeasurable(f"no unit of the layer varies, or under {2 * k + 1} rows")
        self.unit = x / torch.where(norm > 0, norm, torch.ones_like(norm))
        self.k, self.groups, self.m = k, groups, int(x.shape[0])
        # Fewer than 20 where there are fewer clusters: empty groups would add degrees of freedom.
        self.count = int(groups.max()) + 1
        length = min(self.m - 1, 2 * k + 16)
        while True:
            self.similarity, self.index = self._nearest(length)
            if length == self.m - 1 or all(self._resolved(g) for g in (None, *range(self.count))):
                break
            length = min(self.m - 1, 2 * length)
        # Ascending by index, so that two lists can be matched by binary search.
        self.sorted_index, self.order = self.index.sort(dim=1)
        del self.unit

    def _nearest(self, length: int) -> tuple[Tensor, Tensor]:
        similarity, index = [], []
        for low in range(0, self.m, _CHUNK):
            s = self.unit[low : low + _CHUNK] @ self.unit.T
            s[torch.arange(s.shape[0]), torch.arange(low, low + s.shape[0])] = -math.inf
            top = s.topk(length, dim=1)
            similarity.append(top.values)
            index.append(top.indices)
        return torch.cat(similarity), torch.cat(index)

    def _kept(self, group: int | None) -> Tensor:
        if group is None:
            return torch.ones_like(self.index, dtype=torch.bool)
        return self.groups[self.index] != group

    def _threshold(self, kept: Tensor) -> Tensor:
        """(m, 1) similarity of the k-th kept neighbour; -inf where the list is too short."""
        position = (kept.cumsum(1) < self.k).sum(1, keepdim=True)
        padded = torch.cat([self.similarity, self.similarity.new_full((self.m, 1), -math.inf)], 1)
        return padded.gather(1, position)

    def _resolved(self, group: int | None) -> bool:
        """Whether no tie at the k-th distance runs over the end of the list."""
        threshold = self._threshold(self._kept(group))
        return bool((self.similarity[:, -1:] < threshold - _TIE).all())

    def weights(self, group: int | None) -> Tensor:
        """(m, length) weights, summing to k, by ascending index, without one group's rows."""
        if self.index.numel() * (self.count + 1) <= _CACHED:
            return self._all_weights[-1 if group is None else group]
        return self._weights(group)

    @cached_property
    def _all_weights(self) -> list[Tensor]:
        return [self._weights(g) for g in (*range(self.count), None)]

    def _weights(self, group: int | None) -> Tensor:
        nearer, tied = self._split(group)
        share = self._share(nearer, tied)
        return (nearer.float() + tied.float() * share[:, None]).gather(1, self.order)

    def _split(self, group: int | None) -> tuple[Tensor, Tensor]:
        """(m, length) which listed rows lie nearer than the k-th distance, and which at it."""
        kept = self._kept(group)
        threshold = self._threshold(kept)
        nearer = kept & (self.similarity > threshold + _TIE)
        return nearer, kept & ((self.similarity - threshold).abs() <= _TIE)

    def _share(self, nearer: Tensor, tied: Tensor) -> Tensor:
        """(m,) weight of each tied row: what the nearer ones leave of k."""
        return (self.k - nearer.sum(1)).float() / tied.sum(1).clamp_min(1)

    @cached_property
    def counts(self) -> tuple[Tensor, Tensor, Tensor]:
        """(m,) number of nearer rows, number of tied rows, and the weight of a tied one."""
        nearer, tied = self._split(None)
        return nearer.sum(1).double(), tied.sum(1).double(), self._share(nearer, tied).double()


def overlap(a: Neighbourhood, b: Neighbourhood) -> tuple[float, list[float]]:
    """Mean share of common neighbours in [0, 1], whole and without each jackknife group."""
    position = torch.searchsorted(b.sorted_index, a.sorted_index).clamp_max(b.index.shape[1] - 1)
    common = b.sorted_index.gather(1, position) == a.sorted_index

    def mean(group: int | None) -> float:
        wa, wb = a.weights(group), b.weights(group).gather(1, position)
        shares = (torch.minimum(wa, wb) * common).sum(1) / a.k
        return float(shares.mean() if group is None else shares[a.groups != group].mean())

    return mean(None), [mean(g) for g in range(a.count)]


def chance(a: Neighbourhood, b: Neighbourhood) -> float:
    """Mean overlap that a and b would have if b's rows were permuted at random.

    k / (m - 1) without ties; more where ties spread the weight over many rows, as in codes of few
    values, which share neighbours without knowing of each other.
    """
    (na, ta, sa), (nb, tb, sb) = a.counts, b.counts
    both = na * nb + na * tb * sb + ta * nb * sa + ta * tb * torch.minimum(sa, sb)
    return float((both / (a.k * (a.m - 1))).mean())


@measure
class Neighbours(PairMeasure):
    """Share of a row's nearest neighbours that two models have in common.

    Rows (m, d1) and (m, d2); cosine of centred rows, k = max(5, 2 % of m), ties shared. In
    [k/(m-1), 1]: 1 for equal neighbourhoods, k/(m-1) for unrelated ones. Judged as its logarithm,
    floored at chance. The standard error is a delete-a-group jackknife over 20 groups; it is
    conservative (1.3 to 1.7 times the true one).

    Source: Huh et al. 2024 (mutual k-NN); Klabunde et al. 2023 (review).
    """

    id = "similarity.neighbours"
    about = "overlap of nearest neighbours in student and members, last hidden layer"
    direction = "higher"
    range = (0.0, 1.0)
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, SCALE})
    null_value = 0.0
    group = "local geometry"
    statistic = "log(overlap)"
    unit = "log"
    needs = frozenset({"sample"})
    on = ("clean", "off_support", "certified", "unlabelled")
    source = "Huh et al. 2024"

    def prepare(self, evidence: Evidence, at: Setting) -> Neighbourhood:
        """Neighbour lists of the last hidden layer."""
        m = int(evidence.last.shape[0])
        groups = blocks.folds(m, margins.JACKKNIFE_GROUPS, at.sample_units)
        return Neighbourhood(evidence.last, neighbourhood_size(m), torch.from_numpy(groups))

    def compare(self, a: Any, b: Any) -> Estimate:
        """Log overlap of two models on the same rows."""
        whole, without = overlap(a, b)
        floor = chance(a, b)
        logs = torch.tensor(without, dtype=torch.float64).clamp_min(floor).log()
        return from_deletions(math.log(max(whole, floor)), logs.numpy(), a.m)

    def raw(self, value: float) -> float:
        """Overlap from its logarithm."""
        return math.exp(value)

    def slope(self, value: float) -> float:
        """D exp(v) / dv."""
        return math.exp(value)

    def chance(self, prepared: Sequence[Any]) -> float:
        """Log of the overlap of permuted rows, mean over pairs."""
        pairs = list(combinations(prepared, 2)) or [(prepared[0], prepared[0])]
        return sum(math.log(chance(a, b)) for a, b in pairs) / len(pairs)
