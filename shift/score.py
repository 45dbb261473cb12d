"""The benchmark's score, per condition and slice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import row_mean
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
    controlled = True

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Targets must hold."""
        return common.holds_targets(condition, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading for all rows and one a slice."""
        score, name = evidence.score, at.task.score_name
        assert score is not None
        of_slices = (
            Reading(row_mean(score[rows], at.units_of(rows)), name, slice=label)
            for label, rows in _slices(at)
        )
        return [Reading(row_mean(score, at.units), name), *of_slices]


def _slices(at: Setting) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name and (n,) rows of each slice: values of the group columns, and the user's own."""
    # A column of identities or times has no slices to speak of, however few a split shows.
    everywhere = (at.whole or at).data.groups
    for column, values in at.data.groups.items():
        if len(np.unique(everywhere[column])) <= 50:
            for label in np.unique(values):
                yield f"{column}={label}", values == label
    for label, rows in at.data.slices.items():
        # Of those that a split shows none of there is nothing to say.
        if rows.any() or at.whole is None:
            yield label, rows
