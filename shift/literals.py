"""Literals: the single conditions that slices are put together from, as one boolean matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringtest.attributes import CLUSTER
from ringtest.rules import mask

Column = NDArray[Any]
LABELS: Final = 50
"""A column of more labels (names, identities) has no slices to speak of."""
FEW_NUMBERS: Final = 12
"""Whole numbers that take no more values than that are labels."""
MOST: Final = 256
"""Literals in all; what comes after them is told by name."""
DESCRIBED: Final = (
    "brightness", "contrast", "ink", "edges", "level", "spread", "roughness", "length",
)  # fmt: skip
"""Descriptors that have words: terciles are called low, middling and high."""
_WORDS: Final = {CLUSTER: "input cluster {}"}


@dataclass(frozen=True)
class Literal:
    """One condition on one column."""

    column: str
    condition: Any
    """As in :mod:`ringtest.rules`: a value, or bounds."""
    words: str

    @property
    def side(self) -> str:
        """``from`` or ``below`` for half of a line, else empty."""
        keys = list(self.condition) if isinstance(self.condition, dict) else []
        return keys[0] if len(keys) == 1 and self.column not in DESCRIBED else ""


@dataclass(frozen=True)
class Literals:
    """All of them, and on which rows they hold."""

    each: tuple[Literal, ...]
    holds: NDArray[np.bool_]
    """(n, L)"""
    together: NDArray[np.bool_]
    """(L, L) whether two may stand in one rule: two columns, or two sides of one line."""
    skipped: tuple[str, ...] = ()
    """Columns that nothing was made of, each with the reason."""

    def rule(self, chosen: Sequence[int]) -> dict[str, Any]:
        """The conditions of some literals, as JSON: bounds on one line are one condition."""
        out: dict[str, Any] = {}
        for i in sorted(chosen):
            one = self.each[i]
            both = isinstance(one.condition, dict) and one.column in out
            out[one.column] = {**out[one.column], **one.condition} if both else one.condition
        return out

    def words(self, chosen: Sequence[int]) -> str:
        """The same for people."""
        return ", ".join(self.each[i].words for i in sorted(chosen))


def make(columns: Mapping[str, Column], rows: NDArray[np.int64], least: int) -> Literals:
    """The literals of some columns.

    Labels are taken as they are, descriptors in terciles, other numbers cut at their quintiles,
    either side of each. Cuts are those of ``rows``, to four digits, so that what is written down is
    what was searched.

    Args:
        columns: name -> (n,) labels or numbers, in order of precedence.
        rows: those that are searched; a literal that holds on fewer than ``least`` of them, or on
            all but as few, is left out.
        least: rows of the smallest slice.
    """
    each: list[Literal] = []
    parts: list[NDArray[np.bool_]] = []
    skipped = []
    for name, values in columns.items():
        found, why = _of(name, values, values[rows])
        before = len(each)
        for literal in found:
            holds = mask({name: literal.condition}, {name: values})
            count = int(holds[rows].sum())
            if least <= count <= len(rows) - least:
                each.append(literal)
                parts.append(holds)
        if len(each) > MOST:
            del each[before:], parts[before:]
            why = f"beyond {MOST} conditions"
        elif len(each) == before:
            why = why or f"no part of it has {least} rows"
        if why:
            skipped.append(f"{name}: {why}")
    holds = np.stack(parts, 1) if parts else np.zeros((len(rows), 0), dtype=bool)
    return Literals(tuple(each), holds, _together(each), tuple(skipped))


def _of(name: str, values: Column, seen: Column) -> tuple[list[Literal], str]:
    """Literals of a column, and why there are none."""
    labels = np.unique(seen)
    if len(labels) < 2:
        return [], "constant"
    whole = values.dtype.kind in "iub"
    is_label = values.dtype.kind not in "iuf" or name in ("target", CLUSTER)
    if values.dtype.kind != "f" and (is_label or (whole and len(labels) <= FEW_NUMBERS)):
        if len(labels) > LABELS:
            return [], f"{len(labels)} labels"
        return [_label(name, v, values.dtype.kind) for v in labels], ""
    numbers = seen[np.isfinite(seen)] if values.dtype.kind == "f" else seen
    if name in DESCRIBED:
        return list(_terciles(name, numbers)), ""
    return list(_sides(name, numbers)), ""


def _label(name: str, value: Any, kind: str) -> Literal:
    plain = int(value) if kind in "iu" else bool(value) if kind == "b" else str(value)
    return Literal(name, plain, _WORDS.get(name, name + "={}").format(plain))


def _cuts(numbers: Column, shares: Sequence[float]) -> list[float]:
    """To four digits, and to as many more as numbers need that lie far from 0 for their spread."""
    if not len(numbers):
        return []
    least, most = float(numbers.min()), float(numbers.max())
    far = max(abs(least), abs(most)) / (most - least) if most > least else 1.0
    digits = 4 + int(math.log10(max(far, 1.0)))
    return sorted({float(f"{q:.{digits}g}") for q in np.quantile(numbers, shares)})


def _terciles(name: str, numbers: Column) -> Iterator[Literal]:
    cuts = _cuts(numbers, (1 / 3, 2 / 3))
    if not cuts:
        return
    yield Literal(name, {"below": cuts[0]}, f"low {name}")
    if len(cuts) == 2:
        yield Literal(name, {"from": cuts[0], "below": cuts[1]}, f"middling {name}")
    yield Literal(name, {"from": cuts[-1]}, f"high {name}")


def _sides(name: str, numbers: Column) -> Iterator[Literal]:
    for cut in _cuts(numbers, (0.2, 0.4, 0.6, 0.8)):
        yield Literal(name, {"below": cut}, f"{name}<{cut:.15g}")
        yield Literal(name, {"from": cut}, f"{name}>={cut:.15g}")


def _together(each: Sequence[Literal]) -> NDArray[np.bool_]:
    names = np.unique([e.column for e in each], return_inverse=True)[1] if each else np.zeros(0)
    side = np.array([{"": 0, "from": 1, "below": -1}[e.side] for e in each], dtype=np.int64)
    same = names[:, None] == names[None, :]
    found: NDArray[np.bool_] = ~same | (side[:, None] * side[None, :] < 0)
    return found
