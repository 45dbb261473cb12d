"""Beam search for the rows on which a number runs highest, over conjunctions of literals.

All pairs of literals are tried at once: counts and sums of all conjunctions of two are the products
X'X and X'(e X) of the boolean matrix X with itself, e being the number. Those of three are the
products of the best pairs with X. No loop goes over rows, and rows come in chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Chosen = tuple[int, ...]
"""Literals of a conjunction, ascending."""
WIDTH: Final = 50
"""Conjunctions of each length that are kept to be extended."""
DEPTH: Final = 3
_CHUNK: Final = 8_192


@dataclass(frozen=True)
class Search:
    """What is searched for, and how small it may be."""

    together: NDArray[np.bool_]
    """(L, L) literals that may stand together."""
    least: int
    """Rows of the smallest conjunction."""
    most: int
    """Conjunctions that are returned."""
    margin: float = 0.0
    """Level from which the number counts; that of all rows, if higher."""
    plain: bool = False
    """Whether literals are dropped again that do not tell the rows that they exclude apart."""

    def __call__(self, holds: NDArray[np.bool_], harm: NDArray[np.float64]) -> list[Chosen]:
        """The best conjunctions, the best first, each with rows that no better one explains.

        Conjunctions are ranked by z^2 - 2 k log L: z is the sum of the excess over the level in
        standard errors, k the literals of the conjunction out of L, so that a literal has to earn
        what the best of L useless ones would bring (the risk inflation criterion; Foster & George
        1994). They are taken greedily, each ranked by the rows that those before it do not hold.

        Args:
            holds: (m, L) literals.
            harm: (m,) the number.
        """
        count = holds.shape[1]
        spread = float(harm.std())
        if not count or harm.min() == harm.max() or len(harm) < 2 * self.least:
            return []
        excess = ((harm - max(self.margin, float(harm.mean()))) / spread).astype(np.float32)
        pool = self._pool(holds, excess)
        return self._greedy(pool, holds, excess, 2 * math.log(max(count, 2)))

    def _pool(self, holds: NDArray[np.bool_], excess: Floats) -> list[Chosen]:
        """The best conjunctions of each length."""
        n, sums, pairs, of_pairs = _products(holds, excess)
        alone = _z(n, sums, self.least)
        z = _z(pairs, of_pairs, self.least)
        z[~self.together | np.tri(len(z), dtype=bool)] = -np.inf
        out: list[Chosen] = [(int(i),) for i in _best(alone)]
        beam: list[Chosen] = [(int(i), int(j)) for i, j in zip(*_best2(z), strict=True)]
        out += beam
        for _ in range(DEPTH - 2):
            beam = self._longer(beam, holds, excess)
            out += beam
        return out

    def _longer(self, beam: list[Chosen], holds: NDArray[np.bool_], excess: Floats) -> list[Chosen]:
        """The best conjunctions of one more literal."""
        if not beam:
            return []
        width = holds.shape[1]
        n = np.zeros((len(beam), width), dtype=np.float64)
        sums = np.zeros_like(n)
        for part in _parts(len(holds)):
            x = holds[part].astype(np.float32)
            parents = all_hold(holds[part], beam).astype(np.float32)
            n += parents.T @ x
            sums += (parents * excess[part, None]).T @ x
        z = _z(n, sums, self.least)
        for i, chosen in enumerate(beam):
            z[i, ~self.together[list(chosen)].all(0)] = -np.inf
        found: dict[Chosen, None] = {}
        for i, j in zip(*_best2(z, len(beam[0]) + 1), strict=True):
            found.setdefault(tuple(sorted((*beam[int(i)], int(j)))))
        return list(found)[:WIDTH]

    def _greedy(
        self, pool: list[Chosen], holds: NDArray[np.bool_], excess: Floats, price: float
    ) -> list[Chosen]:
        if not pool:
            return []
        masks = np.concatenate([all_hold(holds[p], pool) for p in _parts(len(holds))])
        cost = price * np.array([len(c) for c in pool])
        free = np.ones(len(holds), dtype=np.float32)
        out: list[Chosen] = []
        while len(out) < self.most:
            n, sums = np.zeros(len(pool)), np.zeros(len(pool))
            for part in _parts(len(holds)):
                weight = np.stack([free[part], free[part] * excess[part]])
                count, total = weight @ masks[part].astype(np.float32)
                n += count
                sums += total
            z = _z(n, sums, max(self.least // 2, 2) if out else self.least)
            value = np.where(z > 0, z * np.abs(z) - cost, -np.inf)
            best = int(np.argmax(value))
            # What is left by better ones has to be beyond what the best of useless ones would be.
            if not z[best] > 0 or (self.plain and out and not value[best] > 0):
                break
            taken = self._plain(pool[best], holds, excess, price) if self.plain else pool[best]
            rows = masks[:, best] if taken == pool[best] else all_hold(holds, [taken])[:, 0]
            if taken not in out:
                out.append(taken)
            # What was taken before explains nothing of these any more.
            free = free * ~(rows | masks[:, best])
        return out

    def _plain(
        self, chosen: Chosen, holds: NDArray[np.bool_], excess: Floats, price: float
    ) -> Chosen:
        """Without literals whose excluded rows differ by less than the price of a literal."""
        while len(chosen) > 1:
            shorter = [tuple(c for c in chosen if c != one) for one in chosen]
            masks = all_hold(holds, [chosen, *shorter])
            inside, wider = masks[:, 0], masks[:, 1:] & ~masks[:, :1]
            gaps = [_gap(inside, rest, excess) for rest in wider.T]
            least = int(np.argmin(gaps))
            if gaps[least] * abs(gaps[least]) > price:
                break
            chosen = shorter[least]
        return chosen


def _gap(inside: NDArray[np.bool_], rest: NDArray[np.bool_], excess: Floats) -> float:
    """By how many standard errors the mean inside is above that of the rest; 0 without a rest."""
    n, m = int(inside.sum()), int(rest.sum())
    if not n or not m:
        return 0.0
    return float((excess[inside].mean() - excess[rest].mean()) / math.sqrt(1 / n + 1 / m))


def all_hold(holds: NDArray[np.bool_], chosen: list[Chosen]) -> NDArray[np.bool_]:
    """(m, q) rows on which each of q conjunctions holds."""
    columns = np.ascontiguousarray(holds.T)
    return np.stack([np.logical_and.reduce([columns[i] for i in c]) for c in chosen]).T


def _products(
    holds: NDArray[np.bool_], excess: Floats
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Counts and sums of all literals (L,), and of all pairs (L, L)."""
    width = holds.shape[1]
    pairs, sums = np.zeros((width, width)), np.zeros((width, width))
    for part in _parts(len(holds)):
        x = holds[part].astype(np.float32)
        pairs += x.T @ x
        sums += x.T @ (x * excess[part, None])
    return np.diag(pairs).copy(), np.diag(sums).copy(), pairs, sums


def _z(n: NDArray[np.float64], sums: NDArray[np.float64], least: int) -> NDArray[np.float64]:
    """Excess in standard errors; -inf where there are too few rows."""
    return np.where(n >= least, sums / np.sqrt(np.maximum(n, 1)), -np.inf)


def _best(z: NDArray[np.float64], times: int = 1) -> NDArray[np.int64]:
    """Places of the largest positive values, the largest first; ties in order of place."""
    few = np.argsort(-z, kind="stable")[: WIDTH * times]
    return few[z[few] > 0].astype(np.int64)


def _best2(z: NDArray[np.float64], times: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same of a matrix: lines and columns."""
    lines, columns = np.unravel_index(_best(z.ravel(), times), z.shape)
    return lines.astype(np.int64), columns.astype(np.int64)


def _parts(n: int) -> list[slice]:
    return [slice(low, min(low + _CHUNK, n)) for low in range(0, n, _CHUNK)]
