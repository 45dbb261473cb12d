"""How well off is the group that is worst off?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ringtest import margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Array, Estimate, weighted_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.shift import common
from ringtest.tasks import AnyTask

_SHOWN: Final = 10
"""Groups below the minimum that are named."""
_MOST: Final = 1_000
"""A column of more labels is one of identities or times."""


@measure
class WorstGroup(ModelMeasure):
    """Score of the group that a model serves worst; higher is better.

    One reading for each group column, and one for all columns crossed where there are several: the
    least mean score of a group. Only groups of at least 100 rows (and, where there are clusters,
    five of them) count, and there must be two such groups.

    The smallest of several means lies below the smallest expectation, by the more the more groups
    there are and the smaller they are. Of k groups the standard error, and with it the interval, is
    therefore that of the worst group times z(k) / z(1), where z(k) bounds the errors of all k means
    together in 95 % of samples (Sidak). The teacher's value is the mean of the members' own worst,
    which need not be the student's group. Measured coverage stands in docs/shift-measures.md; it
    falls short where a single teacher makes nearly the same mistakes as the student, since both
    then choose the same wrong group.

    ``params`` names the student's worst ``group`` and its ``rows``, how many ``groups`` there were,
    and those ``below_minimum`` with their rows: they never count.

    Sources: Sagawa et al. 2020 (arXiv:1911.08731); Sidak 1967 (JASA 62).
    """

    id = "outputs.worst_group"
    about = "score of the worst group of at least 100 rows, with an interval that minds the choice"
    range = (-np.inf, np.inf)
    unit = "score"
    needs = frozenset({"outcomes"})
    on = ("clean", "context", "invariance")
    default = False
    source = "Sagawa et al. 2020, arXiv:1911.08731; Sidak 1967"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """There must be groups, and targets that hold."""
        return bool(data.groups) and common.holds_targets(condition, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a column; where no two groups are large enough it says so."""
        assert evidence.score is not None
        columns = dict(at.data.groups)
        if len(columns) > 1:
            columns[" x ".join(columns)] = crossed(list(columns.values()))
        name = f"worst {at.task.score_name}"
        out = []
        for column, values in columns.items():
            found, reason, params = _worst(evidence.score, values, at.units)
            out.append(Reading(found, name, slice=column, reason=reason, params=params))
        return out


def crossed(columns: list[NDArray[Any]]) -> NDArray[np.str_]:
    """(n,) one label for each combination of labels."""
    out = columns[0].astype(str)
    for values in columns[1:]:
        out = np.char.add(np.char.add(out, " x "), values.astype(str))
    return out


def _worst(
    score: Array, values: NDArray[Any], units: NDArray[np.int64] | None
) -> tuple[Estimate, str, dict[str, Any]]:
    """Estimate, why there is none, and what else the row tells."""
    labels, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(labels) > _MOST:
        return NOTHING, f"{len(labels)} groups: a column of identities or times", {}
    held = (counts >= margins.MIN_N) & (_clusters(codes, units, counts) >= margins.PROBE_FOLDS)
    small = [f"{labels[i]} ({counts[i]})" for i in np.flatnonzero(~held)]
    params: dict[str, Any] = {"groups": int(held.sum())}
    if small:
        more = [f"and {len(small) - _SHOWN} more"] if len(small) > _SHOWN else []
        params["below_minimum"] = small[:_SHOWN] + more
    if held.sum() < 2:
        why = f"under two groups of at least {margins.MIN_N} rows"
        return NOTHING, why if units is None else f"{why} in {margins.PROBE_FOLDS} clusters", params
    means = np.bincount(codes, score) / counts
    lowest = int(np.flatnonzero(held)[means[held].argmin()])
    params |= {"group": str(labels[lowest]), "rows": int(counts[lowest])}
    weights = (codes == lowest) / counts[lowest]
    worst = weighted_mean(score, weights, units)
    influence = worst.influence * widening(int(held.sum()))
    return replace(worst, influence=influence), "", params


def _clusters(
    codes: NDArray[np.int64], units: NDArray[np.int64] | None, counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Number of independent units in each group: rows, or clusters that have rows there."""
    if units is None:
        return counts
    pairs = np.unique(np.stack([codes, units]), axis=1)
    return np.bincount(pairs[0], minlength=len(counts))


def widening(groups: int) -> float:
    """By how much the error of one mean grows that was chosen among several: z(k) / z(1).

    >>> round(widening(1), 2), round(widening(10), 2)
    (1.0, 1.43)
    """
    level = margins.CI_LEVEL
    z = special.ndtri([0.5 + level ** (1.0 / groups) / 2.0, 0.5 + level / 2.0])
    return float(z[0] / z[1])
