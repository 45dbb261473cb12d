"""Does a model stay itself under a transformation?"""

from __future__ import annotations

import numpy as np

from ringtest import tasks
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.tasks import AnyTask


@measure
class Consistency(ModelMeasure):
    """Share of a model's own outputs that a transformation leaves alone; higher is better.

    Classification: share of unchanged predictions, [0, 1]. Regression and embedding: 1 - mean
    squared movement of the output over that of random pairs of rows, (-inf, 1].
    """

    id = "outputs.consistency"
    about = "share of a model's own outputs that a transformation leaves alone"
    range = (-np.inf, 1.0)
    group = "function"
    unit = "share"
    needs = frozenset({"outcomes", "sample", "clean_pair"})
    on = ("certified", "invariance")
    curve = True
    unchanged = 1.0

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Row i must be a changed row i."""
        return condition.keeps_rows

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        assert evidence.clean is not None
        if isinstance(at.task, tasks.Classification):
            assert evidence.predictions is not None
            assert evidence.clean.predictions is not None
            same = (evidence.predictions == evidence.clean.predictions).astype(np.float64)
            return [Reading(row_mean(same, at.units), "consistency")]
        before = at.task.points(evidence.clean.outputs.double())
        after = at.task.points(evidence.outputs.double())
        random_pair = 2.0 * before.var(dim=0, unbiased=True).sum()
        if not (before != before[0]).any():
            raise NotMeasurable("outputs do not vary")
        moved = (after - before).square().sum(1) / random_pair
        return [Reading(row_mean((1.0 - moved).numpy(), at.sample_units), "consistency")]
