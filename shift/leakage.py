"""Leakage that needs no search: rows that are equal, groups on both sides, times out of order.

Exact copies are looked for among the inputs, and in ``train`` for the inputs and each unlabelled
set. Groups and times need a ``train`` that is AuditData with the same column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringtest.data import AuditData
from ringtest.findings import EXAMPLES, Extent, Finding, Unchecked, check
from ringtest.progress import Progress
from ringtest.rows.checks import row_sums
from ringtest.rows.inputs import Rows
from ringtest.rows.seen import Seen, known_rows, repeated
from ringtest.rows.tables import codes

_IDS: Final = re.compile(
    "ids?|u?uid|patient|subject|person|user|customer|client|participant|speaker|writer|author|case|"
    "study|exam|session|device|document|doc|scene|video|family|household"
)
"""Words of a column's name that say that it tells one thing from another."""
_TIMES: Final = re.compile(
    "times?|date|datetime|timestamp|day|month|year|created|recorded|acquired"
)
_LEAST_VALUES: Final = 20
_MOST_ROWS: Final = 20
"""A column of texts tells single things apart if it has so many values or more, of so many rows or
fewer each on average. Columns of numbers, such as an age, do so only by their names."""
_MOST_CLASSES: Final = 50

Indices = NDArray[np.int64]


@check("leakage.exact", "rows that are equal: in the data, and in the data and train")
def exact(data: AuditData, _how: Extent, _say: Progress) -> Iterator[Finding | Unchecked]:
    """Rows that repeat an earlier one, and rows that stand in ``train``."""
    sums = row_sums(data.inputs)
    if data.duplicates:
        first = _first(sums, sums)
        again = np.flatnonzero(first != np.arange(data.n))
        yield finding(data, "exact", "inputs", again, first[again], repeated(len(again), data.n))
        yield from labels(data, None, again, first[again], "rows that repeat an earlier one")
    if data.seen is None:
        yield Unchecked("leakage.exact", "train is not given, so no row is compared with it")
        return
    reason = unlike(data.rows, data.seen.rows)
    if reason is not None:
        yield Unchecked("leakage.exact", reason, worth_a_warning=True)
        return
    known = row_sums(data.seen.rows.main.to(data.inputs.dtype))
    for name, rows in {"inputs": data.rows, **_named(data)}.items():
        if rows.main.shape[1:] != data.inputs.shape[1:]:
            yield Unchecked("leakage.exact", f"{name}: its rows are of another length than train's")
            continue
        first = _first(sums if rows is data.rows else row_sums(rows.main), known)
        both = np.flatnonzero(first >= 0)
        if not len(both):
            continue
        words = known_rows(name, len(both), len(rows))
        if rows is data.rows:
            between = "inputs and train"
            yield finding(data, "exact", between, both, first[both], words)
            yield from labels(data, data.seen, both, first[both], "rows that stand in train")
        else:
            shown = pairs(rows, data.seen.rows, both, first[both])
            share = len(both) / len(rows)
            yield Finding("exact", f"{name} and train", len(both), share, words, shown)


@check("leakage.groups", "values of a group, such as patients, on both sides")
def groups(data: AuditData, _how: Extent, _say: Progress) -> Iterator[Finding | Unchecked]:
    """Columns that tell single things apart, by ``cluster``, by name or by their many values."""
    own = [name for name, values in data.groups.items() if _tells_apart(data, name, values)]
    theirs = {} if data.seen is None else data.seen.groups
    for name in own:
        if name not in theirs:
            yield Unchecked("leakage.groups", _without(data, name))
            continue
        values, known = (_whole(v).astype(str) for v in (data.groups[name], theirs[name]))
        inside = np.isin(values, known)
        if not inside.any():
            continue
        both = np.unique(values[inside])
        shown = tuple(str(v) for v in both[:EXAMPLES])
        count = int(inside.sum())
        words = (
            f"groups[{name!r}]: {len(both)} of {len(np.unique(values))} values stand in train, too "
            f"({_listed(shown, len(both))}), with {count} of {data.n} rows"
        )
        yield Finding(
            "group", "inputs and train", count, count / data.n, words, column=name, values=shown
        )


@check("leakage.time", "rows of train that are later than the earliest of the data")
def time(data: AuditData, _how: Extent, _say: Progress) -> Iterator[Finding | Unchecked]:
    """Columns of times, and columns so called of numbers or ISO 8601 texts; equal is not later."""
    theirs = {} if data.seen is None else data.seen.groups
    for name, values in data.groups.items():
        own = _times(name, values)
        if own is None:
            continue
        if name not in theirs:
            yield Unchecked("leakage.time", _without(data, name))
            continue
        known = _times(name, theirs[name])
        if known is None or (known.dtype.kind == "M") != (own.dtype.kind == "M"):
            reason = f"groups[{name!r}] holds times, that of train others or none: not compared"
            yield Unchecked("leakage.time", reason, worth_a_warning=True)
            continue
        missing = [int(_none(v).sum()) for v in (own, known)]
        own, known = own[~_none(own)], known[~_none(known)]
        start, end = own.min(), known.max()
        late = int((known > start).sum())
        if not late:
            continue
        share = late / len(known)
        words = (
            f"groups[{name!r}]: {late} of {len(known)} rows of train are later than the earliest "
            f"of the data ({_shown(start)}); the last of them is of {_shown(end)}"
        )
        if any(missing):
            words += f"; {missing[0]} rows of the data and {missing[1]} of train hold no time"
        shown = (_shown(start), _shown(end))
        yield Finding("time", "train and inputs", late, share, words, column=name, values=shown)


# -- what the search for near copies tells in the same way --------------------------------------


def unlike(rows: Rows, others: Rows, lengths: bool = False) -> str | None:
    """Why rows of train cannot be compared with those of the data, or None.

    ``lengths``: whether rows may be of different lengths.
    """
    free = 2 if lengths and rows.main.ndim > 1 and others.main.ndim > 1 else 1
    if rows.main.is_floating_point() == others.main.is_floating_point() and (
        rows.main.shape[free:] == others.main.shape[free:] and rows.main.ndim == others.main.ndim
    ):
        return None
    return (
        f"train: its rows have shape {tuple(others.main.shape[1:])} and type {others.main.dtype}, "
        f"inputs {tuple(rows.main.shape[1:])} and {rows.main.dtype}, so they are not compared"
    )


def finding(
    data: AuditData, kind: Any, between: str, own: Indices, other: Indices, words: str
) -> Finding:
    """A finding about pairs of rows, the first of which are rows of the data.

    Rows of the data are counted: both of a pair where both are and neither comes first.
    """
    of = data.rows if between == "inputs" or data.seen is None else data.seen.rows
    rows = np.unique(own)
    if kind == "near" and between == "inputs":
        rows = np.union1d(own, other)
    classes = {}
    if _are_classes(data.targets):
        counted = Counter(data.targets[rows].tolist())
        classes = {str(c): int(n) for c, n in sorted(counted.items())}
    shown = pairs(data.rows, of, own, other)
    count = len(rows)
    return Finding(kind, between, count, count / data.n, words, shown, classes=classes)


def labels(
    data: AuditData, seen: Seen | None, own: Indices, other: Indices, which: str
) -> Iterator[Finding]:
    """Copies that have another class than what they are copies of; nothing where there are none."""
    theirs = data.targets if seen is None else seen.targets
    if not (_comparable(data.targets) and _comparable(theirs)):
        return
    conflict = np.asarray(data.targets)[own] != np.asarray(theirs)[other]
    if not conflict.any():
        return
    own, count, of = own[conflict], len(np.unique(own[conflict])), len(np.unique(own))
    between = "inputs" if seen is None else "inputs and train"
    words = f"targets: {count} of {of} {which} have another target than it"
    if seen is not None:
        words = f"targets: {count} of {of} {which} have another target there"
    yield finding(data, "labels", between, own, other[conflict], words)


def pairs(rows: Rows, others: Rows, own: Indices, other: Indices) -> tuple[tuple[int, int], ...]:
    """The first few, as row numbers in what was given."""
    first, second = rows.numbers[own[:EXAMPLES]], others.numbers[other[:EXAMPLES]]
    return tuple((int(i), int(j)) for i, j in zip(first, second, strict=True))


def _comparable(targets: Any) -> bool:
    return targets is not None and targets.ndim == 1 and targets.dtype.kind not in "fc"


def _are_classes(targets: Any) -> bool:
    return _comparable(targets) and len(np.unique(targets)) <= _MOST_CLASSES


def _first(sums: NDArray[np.uint64], known: NDArray[np.uint64]) -> Indices:
    """(n,) the first place of each sum in ``known``, -1 where it is not there."""
    values, places = np.unique(known, return_index=True)
    at = np.minimum(np.searchsorted(values, sums), len(values) - 1)
    return np.where(values[at] == sums, places[at], -1).astype(np.int64)


def _named(data: AuditData) -> dict[str, Rows]:
    return {f"unlabelled[{name!r}]": rows for name, rows in data.elsewhere.items()}


def _tells_apart(data: AuditData, name: str, values: NDArray[Any]) -> bool:
    """Whether a value stands for one thing, so that it should be on one side only."""
    values = _whole(values)
    if values.dtype.kind in "fM" or _times(name, values) is not None:
        return False
    same = codes(values)
    if data.cluster is not None and np.array_equal(same, data.cluster):
        return True
    if _says(_IDS, name):
        return True
    different = int(same.max()) + 1
    many = different >= _LEAST_VALUES and len(values) <= _MOST_ROWS * different
    return values.dtype.kind in "USO" and many


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers as such: a data frame keeps those beside a missing one as 5.0."""
    whole = values.dtype.kind == "f" and bool((values == np.round(values)).all())
    return values.astype(np.int64) if whole and np.abs(values).max() < 2**53 else values


def _says(words: re.Pattern[str], name: str) -> bool:
    """Whether one of its words is one of these; patientId and patient_id are patient and id."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return any(words.fullmatch(part.lower()) for part in parts)


def _times(name: str, values: NDArray[Any]) -> NDArray[Any] | None:
    """(n,) times, or numbers that are called so; missing ones are NaT or NaN. None: neither."""
    if values.dtype.kind == "M":
        return values
    if not _says(_TIMES, name):
        return None
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    if values.dtype.kind not in "USO":
        return None
    import pandas as pd

    read = pd.to_datetime(
        pd.Series(values.astype(str)), format="ISO8601", errors="coerce", utc=True
    ).dt.tz_localize(None)
    found: NDArray[Any] = read.to_numpy().astype("datetime64[ns]")
    # A name may mislead: "time of day: morning".
    return None if 2 * np.isnat(found).sum() > len(found) else found


def _none(values: NDArray[Any]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    return found


def _shown(value: Any) -> str:
    if isinstance(value, np.datetime64):
        day = value.astype("datetime64[D]")
        return str(day) if day == value else str(value.astype("datetime64[s]"))
    return f"{value:.10g}"


def _listed(shown: tuple[str, ...], of: int) -> str:
    return ", ".join(shown) + (", ..." if of > len(shown) else "")


def _without(data: AuditData, name: str) -> str:
    if data.seen is None:
        return f"train is not given, so groups[{name!r}] is not compared with it"
    if not data.seen.groups:
        return f"train is given without groups: give AuditData to compare groups[{name!r}]"
    return f"train has no groups[{name!r}]"
