"""Stability selection: what a search finds counts only if it comes back on half of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringtest import blocks
from ringtest.shift.beam import Chosen, Search, all_hold
from ringtest.shift.literals import Literals

PAIRS: Final = 25
"""Pairs of complementary halves of the searched rows."""
OFTEN: Final = 0.6
"""Share of the halves on which a slice has to come back."""
ALIKE: Final = 0.5
"""Two slices are the same if their rows in common are this share of their rows together."""
MOST_AT_ONCE: Final = 5
"""Slices that are taken from each half."""
MOST_KEPT: Final = 10
"""Slices that are looked for on all searched rows."""


@dataclass(frozen=True)
class Kept:
    """A slice that came back."""

    chosen: Chosen
    came_back: float
    """Share of the halves on which it was found again."""


def select(
    literals: Literals,
    rows: NDArray[np.int64],
    harm: NDArray[np.float64],
    units: NDArray[np.int64] | None,
    least: int,
    margin: float,
    seed: int,
) -> list[Kept]:
    """The slices that are found on some rows, and on enough of their halves, too.

    Meinshausen & Buhlmann 2010 with the complementary pairs of Shah & Samworth 2013; independent
    units stay whole. A slice counts as found where one of the same rows is, whatever its words.

    Args:
        literals: on all rows of the data.
        rows: (m,) those that are searched.
        harm: (n,) of all rows, lower is better.
        units: (n,) independent unit of each row, or None.
        least: of ``rows`` in the smallest slice.
        margin: harm that nobody looks for.
        seed: decides the halves.
    """
    holds, mine = literals.holds[rows], harm[rows]
    found = Search(literals.together, least, MOST_KEPT, margin, plain=True)(holds, mine)
    if not found:
        return []
    masks = _masks(holds, found)
    own = None if units is None else units[rows]
    again = np.zeros(len(found))
    search = Search(literals.together, max(least // 2, 2), MOST_AT_ONCE, margin)
    for i in range(PAIRS):
        half = blocks.folds(len(rows), 2, own, blocks.derive(seed, "slices", i))
        for side in (0, 1):
            some = half == side
            seen = search(holds[some], mine[some])
            if seen:
                again += (_jaccard(masks, _masks(holds, seen)) >= ALIKE).any(1)
    share = again / (2 * PAIRS)
    return [Kept(c, float(s)) for c, s in zip(found, share, strict=True) if s >= OFTEN]


def _masks(holds: NDArray[np.bool_], chosen: list[Chosen]) -> NDArray[np.float32]:
    return all_hold(holds, chosen).T.astype(np.float32)


def _jaccard(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(p, q) rows in common over rows together, of (p, m) and (q, m) masks."""
    common = a @ b.T
    both = a.sum(1)[:, None] + b.sum(1)[None, :] - common
    found: NDArray[np.float32] = common / np.maximum(both, 1)
    return found
