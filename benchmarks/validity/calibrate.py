"""Floors from honest specimens alone, and what they are worth on families that they never saw.

A floor is the harm below which an honest model must be able to *pass*: the upper bound of its
one-sided interval must lie under the margin. So the floor of a kind of row is a quantile, over the
honest specimens of the calibration families, of that bound. Faults are never looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.validity.cases import Case, kind_of
from ringtest import margins
from ringtest.estimate import t_quantile
from ringtest.measurement import PASS_ONLY

QUANTILE = 0.95
"""Share of the honest specimens of the calibration that a floor lets pass on one kind of row."""
LEAST = {"global geometry": 0.08, "local geometry": 0.08, "function": 0.04, "invariance": 0.15}
"""No floor is lower: what honest specimens of six worlds never show, those of a seventh may.
Groups that are not named here keep the floors that they have."""


def bounds(cases: Iterable[Case]) -> pd.DataFrame:
    """Upper one-sided bound of harm of every judged row of every case, with its kind and family."""
    out: list[dict[str, Any]] = []
    for case in cases:
        for row in case.audited.rows:
            if not (row.headline and row.group and row.group != "benchmark" and row.measured):
                continue
            # Two-sided at twice the level: one-sided at the level of every test.
            t = t_quantile(1 - 2 * margins.ALPHA, row.df)
            out.append(
                {
                    "world": case.truth.world, "family": case.truth.family, "name": case.truth.name,
                    "truth": case.truth.truth, "view": case.view, "elsewhere": case.elsewhere,
                    "own": case.own, "kind": kind_of(row, case.own), "harm": row.harm,
                    "bound": row.harm + t * row.se,
                    "counts": case.counts,
                }
            )  # fmt: skip
    return pd.DataFrame(out).drop_duplicates(["world", "name", "kind", "harm", "bound"])


def floors(found: pd.DataFrame, quantile: float = QUANTILE) -> dict[str, float]:
    """A floor for each kind of row: the weighted quantile of honest bounds, families alike."""
    honest = found[(found["truth"] == "sound") & found["counts"]]
    out = {}
    for kind, rows in honest.groupby("kind"):
        group, where = str(kind).split("|")[:2]
        # What can only be passed tells of no floor; a user's own invariance has one of its own.
        if group not in LEAST or where in PASS_ONLY or (group == "invariance" and where == "clean"):
            continue
        size = rows.groupby(["world", "family"])["bound"].transform("size")
        out[str(kind)] = max(LEAST[group], weighted_quantile(rows["bound"], 1.0 / size, quantile))
    return out


def weighted_quantile(values: Any, weights: Any, quantile: float) -> float:
    """The least value below or at which a share of the weight lies."""
    order = np.argsort(np.asarray(values))
    v, w = np.asarray(values, float)[order], np.asarray(weights, float)[order]
    share = np.cumsum(w) / w.sum()
    return float(v[min(int(np.searchsorted(share, quantile)), len(v) - 1)])


def halves(names: Collection[str], seed: int) -> tuple[set[str], set[str]]:
    """Two random halves of names."""
    order = np.random.default_rng(seed).permutation(sorted(names))
    middle = len(order) // 2
    return set(order[:middle]), set(order[middle:])


def of_families(cases: Sequence[Case], families: Collection[str]) -> list[Case]:
    """The cases of some families."""
    return [c for c in cases if c.truth.family in families]


def of_worlds(cases: Sequence[Case], worlds: Collection[str]) -> list[Case]:
    """The cases of some worlds."""
    return [c for c in cases if c.truth.world in worlds]
