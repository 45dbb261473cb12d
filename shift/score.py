"""The benchmark's score, per condition and slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Array, Estimate, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.shift import common
from ringtest.tasks import AnyTask


@measure
class Score(ModelMeasure):
    """Mean score of the rows: accuracy, R^2 or the user's metric; higher is better.

    Compared with the *mean member*: held against the whole ensemble, every single network loses.
    On clean data it is the benchmark; elsewhere, and per slice, it is context.
    """

    id = "outputs.score"
    about = (
        "accuracy, R^2 or the user's metric, by condition and slice; on clean data the benchmark"
    )
    range = (-np.inf, np.inf)
    group = "benchmark"
    unit = "score"
    needs = frozenset({"outcomes"})
    on = ("clean", "context", "invariance")
    curve = True

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Targets must hold."""
        return common.holds_targets(condition, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading for all rows and one a slice."""
        assert evidence.score is not None
        name = at.task.score_name
        out = [Reading(row_mean(evidence.score, at.units), name)]
        # A column of identities or times has no slices to speak of, however few a split shows.
        everywhere = (at.whole or at).data.groups
        for column, values in at.data.groups.items():
            few = len(np.unique(everywhere[column])) <= 50
            for label in np.unique(values) if few else []:
                found = _within(evidence.score, values == label, at)
                out.append(Reading(found, name, slice=f"{column}={label}"))
        for label, rows in at.data.slices.items():
            # Of those that a split shows none of there is nothing to say.
            if rows.any() or at.whole is None:
                out.append(Reading(_within(evidence.score, rows, at), name, slice=label))
        return out


def _within(score: Array, rows: NDArray[np.bool_], at: Setting) -> Estimate:
    """Mean score of some of the rows, whose clusters stay units."""
    units = None
    if at.units is not None:
        units = np.unique(at.units[rows], return_inverse=True)[1].astype(np.int64)
    return row_mean(score[rows], units)
