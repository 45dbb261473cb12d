"""Metadata as data sets bring them: arrays of codes with names beside them, and files."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ringtest.errors import DataError, close_to
from ringtest.rows import tables

if TYPE_CHECKING:
    from ringtest.data import AuditData

LABEL = "y"
"""Field in which WILDS keeps the target again."""


def as_columns(value: Any, fields: Any, names: Any) -> Any:
    """An (n, k) array of codes as columns by name; anything else as it is.

    Args:
        value: array or tensor (n, k), or an object with ``metadata_array`` and ``metadata_fields``
            (a data set of WILDS or a subset of one).
        fields: k names, in order; None if the object brings them.
        names: field -> what its codes stand for, in their order, or as a dict code -> name; fields
            may lack one. None if there are none, or the object brings them.

    Raises DataError.
    """
    if hasattr(value, "metadata_array") and hasattr(value, "metadata_fields"):
        fields = value.metadata_fields if fields is None else fields
        names = getattr(value, "metadata_map", None) if names is None else names
        value = value.metadata_array
    if not isinstance(value, Tensor | np.ndarray):
        for field, given in (("metadata_fields", fields), ("metadata_map", names)):
            if given is not None:
                what = "groups" if value is None else f"a {type(value).__name__}"
                fix = "give groups as an (n, k) array, or leave it out"
                raise DataError(
                    field, f"is given beside {'no ' if value is None else ''}{what}", fix
                )
        return value
    array = tables.numpy(value) if isinstance(value, Tensor) else np.asarray(value)
    if array.ndim != 2:
        raise DataError("groups", f"is an array of shape {array.shape}", "give (n, fields)")
    return _named(array, _fields(fields, array.shape[1]), names)


def _fields(fields: Any, k: int) -> list[str]:
    if fields is None:
        fix = f"name its {k} columns: metadata_fields=[...]"
        raise DataError("groups", "is an array whose columns have no names", fix)
    if isinstance(fields, str) or not isinstance(fields, Sequence | np.ndarray):
        raise DataError("metadata_fields", f"is {fields!r}", "give a list of names")
    out = [str(f) for f in fields]
    if len(out) != k:
        raise DataError("metadata_fields", f"has {len(out)} names", f"groups have {k} columns")
    twice = [f for i, f in enumerate(out) if f in out[:i]]
    if twice:
        raise DataError("metadata_fields", f"{twice[0]!r} stands twice", "rename one")
    return out


def _named(array: NDArray[Any], fields: list[str], names: Any) -> dict[str, NDArray[Any]]:
    if names is None:
        names = {}
    if not isinstance(names, Mapping):
        fix = "give a dict field -> names of its codes"
        raise DataError("metadata_map", f"is a {type(names).__name__}", fix)
    unknown = [str(f) for f in names if str(f) not in fields]
    if unknown:
        raise DataError("metadata_map", f"{unknown[0]!r} is no field", close_to(unknown[0], fields))
    out = {}
    for i, field in enumerate(fields):
        values = array[:, i]
        if values.dtype.kind == "f" and np.array_equal(values, np.round(values)):
            values = values.astype(np.int64)
        out[field] = values if field not in names else _words(field, values, names[field])
    return out


def _words(field: str, codes: NDArray[Any], names: Any) -> NDArray[Any]:
    """What each code stands for; raises DataError for one that stands for nothing."""
    where = f"metadata_map[{field!r}]"
    if codes.dtype.kind not in "iub":
        raise DataError(
            f"groups[{field!r}]", f"holds {codes.dtype}", "a mapped field has int codes"
        )
    if not isinstance(names, Mapping):
        if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
            raise DataError(where, f"is a {type(names).__name__}", "give the names of its codes")
        names = dict(enumerate(names))
    known = {int(k): str(v) for k, v in names.items()}
    found, inverse = np.unique(codes, return_inverse=True)
    lost = [int(c) for c in found if int(c) not in known]
    if lost:
        problem = f"has no name for code {lost[0]}, which groups[{field!r}] holds"
        raise DataError(where, problem, f"it names {len(known)} codes")
    return np.array([known[int(c)] for c in found])[inverse]


def without_label(
    groups: dict[str, NDArray[Any]], targets: Any
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The groups without the target's own copy among them, and a warning if there was one."""
    y = groups.get(LABEL)
    if y is None or targets is None or np.shape(targets) != np.shape(y):
        return groups, []
    if not np.array_equal(np.unique(targets, return_inverse=True)[1], tables.codes(y)):
        return groups, []
    left = {name: values for name, values in groups.items() if name != LABEL}
    return left, [f"groups[{LABEL!r}] repeats the targets, and is left out"]


def described(
    data: AuditData, groups: Any = None, concepts: Any = None, cluster: str | None = None
) -> AuditData:
    """The data with more columns: files that lie beside them, and the column that clusters rows.

    Args:
        data: their own columns stay.
        groups: as for AuditData.
        concepts: the same.
        cluster: name of a group column, old or new; rows of one value are one unit.

    Raises DataError for a column that is there already or has another number of rows.
    """
    out = copy.copy(data)
    out.__dict__.pop("fingerprint", None)
    out.warnings = list(data.warnings)
    for field, given in (("groups", groups), ("concepts", concepts)):
        there: dict[str, NDArray[Any]] = getattr(data, field)
        more = tables.columns(field, given, data.n)
        twice = [name for name in more if name in there]
        if twice:
            raise DataError(field, f"the data have a column {twice[0]!r} already", "rename one")
        setattr(out, field, {**there, **more})
        out.warnings += out.small_groups(more) if field == "groups" else []
    out.groups, warnings = without_label(out.groups, data.targets)
    out.warnings += warnings
    if cluster is not None:
        if data.cluster is not None:
            raise DataError("cluster", "the data have one already", "leave it out")
        if cluster not in out.groups:
            raise DataError("cluster", f"{cluster!r} is no group", close_to(cluster, out.groups))
        out.cluster = tables.codes(out.groups[cluster])
    return out
