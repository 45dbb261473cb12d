"""Splits by group columns: a group or combination, a group left out, folds of many groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold

from ringtest import margins
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, close_to
from ringtest.measure import NotMeasurable
from ringtest.rows.tables import codes
from ringtest.shift import splits
from ringtest.shift.splits import Rows, Split

FOLDS: Final = margins.PROBE_FOLDS
_CLASSES: Final = 1_000
"""Folds hold a count for each pair of group and class."""
AND: Final = "&"
"""Stands between the columns of a combination."""


@condition
class Group(Split):
    """The rows of one group, or of a combination: ``shift.split.group.domain=web&device=phone``.

    A cell that names ``shift.split.group`` means every value, of at least 100 rows, of every group
    column with 2 to 50 values.
    """

    kind = "shift.split.group"
    about = "the rows of one group, or of a combination of groups"

    def __init__(self, where: Any) -> None:
        """Columns and the value that each must have, such as ``{"domain": "web"}``."""
        if not isinstance(where, Mapping) or not where:
            raise ConfigError("Group", f"is given {where!r}", "give a dict column -> value")
        self.where = {str(k): str(v) for k, v in where.items()}
        super().__init__(AND.join(f"{k}={v}" for k, v in self.where.items()))

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:
        """Every large enough group of every column of groups."""
        return [cls({name: v}) for name, v in _large(data, severity, cls.minimum)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:
        """``column=value``, any number of them joined by &."""
        _no_strength(cls, severity)
        return cls(_read(data, name, cls.kind))

    def check(self, data: AuditData) -> None:
        """Columns and values must be there."""
        for name, value in self.where.items():
            _known(splits.column(data, name, self.id), name, value, self.id)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """Rows that have all the values."""
        chosen = np.ones(data.n, dtype=bool)
        for name, value in self.where.items():
            chosen &= splits.texts(splits.column(data, name, self.id)) == value
        return np.flatnonzero(chosen)


@condition
class LeftOut(Split):
    """The rows of a group that probes were not fitted on: ``shift.split.left_out.domain=web``.

    Nothing is trained in an audit but its probes: ``probe.split_transfer`` fits them on the other
    groups and reads them here. The rows are those of scikit-learn's ``LeaveOneGroupOut``.
    """

    kind = "shift.split.left_out"
    about = "a group left out: probes of the other groups are read on its rows"

    def __init__(self, column: str, value: Any) -> None:
        """Group column, and the value that is left out."""
        self.column, self.value = str(column), str(value)
        super().__init__(f"{self.column}={self.value}")

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:
        """Every large enough group of every column of groups."""
        return [cls(name, v) for name, v in _large(data, severity, cls.minimum)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:
        """``column=value``."""
        _no_strength(cls, severity)
        found = _read(data, name, cls.kind)
        if len(found) > 1:
            raise ConfigError("cells", f"{cls.kind}.{name} leaves out two", "name one column")
        return cls(*next(iter(found.items())))

    def check(self, data: AuditData) -> None:
        """Column and value must be there."""
        _known(splits.column(data, self.column, self.id), self.column, self.value, self.id)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """The test rows of the fold that leaves the group out."""
        values = splits.texts(splits.column(data, self.column, self.id))
        labels, group = np.unique(values, return_inverse=True)
        if len(labels) < 2:
            raise NotMeasurable(f"{self.column} has one value only: without it nothing is left")
        at = int(np.searchsorted(labels, self.value))
        folds = LeaveOneGroupOut().split(group, groups=group)
        _, test = next(islice(folds, at, None))
        return np.asarray(test, dtype=np.int64)


@condition
class GroupFold(Split):
    """A fold of whole groups, for columns of many: ``shift.split.group_fold.patient=1of5``.

    Groups (patients, documents) are never cut, and classes have about their shares, as
    scikit-learn's ``StratifiedGroupKFold`` makes them; ``GroupKFold`` where targets are no classes:
    no whole numbers, more than 1,000 different ones, or each rarer than there are folds.
    """

    kind = "shift.split.group_fold"
    about = "a fold of whole groups, for columns of many small ones: patients, documents, users"

    def __init__(self, column: str, fold: int, of: int = FOLDS) -> None:
        """Group column; which fold, from 1, of how many."""
        self.column, self.fold, self.of = str(column), *fold_of("GroupFold", fold, of)
        super().__init__(f"{self.column}={fold}of{of}")

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:
        """Five folds of every column with at least that many groups."""
        _no_strength(cls, severity)
        counts = {name: len(np.unique(np.asarray(v))) for name, v in data.groups.items()}
        return [cls(k, i + 1) for k, c in counts.items() if c >= FOLDS for i in range(FOLDS)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """``column=FOLDofFOLDS``."""
        _no_strength(cls, severity)
        return cls(*read_fold(cls.kind, name))

    def check(self, data: AuditData) -> None:
        """The column must be there."""
        splits.column(data, self.column, self.id)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """The test rows of the fold."""
        group = codes(splits.column(data, self.column, self.id))
        count = int(group.max()) + 1
        if count < self.of:
            raise NotMeasurable(f"{self.column} has {count} groups, {self.of} folds need as many")
        # Not shuffled: each fold is a condition with a generator of its own, and they must be folds
        # of one partition.
        y = _as_classes(data)
        if y is not None and max(np.bincount(y)) >= self.of:
            folds = StratifiedGroupKFold(self.of).split(group, y, group)
        else:
            folds = GroupKFold(self.of).split(group, groups=group)
        _, test = next(islice(_quiet(folds), self.fold - 1, None))
        return np.asarray(test, dtype=np.int64)


def _as_classes(data: AuditData) -> Rows | None:
    """(n,) codes of the targets, or None where they are no classes; a regression may count, too."""
    if data.targets is None or data.targets.dtype.kind not in "iub":
        return None
    y = codes(splits.classes(data, "a fold"))
    return y if y.max() < _CLASSES else None


def _quiet(folds: Iterable[Any]) -> Iterable[Any]:
    """Folds without the warning that a class has fewer rows than folds, which does no harm here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield from folds


def fold_of(what: str, fold: Any, of: Any) -> tuple[int, int]:
    """Number of a fold and of folds; raises ConfigError."""
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in (fold, of))
    if not whole or of < 2 or not 1 <= fold <= of:
        raise ConfigError(what, f"fold {fold!r} of {of!r} is none", "give 1 to 5 of 5, say")
    return fold, of


def read_fold(kind: str, name: str) -> tuple[str, int, int]:
    """Column, fold and folds of ``column=1of5``. Raises ConfigError."""
    column, _, text = name.rpartition("=")
    fold, _, of = text.partition("of")
    if not column or not fold.isdecimal() or not of.isdecimal():
        raise ConfigError(
            "cells", f"{kind}.{name} names no fold", f"write {kind}.COLUMN=1of{FOLDS}"
        )
    return column, int(fold), int(of)


def _large(data: AuditData, severity: float | None, least: int) -> Iterable[tuple[str, str]]:
    if severity is not None:
        raise ConfigError("cells", f"a group has no strength, @{severity:g}", "leave it out")
    for name, values in splits.groups(data).items():
        labels, counts = np.unique(values, return_counts=True)
        yield from ((name, str(v)) for v, c in zip(labels, counts, strict=True) if c >= least)


def _no_strength(cls: type[Split], severity: float | None) -> None:
    if severity is not None:
        raise ConfigError("cells", f"{cls.kind} has no strength, @{severity:g}", "leave it out")


def _known(values: NDArray[Any], name: str, value: str, field: str) -> None:
    labels = np.unique(splits.texts(values))
    if value not in labels:
        raise ConfigError(field, f"no row has {name} {value!r}", close_to(value, labels))


def _read(data: AuditData, text: str, kind: str) -> dict[str, str]:
    """Columns and values of ``a=x&b=y``; both may hold = and & themselves. Raises ConfigError."""
    columns = {**data.concepts, **data.groups}
    found: dict[str, str] = {}
    while text:
        name = max((c for c in columns if text.startswith(f"{c}=")), key=len, default=None)
        if name is None:
            wrong = text.partition("=")[0]
            if text in columns:
                problem = f"{kind}: no group of {text!r} has {margins.MIN_N} rows"
                raise ConfigError("cells", problem, f"name a value: {kind}.{text}=...")
            problem = f"{kind}: the data have no group or concept {wrong!r}"
            raise ConfigError("cells", problem, close_to(wrong, columns))
        rest = text.removeprefix(f"{name}=")
        values = [str(v) for v in np.unique(splits.texts(np.asarray(columns[name])))]
        fits = [v for v in values if rest == v or rest.startswith(f"{v}{AND}")]
        if not fits:
            wrong = rest.partition(AND)[0]
            problem = f"{kind}: no row has {name} {wrong!r}"
            raise ConfigError("cells", problem, close_to(wrong, values))
        found[name] = max(fits, key=len)
        text = rest.removeprefix(found[name]).removeprefix(AND)
    return found
