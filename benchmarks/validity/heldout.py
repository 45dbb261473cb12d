"""What floors are worth on families and worlds that they were not set on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from benchmarks.validity import calibrate
from benchmarks.validity.cases import Case, table

HALVES = 5
"""Random halves of families and of worlds that are tried."""
VIEWS = ("members", "references", "single, references")
"""Audits whose figures are given: floors decide little about the others."""


def left_out(cases: Sequence[Case], what: Literal["world", "family"]) -> pd.DataFrame:
    """Every world (or family) under floors that were set on the honest specimens of the others."""
    found = calibrate.bounds(cases)
    cases = [c for c in cases if c.view in VIEWS]
    out = []
    for name in dict.fromkeys(getattr(c.truth, what) for c in cases):
        floors = calibrate.floors(found[found[what] != name])
        out.append(table([c for c in cases if getattr(c.truth, what) == name], floors))
    return pd.concat(out, ignore_index=True)


def halves_out(cases: Sequence[Case], repeats: int = HALVES) -> pd.DataFrame:
    """Half of the families in half of the worlds, under floors set on the other halves.

    Column ``repeat`` tells the random splits apart; both directions of each are taken.
    """
    found = calibrate.bounds(cases)
    cases = [c for c in cases if c.view in VIEWS]
    families = {c.truth.family for c in cases}
    worlds = {c.truth.world for c in cases}
    out = []
    for repeat in range(repeats):
        pairs = [calibrate.halves(families, repeat), calibrate.halves(worlds, repeat)]
        if len(worlds) == 1:
            pairs[1] = (worlds, worlds)
        for here, there in ((0, 1), (1, 0)):
            mine = found["family"].isin(pairs[0][here]) & found["world"].isin(pairs[1][here])
            rest = [
                c
                for c in cases
                if c.truth.family in pairs[0][there] and c.truth.world in pairs[1][there]
            ]
            if rest and mine.any():
                floors = calibrate.floors(found[mine])
                out.append(table(rest, floors).assign(repeat=repeat))
    return pd.concat(out, ignore_index=True)
