"""Columns of a table (n, columns): what they hold, read without a copy of the table.

A column of *codes* holds whole numbers, few different ones: categories, flags, one-hot columns. A
*quantity* is any other column that varies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from ringtest.shift import common

CODES: Final = 20
"""A column of whole numbers, of which at most so many differ, holds codes."""


def whole(x: Tensor) -> Tensor:
    """(columns,) true where every value is a whole number."""
    return torch.cat([(part == part.round()).all(dim=0) for part in _parts(x)])


def codes(x: Tensor) -> Tensor:
    """(columns,) true for columns of codes."""
    found = whole(x)
    span = x.amax(dim=0).double() - x.amin(dim=0).double()
    # Few numbers fit into a short range; only the others have to be counted.
    for column in (found & (span >= CODES)).nonzero().flatten().tolist():
        found[column] = len(torch.unique(x[:, column])) <= CODES
    return found


def quantities(x: Tensor) -> Tensor:
    """(columns,) true for columns that vary and hold no codes."""
    return (x.amax(dim=0) > x.amin(dim=0)) & ~codes(x)


def medians(x: Tensor) -> Tensor:
    """(columns,) medians, float32.

    Of an even number of rows the mean of the middle two; the lower of them where a column holds
    whole numbers, so that a code stays a code.
    """
    found, n = [], len(x)
    for part in _parts(x):
        ordered = part.sort(dim=0).values
        low, high = ordered[(n - 1) // 2].double(), ordered[n // 2].double()
        found.append((low + high) / 2)
        held = (part == part.round()).all(dim=0)
        found[-1] = torch.where(held, low, found[-1]).float()
    return torch.cat(found)


def _parts(x: Tensor) -> Iterator[Tensor]:
    """Consecutive columns as float32, a bounded number of values at a time."""
    step = max(1, common.POOL_NUMBERS // len(x))
    for low in range(0, x.shape[1], step):
        yield x[:, low : low + step].float()
