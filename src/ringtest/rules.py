"""Slices named by a rule: conditions on columns of :mod:`ringtest.attributes`, which all hold.

A rule is plain JSON, ``{"target": 8, "contrast": {"below": 0.31}}``, and means the same in every
audit: which rows it takes follows from the data alone. Thresholds are numbers, never quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ringtest import attributes, checked
from ringtest.errors import DataError, close_to

if TYPE_CHECKING:
    from ringtest.data import AuditData

Mask = NDArray[np.bool_]
_BOUNDS: Final = ("from", "below")
_FORM: Final = 'give a value, or {"from": number, "below": number}'


def mask(where: Any, columns: Mapping[str, NDArray[Any]]) -> Mask:
    """(n,) the rows on which all conditions of a rule hold.

    A rule is column -> a value that it has, or ``{"from": low, "below": high}``: low <= value <
    high, of which one may be missing.

    Raises DataError, with the column as its field, for what is no rule over these columns.
    """
    if not isinstance(where, Mapping) or not where:
        raise DataError("where", f"is {checked.shown(where)}", "give {column: value, ...}")
    found: Mask = np.ones(len(next(iter(columns.values()), ())), dtype=bool)
    for name, condition in where.items():
        if name not in columns:
            raise DataError(f"where.{name}", "is no column of the data", close_to(name, columns))
        found &= _holds(str(name), condition, columns[name])
    return found


def _holds(name: str, condition: Any, values: NDArray[Any]) -> Mask:
    if not isinstance(condition, Mapping):
        if isinstance(condition, list | tuple | set) or condition is None:
            raise DataError(f"where.{name}", f"is {checked.shown(condition)}", _FORM)
        if values.dtype.kind in "iuf" and checked.is_number(condition):
            return np.asarray(values == condition)
        return np.asarray(values.astype(str) == str(condition))
    unknown = [k for k in condition if k not in _BOUNDS]
    if unknown or not condition:
        said = f"has {unknown[0]!r}" if unknown else "is empty"
        raise DataError(f"where.{name}", said, _FORM)
    if values.dtype.kind not in "iufb":
        raise DataError(f"where.{name}", "is a column of labels, not of numbers", "give one label")
    for key, bound in condition.items():
        if not checked.is_number(bound):
            raise DataError(f"where.{name}.{key}", f"is {checked.shown(bound)}", "give a number")
    low, high = (condition.get(k, d) for k, d in zip(_BOUNDS, (-math.inf, math.inf), strict=True))
    return np.asarray((values >= low) & (values < high))


def slices(given: Any, data: AuditData) -> dict[str, Mask]:
    """The rows of each slice that somebody names.

    Args:
        given: dict name -> rule, or a sequence of ``{"name": ..., "where": rule, "n": rows}`` as
            ``audit.toml`` has them; ``n``, the rows that it had where it was found, is optional.
        data: the rows; a slice with another number of them is told in ``warnings``.

    Raises DataError, in one line, for what is no slice of these data, or holds no row.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        given = [{"name": k, "where": v} for k, v in given.items()]
    if not isinstance(given, Sequence) or not all(isinstance(g, Mapping) for g in given):
        raise DataError("slices", f"are {checked.shown(given)}", "give a dict name -> rule")
    rules = (g.get("where") for g in given)
    asked = any(isinstance(r, Mapping) and attributes.CLUSTER in r for r in rules)
    columns = attributes.columns(data, clustered=asked) if given else {}
    found: dict[str, Mask] = {}
    for table in given:
        name = table.get("name")
        if not isinstance(name, str) or not name.strip():
            raise DataError("slices", f"a name is {checked.shown(name)}", "give each slice a name")
        if name in found or name in data.slices:
            raise DataError(f"slices[{name!r}]", "is given twice", "rename one of them")
        try:
            rows = mask(table.get("where"), columns)
        except DataError as error:
            raise DataError(f"slices[{name!r}].{error.field}", error.problem, error.fix) from None
        own = _of_group(name, data)
        if own is not None:
            if not np.array_equal(own, rows):
                problem = "is the name of other rows, by a group column"
                raise DataError(f"slices[{name!r}]", problem, "rename it")
            continue
        count, was = int(rows.sum()), table.get("n")
        if count == 0:
            raise DataError(f"slices[{name!r}]", "holds no row of these data", "mend its rule")
        if was is not None and was != count:
            data.warnings.append(
                f"slices[{name!r}]: {count} rows, {was} where it was found: other rows, or a "
                "sample of them"
            )
        found[name] = rows
    return found


def _of_group(name: str, data: AuditData) -> Mask | None:
    """The rows that are read under a name anyway, as ``column=value`` of a group column."""
    for column, values in data.groups.items():
        if name.startswith(f"{column}="):
            rows = np.asarray(values.astype(str) == name.removeprefix(f"{column}="))
            if rows.any():
                return rows
    return None
