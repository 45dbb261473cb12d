"""Neighbourhoods of rows, with ties shared, and what two of them have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import margins
from ringtest.measure import NotMeasurable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_TIE = 1e-9
"""Cosines nearer than this are ties: float64 rounding of equal rows lies far below."""
_WHOLE, _CHUNK = 1024, 256
"""Up to the first, all cosines at once: numpy halves a symmetric product. Chunks stay in cache."""
_CACHED = 8_000_000
"""Weights of all deletions are kept if they hold at most so many numbers."""
_STEP = 200_000
"""Weights compared at once: fresh memory costs more than what is done in it."""
_BITS = 31
"""Deletions that a number can tell apart."""
_TABLE = 4_096
"""Up to so many rows, places in lists are looked up in a table of all pairs, not searched for."""


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
        x = rows.detach().double()
        x = x - x.mean(0)
        norm = x.norm(dim=1, keepdim=True)
        # An infinite norm turns cosines into NaN, and NaN neighbours into a finite overlap.
        if x.shape[0] <= 2 * k or not 0 < float(norm.max()) < math.inf:
            raise NotMeasurable(f"no unit of the layer varies, or under {2 * k + 1} rows")
        unit = (x / torch.where(norm > 0, norm, torch.ones_like(norm))).numpy()
        self.k, self.groups, self.m = k, groups, int(x.shape[0])
        # Fewer than 20 where there are fewer clusters: empty groups would add degrees of freedom.
        self.count = int(groups.max()) + 1
        # One more, for row m: it fills the places that a list leaves empty, at no similarity.
        self._group = np.append(groups.numpy(), self.count).astype(np.int32)
        step = self.m if self.m <= _WHOLE else _CHUNK
        parts = [p for low in range(0, self.m, step) for p in self._lists(unit, low, step)]
        own, listed, columns, values, limits = map(np.concatenate, zip(*parts, strict=True))
        order = np.argsort(own)
        index, similarity = _padded(listed, (columns, self.m), (values, -np.inf))
        self.index = torch.from_numpy(index[order])
        # Rows last, as in the weights: numpy is fast at long contiguous lines.
        self.similarity = np.ascontiguousarray(similarity[order].T)
        self.threshold = np.ascontiguousarray(limits[order].T)
        self._listed_group = self._group[np.ascontiguousarray(self.index.numpy().T)]

    def _lists(self, unit: Floats, low: int, step: int) -> Iterator[tuple[NDArray[Any], ...]]:
        """(r,) rows, (r,) lengths of their lists, the lists end to end, and the thresholds."""
        s = unit[low : low + step] @ unit.T
        own = np.arange(low, low + s.shape[0])
        s[own - low, own] = -np.inf
        enough = min(self.m - 1, self.k + int(np.bincount(self._group[:-1]).max()))
        length = min(self.m - 1, self.k + max(8, self.k // 4))
        while own.size:
            columns, values, bound = _candidates(s, length)
            limits = self._thresholds(columns, values, length)
            # A row that is itself left out has no neighbours, however many of its cluster are near.
            limits[np.arange(own.size), self._group[own]] = np.inf
            least = limits.min(1)
            # What is no candidate lies below the bound by more than a tie. Only rows with too many
            # neighbours of one group, such as a cluster, need a longer list.
            done = (least >= bound) | (length >= enough)
            needed = np.flatnonzero((values >= least[:, None] - _TIE) & done[:, None])
            listed = np.bincount(needed // values.shape[1], minlength=own.size)
            yield own[done], listed[done], columns.take(needed), values.take(needed), limits[done]
            own, s, length = own[~done], s[~done], min(3 * length, enough)

    def _thresholds(self, columns: Ints, values: Floats, length: int) -> Floats:
        """(r, count + 1) similarity of the k-th candidate, without each group and without none.

        -inf if not among the `length` nearest. Without a group, it stands as many places behind
        the k-th of all as there are rows of the group with under k others before them.
        """
        rows, width = columns.shape
        order = np.argsort(-values, axis=1)[:, :length] + np.arange(rows)[:, None] * width
        # Sorted by group, then by place: in one key, as numpy sorts small integers fastest.
        key = self._group[columns.take(order)] * np.int32(length)
        key = np.sort(key + np.arange(length, dtype=np.int32), axis=1)
        group = key // np.int32(length)
        bins = (group + np.arange(rows)[:, None] * (self.count + 1)).ravel()
        size = np.bincount(bins, minlength=rows * (self.count + 1))
        same = np.arange(bins.size) - (size.cumsum() - size)[bins]
        others = (key - group * np.int32(length)).ravel() - same
        late = np.bincount(bins, others < self.k, size.size).astype(np.int64).reshape(rows, -1)
        place = np.minimum(self.k - 1 + late, length) + np.arange(rows)[:, None] * (length + 1)
        nearest = np.full((rows, length + 1), -np.inf)
        nearest[:, :length] = values.take(order)
        return nearest.take(place)

    def weights(self, deletions: slice) -> Tensor:
        """(g, length * m) weights, place by place, without groups; without none is the last.

        They sum to k over a row's list, or to 0 where the row itself is left out.
        """
        if self.index.numel() * (self.count + 1) <= _CACHED:
            return self._all_weights[deletions]
        return self._weights(deletions)

    @cached_property
    def _all_weights(self) -> Tensor:
        return self._weights(slice(None))

    def _weights(self, deletions: slice) -> Tensor:
        without = np.arange(self.count + 1, dtype=np.int32)[deletions, None, None]
        kept = self._listed_group != without
        threshold = self.threshold[deletions, None]
        nearer = self.similarity > threshold + _TIE
        nearer &= kept
        # No cosine lies below -1. Where fewer than k are kept, at -inf, empty places are not tied.
        tied = self.similarity >= np.maximum(threshold - _TIE, -2)
        tied &= kept
        near = nearer.sum(1, keepdims=True, dtype=np.int32)
        # What the nearer ones leave of k. They are still among `tied`, and get their 1 below.
        share = (self.k - near) / np.maximum(tied.sum(1, keepdims=True, dtype=np.int32) - near, 1)
        weight = tied * np.minimum(share, 1).astype(np.float32)
        np.maximum(weight, nearer, out=weight)
        return torch.from_numpy(weight).flatten(1)

    @cached_property
    def bits(self) -> NDArray[np.int32] | None:
        """(length * m,) bit g says whether a place counts without group g, the last without none.

        None where ties share a place, so that weights lie between 0 and 1. Far smaller than these:
        what takes time is memory.
        """
        if self.count + 1 > _BITS:
            return None
        out = np.zeros(self.similarity.shape, dtype=np.int32)
        for g, threshold in enumerate(self.threshold):
            near = self.similarity >= np.maximum(threshold - _TIE, -2)
            near &= self._listed_group != g
            # Without its own group a row has no neighbours, and counts for nothing.
            if not bool(((near.sum(0, dtype=np.int32) == self.k) | (threshold == np.inf)).all()):
                return None
            out |= near * np.int32(1 << g)
        return out.ravel()

    @cached_property
    def _places(self) -> Tensor:
        """(m * (m + 1),) where the pair of a row and another lies in the weights; -1: nowhere."""
        table = torch.full((self.m, self.m + 1), -1, dtype=torch.int32)
        length = self.index.shape[1]
        place = torch.arange(length, dtype=torch.int32) * self.m
        table.scatter_(1, self.index, place + torch.arange(self.m, dtype=torch.int32)[:, None])
        table[:, self.m] = -1
        return table.flatten()

    @cached_property
    def _pairs(self) -> Tensor:
        """(length * m,) number of each place's pair in such a table."""
        return (self.index + torch.arange(self.m)[:, None] * (self.m + 1)).T.flatten()

    def common(self, other: Neighbourhood) -> tuple[Tensor, Tensor]:
        """Places of the pairs that are in both lists: in the weights of this, and of the other."""
        if self.m <= _TABLE:
            there = other._places.index_select(0, self._pairs)
            mine = (there >= 0).nonzero()[:, 0]
            return mine, there.index_select(0, mine)
        # Row and place of the entries that are in the other's lists, too, and their place there.
        position = torch.searchsorted(other.index, self.index).clamp_max_(other.index.shape[1] - 1)
        both = (other.index.gather(1, position) == self.index) & (self.index < self.m)
        place, row = both.T.nonzero(as_tuple=True)  # in the order in which the weights lie
        return place * self.m + row, position[row, place] * self.m + row

    @cached_property
    def counts(self) -> tuple[Tensor, Tensor, Tensor]:
        """(m,) number of nearer rows, number of tied rows, and the weight of a tied one."""
        above = torch.from_numpy(self.similarity - self.threshold[-1])
        nearer, tied = (above > _TIE).sum(0).double(), (above.abs() <= _TIE).sum(0).double()
        return nearer, tied, (self.k - nearer) / tied.clamp_min(1)


def _padded(listed: Ints, *lists: tuple[NDArray[Any], float]) -> list[NDArray[Any]]:
    """Lists that lie end to end as the rows of a matrix, each with what fills its empty places."""
    width = int(listed.max())
    places = np.flatnonzero(np.arange(width) < listed[:, None])
    matrices = []
    for flat, fill in lists:
        matrix = np.full(listed.size * width, fill, flat.dtype)
        matrix[places] = flat
        matrices.append(matrix.reshape(-1, width))
    return matrices


def _candidates(s: Floats, length: int) -> tuple[Ints, Floats, Floats]:
    """The `length` nearest columns of each row and some more: all within two ties of a bound.

    (r, w) indices, ascending, and similarities, padded with the number of columns and -inf; and
    the (r,) bounds. A bound is the length-th of the maxima of blocks of columns, which the
    length-th of all columns reaches: selecting from all would take most of a measure's time.
    """
    rows, m = s.shape
    block = m // (4 * length) or m // (2 * length) or 1
    size = m // block
    maxima = torch.from_numpy(s)[:, : block * size].unflatten(1, (block, size)).amax(1).numpy()
    bound = np.partition(maxima, size - length, axis=1)[:, size - length]
    flat = np.flatnonzero(s >= bound[:, None] - 2 * _TIE)
    row, column = np.divmod(flat, m)
    listed = np.bincount(row, minlength=rows)
    columns, values = _padded(listed, (column, m), (s.take(flat), -np.inf))
    return columns, values, bound


def overlap(a: Neighbourhood, b: Neighbourhood) -> tuple[float, list[float]]:
    """Mean share of common neighbours in [0, 1], whole and without each jackknife group."""
    left, right = a.common(b)
    if a.bits is not None and b.bits is not None:
        both = a.bits.take(left.numpy()) & b.bits.take(right.numpy())
        found = [np.count_nonzero(both & (1 << g)) for g in range(a.count + 1)]
        total = torch.tensor(found, dtype=torch.float64)
    else:
        parts = [w.sum(1, dtype=torch.float64) for w in least_weights(a, b, left, right)]
        total = torch.cat(parts)
    rows = a.m - torch.bincount(a.groups, minlength=a.count + 1)
    *without, whole = (total / a.k / rows).tolist()
    return whole, without


def least_weights(
    a: Neighbourhood, b: Neighbourhood, left: Tensor, right: Tensor
) -> Iterator[Tensor]:
    """(g, pairs) the smaller of both weights of common pairs, some deletions at a time."""
    longest = max(a.index.numel(), b.index.numel())
    step = max(1, min(_STEP // max(1, len(left)), _CACHED // longest))
    for low in range(0, a.count + 1, step):
        wa, wb = (h.weights(slice(low, low + step)) for h in (a, b))
        yield torch.minimum(wa.index_select(1, left), wb.index_select(1, right))


def chance(a: Neighbourhood, b: Neighbourhood) -> float:
    """Mean overlap that a and b would have if b's rows were permuted at random.

    k / (m - 1) without ties; more where ties spread the weight over many rows, as in codes of few
    values, which share neighbours without knowing of each other.
    """
    (na, ta, sa), (nb, tb, sb) = a.counts, b.counts
    both = na * nb + na * tb * sb + ta * nb * sa + ta * tb * torch.minimum(sa, sb)
    return float((both / (a.k * (a.m - 1))).mean())
