"""Spurious correlation: a nuisance attribute paired with the label anew, or where it is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from ringtest import margins
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.measure import NotMeasurable
from ringtest.rows.tables import codes
from ringtest.shift import splits
from ringtest.shift.splits import Resampled, Rows, Split, Weights

NONE = 1e-9
"""A correlation below this is none."""


@condition
class Spurious(Resampled):
    """Attribute and label paired at a strength: ``shift.split.spurious.watermark@0``.

    Rows are drawn so that Cramer's V of the (class, attribute) table is the strength, in [-1, 1]:
    0 breaks the pairing, the data's own V keeps it, a negative one turns it round. Both marginals
    stay as they are, so that no label shift hides behind it: each cell of the table is what
    independence would make it, plus its excess in the data times strength / V. For two classes and
    two values V is the absolute correlation.

    Without a strength, ``shift.split.spurious.watermark``: the rows as they are of those cells that
    hold fewer rows than independence would, where the pairing does not help.
    Source: Sagawa et al. 2020 (worst groups of label and attribute); V: Cramer 1946.
    """

    kind = "shift.split.spurious"
    about = "a nuisance attribute paired with the label at another strength, or where it is broken"
    source = "Sagawa et al. 2020"
    tasks = ("classification",)

    def __init__(self, column: str, strength: float | None = None) -> None:
        """The attribute's column; Cramer's V after drawing, or None for the rows that break it."""
        self.column = str(column)
        if strength is not None:
            # Both ends belong to it.
            strength = splits.number("Spurious: strength", strength, -1.0 - NONE, 1.0 + NONE)
        super().__init__(self.column, strength)

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:
        """Every column of groups."""
        return [cls(name, severity) for name in splits.groups(data)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """A column, and perhaps the strength."""
        return cls(name, severity)

    def check(self, data: AuditData) -> None:
        """The column must be there."""
        splits.column(data, self.column, self.key)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """Rows drawn, or those of the cells that hold too few."""
        if self.severity is not None:
            return super().rows(data, rng)
        cell, table = self._table(data)
        own = table / table.sum()
        excess = own - np.outer(own.sum(1), own.sum(0))
        if by_chance(table):
            v = f"Cramer's V {cramers_v(table):.2g}"
            raise NotMeasurable(f"{self.column} goes with the classes by chance ({v}): no pairing")
        rows = np.flatnonzero((excess < 0).reshape(-1)[cell])
        self.enough(len(rows), f"where {self.column} breaks its pairing with the classes there are")
        return rows

    def weigh(self, data: AuditData, rng: torch.Generator) -> Weights:
        """(n,) the target share of the row's cell, spread over its rows."""
        assert self.severity is not None
        cell, table = self._table(data)
        wanted = repaired(table, self.severity, self.column)
        return np.asarray((wanted / np.maximum(table, 1)).reshape(-1)[cell])

    def order(self, data: AuditData) -> NDArray[Any]:
        """By cell of the table, so that each has its exact share."""
        return self._table(data)[0]

    def advice(self, data: AuditData) -> str:
        """Where the sample was lost."""
        _, table = self._table(data)
        fewest = int(table.min())
        return f"a pair of class and {self.column} has {fewest} rows: give more, or go less far"

    def _table(self, data: AuditData) -> tuple[Rows, Weights]:
        """(n,) cell of each row, and the (classes, values) table of counts."""
        values = splits.column(data, self.column, self.key)
        kinds = np.unique(values)
        if len(kinds) < 2:
            raise NotMeasurable(f"{self.column} has one value only: it cannot go with the label")
        if len(kinds) > splits.MANY:
            most = f"at most {splits.MANY} can be paired"
            raise NotMeasurable(f"{self.column} has {len(kinds)} values, {most}")
        y, a = codes(splits.classes(data, self.key)), codes(values)
        shape = (int(y.max()) + 1, len(kinds))
        if shape[0] < 2:
            raise NotMeasurable("targets have one class only: nothing can go with it")
        cell = y * shape[1] + a
        counts = np.bincount(cell, minlength=shape[0] * shape[1])
        return cell, counts.reshape(shape).astype(np.float64)


def cramers_v(table: Weights) -> float:
    """Cramer's V of a table of counts or shares, in [0, 1]; of a 2 x 2 one, |phi|.

    >>> cramers_v(np.array([[40.0, 10.0], [10.0, 40.0]]))
    0.6
    """
    p = table / table.sum()
    free = np.outer(p.sum(1), p.sum(0))
    chi = float(((p - free) ** 2 / np.where(free > 0, free, 1.0)).sum())
    return round(float(np.sqrt(chi / (min(p.shape) - 1))), 12)


def by_chance(table: Weights) -> bool:
    """Whether counts are what independence gives: chi-squared, at the 5 % level."""
    degrees = (table.shape[0] - 1) * (table.shape[1] - 1)
    chi = table.sum() * cramers_v(table) ** 2 * (min(table.shape) - 1)
    return bool(special.chdtrc(degrees, chi) > margins.ALPHA)


def repaired(table: Weights, strength: float, name: str = "the attribute") -> Weights:
    """(classes, values) shares with the table's marginals and Cramer's V |strength|.

    NotMeasurable if the table has no pairing to start from, if a cell would need rows that there
    are none of, or if the marginals do not allow so much.
    """
    own = table / table.sum()
    free = np.outer(own.sum(1), own.sum(0))
    pairing = cramers_v(table)
    if strength != 0 and by_chance(table):
        problem = f"{name} goes with the classes by chance (Cramer's V {pairing:.2g})"
        raise NotMeasurable(f"{problem}: there is nothing to strengthen or turn round")
    wanted = free + (strength / pairing if strength else 0.0) * (own - free)
    if wanted.min() < -NONE:
        down = np.where(own < free, free / np.where(own < free, free - own, 1.0), np.inf).min()
        up = np.where(own > free, free / np.where(own > free, own - free, 1.0), np.inf).min()
        raise NotMeasurable(
            f"with these shares of classes and of {name} the pairing lies between "
            f"{-up * pairing:.2f} and {down * pairing:.2f}, and {strength:g} is asked for"
        )
    wanted = wanted.clip(0.0)
    empty = (table == 0) & (wanted > NONE)
    if empty.any():
        if np.isclose(pairing, 1.0):
            raise NotMeasurable(f"{name} goes with the classes without exception: no row breaks it")
        raise NotMeasurable(
            f"{int(empty.sum())} pairs of class and {name} have no rows, and the pairing asked for "
            "needs some"
        )
    return np.asarray(wanted)
