"""Splits in time: the late part, and the blocks of a time series that come after what is known."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import TimeSeriesSplit

from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.measure import NotMeasurable
from ringtest.shift import splits
from ringtest.shift.split_groups import FOLDS, fold_of, read_fold
from ringtest.shift.splits import Rows, Split

LATE: Final = 0.25
"""The usual share of rows that are late."""


@condition
class Late(Split):
    """The latest rows of a time column, a quarter by default: ``shift.split.time.day@0.25``.

    Times are numbers, dates or ISO texts. What ``probe.split_transfer`` fits comes from before the
    cut alone. A cut through rows of one time is refused: which of them are late would be chance.
    """

    kind = "shift.split.time"
    about = "the latest rows by a time column"

    def __init__(self, column: str, share: float = LATE) -> None:
        """Time column, and the share of the rows, in (0, 1), that are late."""
        self.column = str(column)
        super().__init__(self.column, splits.number("Late: share", share, 0.0, 1.0))

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """A column, and the share as the strength."""
        return cls(name, LATE if severity is None else severity)

    def check(self, data: AuditData) -> None:
        """The column must be there."""
        splits.column(data, self.column, self.key)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """Rows after the cut."""
        assert self.severity is not None
        time = times(splits.column(data, self.column, self.key), self.column)
        order = np.argsort(time, kind="stable")
        first = data.n - round(self.severity * data.n)
        if not 0 < first < data.n:
            raise NotMeasurable(f"a share of {self.severity:g} of {data.n} rows cuts off none")
        late = time[order[first]]
        if time[order[first - 1]] == late:
            raise NotMeasurable(_tie(time, late, self.column, "share"))
        return np.flatnonzero(time >= late)


@condition
class TimeFold(Split):
    """A block of rows after all that came before: ``shift.split.time_fold.day=3of5``.

    The test blocks of scikit-learn's ``TimeSeriesSplit``: with five folds the rows are cut into six
    blocks by time, and fold i shows block i + 1. Probes of ``probe.split_transfer`` come from the
    rows before it, none from those after.
    """

    kind = "shift.split.time_fold"
    about = "a block of rows in time, after all those that probes are fitted on"

    def __init__(self, column: str, fold: int, of: int = FOLDS) -> None:
        """Time column; which fold, from 1, of how many."""
        self.column, self.fold, self.of = str(column), *fold_of("TimeFold", fold, of)
        super().__init__(f"{self.column}={fold}of{of}")

    @classmethod
    def named(cls, data: AuditData, name: str, severity: float | None = None) -> Iterable[Split]:
        """A column means its five folds, ``column=3of5`` one of them."""
        if severity is not None:
            raise ConfigError("cells", f"{cls.kind} has no strength, @{severity:g}", "leave it out")
        column = name.removesuffix("=*")
        if column in data.groups or column in data.concepts:
            return [cls(column, i + 1) for i in range(FOLDS)]
        return [cls(*read_fold(cls.kind, name))]

    def check(self, data: AuditData) -> None:
        """The column must be there."""
        splits.column(data, self.column, self.id)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """The test rows of the fold."""
        time = times(splits.column(data, self.column, self.id), self.column)
        if data.n <= self.of:
            raise NotMeasurable(f"{data.n} rows make no {self.of + 1} blocks")
        order = np.argsort(time, kind="stable")
        before, test = next(islice(TimeSeriesSplit(self.of).split(order), self.fold - 1, None))
        after = order[test[-1] + 1 :]
        first, last = time[order[test[0]]], time[order[test[-1]]]
        if time[order[before[-1]]] == first:
            raise NotMeasurable(_tie(time, first, self.column, "of"))
        if len(after) and time[after[0]] == last:
            raise NotMeasurable(_tie(time, last, self.column, "of"))
        self._start = first
        return np.asarray(order[test], dtype=np.int64)

    def outside(self, data: AuditData) -> Rows:
        """Rows before the block, less those in one cluster with a row of it."""
        time = times(splits.column(data, self.column, self.id), self.column)
        free = super().outside(data)
        earlier: Rows = free[time[free] < self._start]
        return earlier


def times(values: NDArray[Any], name: str) -> NDArray[Any]:
    """(n,) values that can be put in order; NotMeasurable if some are no times."""
    if values.dtype.kind in "iuf":
        return values
    try:
        found = values.astype("datetime64[us]")
    except (TypeError, ValueError) as error:
        raise NotMeasurable(f"{name} holds no numbers, dates or ISO times ({error})") from error
    lost = int(np.isnat(found).sum())
    if lost:
        raise NotMeasurable(f"{name} holds no time (NaT) in {lost:,} rows; fill or drop them")
    return found


def _tie(time: NDArray[Any], at: Any, name: str, option: str) -> str:
    """What is wrong with a cut through rows of one time, and what would do."""
    n, tied = len(time), int((time == at).sum())
    said = f"the cut goes through {tied:,} rows of one {name}, {at}"
    near = [s / n for s in ((time >= at).sum(), (time > at).sum()) if 0 < s < n]
    if option != "share" or not near:
        return f"{said}; give another number of folds, or a finer time"
    return f"{said}; share={' or '.join(f'{s:.4g}' for s in near)} would cut beside them"
