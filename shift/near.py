"""Pairs of rows that lie far closer than neighbours of such data do, by a search in chunks.

What is near depends on the data, so a pair is held against its own surroundings: a row's nearest
other row at distance r_1 is a near copy where r_1 is so small beside its K-th nearest, r_K, that
chance would hardly make such a pair. Where rows lie evenly in k dimensions,

    P(r_1 / r_K < t) <= (K - 1) t^k.

These chances of all rows are held against ``CHANCE`` as Benjamini and Hochberg (1995) do: where
there are no copies, one is told of in one search of a hundred; where there are, one in a hundred of
what is told is none. Besides, r_1 / r_K is at most ``cap``.

In one or two dimensions many pairs lie close by chance, and only what is closer by far is told; on
grids and among one-hot rows all neighbours lie equally far and nothing is near. k is read off the
data as the median of the estimates of Levina and Bickel (2004) between r_(K/2) and r_K, which
copies do not touch as long as a row has fewer than K / 2 of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks
from ringtest.progress import Progress

K: Final = 16
"""The neighbour that says how far neighbours are."""
CHANCE: Final = 0.01
"""Share of the rows told of that are expected to be no copies."""
LEAST: Final = 4 * K
"""Under so many rows nothing can be said of the usual distance."""
FEW: Final = 8
"""Up to so many dimensions a tree is faster than products, and exact."""
MOST_CANDIDATES: Final = 20_000
"""Rows that are looked at again; the closest ones, where there are more."""
_SAMPLE: Final = 1_000
_ANCHORS: Final = 2_048
_STEP: Final = 2_048
_SLACK: Final = 1.5
"""Projected distances are off by up to a quarter, so that many more are looked at again."""
_ROUNDING: Final = 4e-6
"""Squared distances from float32 products are off by this, times the squared lengths."""
_TRIED: Final = 4
"""So many of the nearest are measured directly: rounding may have put them in a wrong order."""

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Distance = Callable[[Indices, Indices], Numbers]


@dataclass(frozen=True)
class Pairs:
    """What a search found."""

    first: Indices
    """(p,) rows, ascending."""
    second: Indices
    """(p,) the row that each is a near copy of."""
    dimensions: float
    """Intrinsic dimension k of the data."""
    all_seen: bool = True
    """False: more rows than ``MOST_CANDIDATES`` were close; there may be more pairs."""


def unlikely(ratios: Numbers, k: Numbers, n: int) -> NDArray[np.bool_]:
    """Which ratios r_1 / r_K, of n rows, are too small for chance; those not given are large."""
    chances = (K - 1) * ratios**k
    order = np.argsort(chances, kind="stable")
    kept = np.flatnonzero(chances[order] <= CHANCE * np.arange(1, len(order) + 1) / n)
    found = np.zeros(len(ratios), dtype=bool)
    found[order[: kept[-1] + 1 if len(kept) else 0]] = True
    return found


def dimension(near: Numbers) -> float:
    """Intrinsic dimension from (s, K) ascending distances; infinite where they are all alike."""
    low, high = near[:, K // 2 - 1], near[:, K - 1]
    kept = low > 0
    if not kept.any():
        return 1.0
    spread = np.log(high[kept] / low[kept])
    with np.errstate(divide="ignore"):
        return float(np.median((1 / np.arange(K // 2, K)).sum() / spread))


def search(
    points: Tensor,
    others: Tensor | None,
    distance: Distance,
    columns: Distance,
    cap: float,
    most: float,
    say: Progress,
) -> Pairs:
    """Near copies of rows among other rows, or among themselves.

    Args:
        points: (n, d) float32, no two rows equal as given; lengths and distances as in the data, or
            as a random projection keeps them.
        others: (m, d) rows to look among, none equal to a point; None: the points themselves.
        distance: of (p,) points and (p,) others, exactly.
        columns: number of columns in which they differ, which bounds k.
        cap: largest t.
        most: largest distance of a near copy.
        say: is told the share that is done.

    Returns:
        Pairs; of points among themselves each pair once.
    """
    n = len(points)
    if points.shape[1] <= FEW:
        found, near, k = _by_tree(points, others)
        rows, all_seen = np.arange(n), True
    else:
        k, rows, all_seen = _candidates(points, others, cap, most, say)
        near, found = _nearest(points, others, rows)
    tried = found[:, :_TRIED]
    exact = distance(np.repeat(rows, tried.shape[1]), tried.reshape(-1)).reshape(tried.shape)
    best = exact.argmin(axis=1)
    at = np.arange(len(rows))
    second = tried[at, best]
    nearest = exact[at, best]
    # Other rows than these are above the cap, and count as rows that are no copies.
    close = np.flatnonzero((nearest <= cap * near[:, -1]) & (nearest <= most))
    ratios = nearest[close] / np.maximum(near[close, -1], 1e-300)
    bound = np.minimum(k, np.maximum(columns(rows[close], second[close]), 1))
    close = close[unlikely(ratios, bound, n)]
    pairs = np.stack([rows[close], second[close]], axis=1)
    if others is None:
        pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    pairs = pairs.astype(np.int64)
    return Pairs(pairs[:, 0], pairs[:, 1], k, all_seen)


def cost(n: int, m: int | None, d: int) -> float:
    """Multiply-adds of a search, roughly; ``m`` is None for points among themselves."""
    pairs = n * n / 2 if m is None else n * m
    return pairs * (d + 32) if d > FEW else 100.0 * (n + (m or 0)) * K


def _by_tree(points: Tensor, others: Tensor | None) -> tuple[Indices, Numbers, float]:
    """Indices and distances (n, K) of the nearest, ascending, and the dimension."""
    from scipy.spatial import cKDTree

    x = points.double().numpy()
    tree = cKDTree(x if others is None else others.double().numpy())
    wanted = K + 1 if others is None else K
    parts = [tree.query(x[part], k=wanted) for part in blocks.parts(len(x), _STEP)]
    near, found = (np.concatenate(p) for p in zip(*parts, strict=True))
    if others is None:
        near = np.where(found == np.arange(len(x))[:, None], np.inf, near)
        order = np.argsort(near, axis=1, kind="stable")[:, :K]
        near, found = (np.take_along_axis(v, order, axis=1) for v in (near, found))
    return found.astype(np.int64), near, dimension(near)


def _candidates(
    points: Tensor, others: Tensor | None, cap: float, most: float, say: Progress
) -> tuple[float, Indices, bool]:
    """Dimension, and the rows whose nearest may be near enough: a superset, but for rounding."""
    n, among = len(points), points if others is None else others
    draw = np.random.default_rng(blocks.derive(0, "leakage", n, len(among)))
    sample = np.sort(draw.permutation(n)[:_SAMPLE])
    k = dimension(_nearest(points, others, sample)[0])
    # Were all rows copies, no larger one were unlikely.
    t = min(cap, (CHANCE / (K - 1)) ** (1 / k))
    anchors = np.sort(draw.permutation(len(among))[:_ANCHORS])
    # The K-th of some rows is no nearer than the K-th of all.
    reach = _reach(
        points, among[torch.from_numpy(anchors)], None if others is not None else anchors
    )
    limit = np.minimum(_SLACK * t * reach, _SLACK * most) ** 2
    limit += _ROUNDING * (points.double() ** 2).sum(dim=1).numpy()
    first = _first(points, others, say)
    rows = np.flatnonzero(first <= limit)
    if len(rows) <= MOST_CANDIDATES:
        return k, rows, True
    order = np.argsort(first[rows] / np.maximum(reach[rows], 1e-30) ** 2, kind="stable")
    return k, np.sort(rows[order[:MOST_CANDIDATES]]), False


def _sides(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors (n, d + 2), (m, d + 2) whose products are -1/2 times squared distances."""
    left, right = (0.5 * (x * x).sum(dim=1, keepdim=True) for x in (points, others))
    one = torch.cat([points, -left, torch.ones_like(left)], dim=1)
    return one, torch.cat([others, torch.ones_like(right), -right], dim=1)


def _first(points: Tensor, others: Tensor | None, say: Progress) -> Numbers:
    """(n,) squared distance to the nearest; a point is not its own neighbour."""
    a, b = _sides(points, points if others is None else others)
    best = torch.full((len(a),), -torch.inf)
    done, total = 0, len(a) * len(b) / (2 if others is None else 1)
    for rows in blocks.parts(len(a), _STEP):
        for columns in blocks.parts(len(b), _STEP):
            if others is None and columns.start < rows.start:
                continue  # seen from the other side
            products = a[rows] @ b[columns].T
            if others is None and columns.start == rows.start:
                products.fill_diagonal_(-torch.inf)
            elif others is None:
                best[columns] = torch.maximum(best[columns], products.amax(dim=0))
            best[rows] = torch.maximum(best[rows], products.amax(dim=1))
            done += products.numel()
        say("leakage.near", min(1.0, done / total))
    found: Numbers = np.maximum(-2 * best.double().numpy(), 0.0)
    return found


def _nearest(points: Tensor, others: Tensor | None, rows: Indices) -> tuple[Numbers, Indices]:
    """Distances and indices (r, K) of the nearest of some points, ascending."""
    among = points if others is None else others
    chosen = torch.from_numpy(rows)
    a, b = _sides(points[chosen], among)
    near, found = [torch.empty(0, K)], [torch.empty(0, K, dtype=torch.int64)]
    for part in blocks.parts(len(a), 256):
        values = torch.full((len(a[part]), K), -torch.inf)
        index = torch.zeros((len(a[part]), K), dtype=torch.int64)
        for columns in blocks.parts(len(b), 16 * _STEP):
            products = a[part] @ b[columns].T
            if others is None:
                own = chosen[part] - columns.start
                inside = torch.nonzero((own >= 0) & (own < products.shape[1]))[:, 0]
                products[inside, own[inside]] = -torch.inf
            top, places = products.topk(min(K, products.shape[1]), dim=1)
            values, order = torch.cat([values, top], dim=1).topk(K, dim=1)
            index = torch.cat([index, places + columns.start], dim=1).gather(1, order)
        near.append(values)
        found.append(index)
    return np.sqrt(np.maximum(-2 * torch.cat(near).double().numpy(), 0)), torch.cat(found).numpy()


def _reach(points: Tensor, anchors: Tensor, own: Indices | None) -> Numbers:
    """(n,) distance to the K-th nearest anchor; ``own``: which points the anchors are."""
    a, b = _sides(points, anchors)
    out = []
    for part in blocks.parts(len(a), _STEP):
        products = a[part] @ b.T
        if own is not None:
            mine = np.flatnonzero((own >= part.start) & (own < part.stop))
            products[torch.from_numpy(own[mine] - part.start), torch.from_numpy(mine)] = -torch.inf
        out.append(products.topk(K, dim=1).values[:, -1])
    found: Numbers = np.sqrt(np.maximum(-2 * torch.cat(out).double().numpy(), 0.0))
    return found
