"""Corruptions of tables, on request: missing values, wrong units, swapped columns, drift, rounding.

Which columns are hit is drawn once for a condition, not for each block or row: such errors are
those of a source, which sends all rows alike. The draw is the same at all severities and whatever
the audit's seed, so that a curve is that of one error that grows. It hangs on the condition's name:
``Drift("second_draw", severity=3)`` draws other columns. What another draw would give is in no
interval.

Columns of codes (``tables.CODES``: categories, flags, one-hot columns) are hit by missing values
alone, constant ones by nothing, unless ``columns`` names them. That several one-hot columns are one
category is not known here: a filled-in row may have none of its categories, or two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import torch
from torch import Tensor

from ringtest import blocks
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.shift import common, tables
from ringtest.shift.on_request import OnRequest

if TYPE_CHECKING:
    from ringtest.model import Model

FACTORS: Final = (1000.0, 0.001, 10.0, 0.1, 2.54, 1 / 2.54)
"""Factors of wrong units: kilo for one and back, a decimal point moved, inches for centimetres."""


class TableCorruption(OnRequest):
    """Base: (n, columns) real numbers; what comes out is finite, and clipped to the bounds.

    Args:
        name: completes the id, and draws other columns.
        severity: 1 to 5.
        columns: numbers of the columns that may be hit, whatever they hold; None: all quantities.

    Raises ConfigError for another severity and for what is no list of columns, DataError for data
    that are no such table.
    """

    needs = "a table with a column that varies and holds no codes"
    least: ClassVar[int] = 1
    """Columns that it needs."""

    def __init__(
        self,
        name: str | None = None,
        severity: float | None = None,
        columns: Sequence[int] | None = None,
    ) -> None:
        super().__init__(name, severity)
        self.columns = None if columns is None else self._checked(columns)

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Tables with as many quantities as it needs."""
        return common.is_table(data) and int(cls.eligible(data.inputs).sum()) >= cls.least

    @classmethod
    def eligible(cls, x: Tensor) -> Tensor:
        """(columns,) true where a column may be hit if none is named."""
        return tables.quantities(x)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Put the columns that may be hit into the order in which they are."""
        super().fit(subjects, data, rng)
        x = data.inputs
        self._bounds = data.bounds
        self._draw = blocks.generator(0, self.id, "columns")
        order = torch.randperm(x.shape[1], generator=self._draw)
        able = self.eligible(x) if self.columns is None else _among(self.columns, x.shape[1])
        self._order = order[able[order]]
        self.prepare(x)

    def check(self, data: AuditData) -> None:
        """Columns that are named must be there; without names there must be some to hit."""
        if self.columns is None or not common.is_table(data):
            super().check(data)
        elif max(self.columns) >= data.inputs.shape[1]:
            width = data.inputs.shape[1]
            problem = f"name {max(self.columns)}, and the table has {width}"
            raise DataError(f"columns of {self.key}", problem, f"give 0 to {width - 1}")

    def prepare(self, x: Tensor) -> None:
        """Take what the change needs of the (n, columns) data."""

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The corrupted rows."""
        # In double: a factor of 1,000 may leave the range of the inputs' own type.
        changed = self.change(x.double(), self.strength(), rng)
        most = torch.finfo(x.dtype).max
        return common.inside(changed.clamp(-most, most), x, self._bounds)

    def _checked(self, columns: Any) -> tuple[int, ...]:
        what = f"columns of {self.id}"
        if type(columns) not in (list, tuple, range) or any(
            type(c) is not int or c < 0 for c in columns
        ):
            raise ConfigError(what, f"are {columns!r}", "give a list of numbers, such as [0, 3]")
        if len(set(columns)) < self.least:
            raise ConfigError(what, f"are {list(columns)}", f"give at least {self.least}")
        return tuple(sorted(set(columns)))


@condition
class Missing(TableCorruption):
    """Values missing at random, filled in with their column's median. Strength: share of cells.

    As a deployed imputer would (``SimpleImputer(strategy="median")``), fitted on the data; no model
    is shown a NaN. A column of whole numbers takes the lower of two middle values. Every cell is
    hit by itself; one that holds the median stays as it was.
    """

    kind = "shift.corruption.missing"
    about = "values missing at random, filled in with their column's median"
    needs = "a table"
    strengths = (0.05, 0.1, 0.2, 0.35, 0.5)

    @classmethod
    def eligible(cls, x: Tensor) -> Tensor:
        """All columns."""
        return torch.ones(x.shape[1], dtype=torch.bool)

    def prepare(self, x: Tensor) -> None:
        """Take the medians."""
        self._medians = tables.medians(x)
        self._able = _among(self._order, x.shape[1])

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Fill in what is missing."""
        missing = (common.uniform(x.shape, rng, x) < strength) & self._able.to(x.device)
        return torch.where(missing, self._medians.to(x), x)


@condition
class Units(TableCorruption):
    """Columns in a wrong unit, all rows alike. Strength: share of the quantities, rounded up.

    Each has a factor of its own out of ``FACTORS``, about 0. So the columns must be as they are
    delivered: where they were standardised before, scale them inside the models, or the error is
    one of the standardised values.
    """

    kind = "shift.corruption.units"
    about = "columns in a wrong unit: multiplied by 1000, 10, 2.54 or their inverse"
    strengths = (0.1, 0.2, 0.3, 0.4, 0.5)

    def prepare(self, x: Tensor) -> None:
        """Draw the factors, for every column one."""
        drawn = torch.randint(len(FACTORS), (x.shape[1],), generator=self._draw)
        hit = _among(self._order[: _part(self.strength(), len(self._order))], x.shape[1])
        self._factors = torch.where(hit, torch.tensor(FACTORS, dtype=torch.float64)[drawn], 1.0)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Multiply."""
        return x * self._factors.to(x.device)


@condition
class Swapped(TableCorruption):
    """Columns that changed places by pairs, all rows alike. Strength: share of the pairs.

    Rounded up; the quantities are paired at random, and of an odd number one stays.
    """

    kind = "shift.corruption.swapped"
    about = "pairs of columns that changed places"
    needs = "a table with two columns that vary and hold no codes"
    strengths = (0.1, 0.25, 0.5, 0.75, 1.0)
    least = 2

    def prepare(self, x: Tensor) -> None:
        """Pair the columns and swap."""
        pairs = self._order[: len(self._order) // 2 * 2].reshape(-1, 2)
        pairs = pairs[: _part(self.strength(), len(pairs))]
        self._from = torch.arange(x.shape[1])
        self._from[pairs.flatten()] = pairs.flip(1).flatten()

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Take each column from where it lies now."""
        return x[:, self._from.to(x.device)]


@condition
class Drift(TableCorruption):
    """One quantity drifts, all rows in the same direction. Strength: standard deviations of it.

    Which one, and whether up or down, is drawn: which column has the largest variance depends on
    units, and the one that moves the teacher most would be chosen by one side of the comparison.
    """

    kind = "shift.corruption.drift"
    about = "one column drifts, all rows in the same direction"
    strengths = (0.5, 1.0, 1.5, 2.0, 3.0)

    def prepare(self, x: Tensor) -> None:
        """Draw the direction; take the standard deviation."""
        column = self._order[:1]
        values = x[:, column].double()
        sign = 2 * torch.randint(2, (), generator=self._draw) - 1
        self._by = torch.zeros(x.shape[1], dtype=torch.float64)
        self._by[column] = sign * values.std(dim=0, correction=0)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Add."""
        return x + strength * self._by.to(x.device)


@condition
class Rounding(TableCorruption):
    """Quantities rounded to fewer levels. Strength: levels, evenly from a column's least value to
    its largest.

    Columns of whole numbers keep to whole numbers.
    """  # noqa: D205 - one sentence and its units

    kind = "shift.corruption.rounding"
    about = "values rounded to a few levels of each column's range"
    strengths = (64.0, 32.0, 16.0, 8.0, 4.0)

    def prepare(self, x: Tensor) -> None:
        """Take the range of each column."""
        low, high = x.amin(dim=0).double(), x.amax(dim=0).double()
        self._low, self._step = low, (high - low) / (self.strength() - 1)
        # A constant column, if it is named, has no levels.
        self._hit = _among(self._order, x.shape[1]) & (self._step > 0)
        self._whole = tables.whole(x)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Round to the nearest level."""
        low, step = self._low.to(x.device), self._step.to(x.device)
        level = ((x - low) / torch.where(step > 0, step, 1.0)).round()
        found = low + level * step
        found = torch.where(self._whole.to(x.device), found.round(), found)
        return torch.where(self._hit.to(x.device), found, x)


def _among(columns: Tensor | Sequence[int], width: int) -> Tensor:
    """(width,) true at some columns."""
    return torch.isin(torch.arange(width), torch.as_tensor(columns))


def _part(share: float, count: int) -> int:
    """A share of a number, rounded up; not where it is whole but for the rounding of floats."""
    return math.ceil(share * count - 1e-9)
