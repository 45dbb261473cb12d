"""The error under a corruption, in units of the teacher's."""

from __future__ import annotations

import numpy as np

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.measurement import ERROR_RATIO, RISE_RATIO
from ringtest.shift import common
from ringtest.tasks import AnyTask


@measure
class CorruptionError(ModelMeasure):
    """Error at one severity; over all severities, that of the student by the teacher's.

    The error is 1 - accuracy, or the squared error in variances of the targets (1 - R^2); lower is
    better, from 0. Each condition that was seen at rising severities gets two rows more, made of
    the means over members:

    * ``error over the teacher's``: sum over severities of the student's error over that of the mean
      member's. 1: as good as the teacher; 2: twice as many errors.
    * ``rise of error over the teacher's``: the same of what each error lies above that on clean
      rows, so that a student that is worse everywhere does not look fragile.

    Both rest on the delta method. They are not measurable where the 95 % interval of the teacher's
    own error, or rise, does not lie above 0: a ratio to next to nothing can be anything.

    These are the corruption error and the relative corruption error of the source, with the teacher
    in the place of AlexNet and 1 in the place of 100 %. Not for a metric of the user's, of which
    nobody knows what no error would be.

    Source: Hendrycks & Dietterich 2019 (arXiv:1903.12261).
    """

    id = "outputs.corruption_error"
    about = "error, and over severities its sum and its rise in units of the teacher's"
    direction = "lower"
    range = (0.0, np.inf)
    unit = "error"
    needs = frozenset({"outcomes"})
    on = ("clean", "context")
    default = False
    curve = True
    summaries = (ERROR_RATIO, RISE_RATIO)
    source = "Hendrycks & Dietterich 2019, arXiv:1903.12261"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Targets must hold, and the score be ringtest's own."""
        return task.metric is None and common.holds_targets(condition, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        assert evidence.score is not None
        return [Reading(row_mean(1.0 - evidence.score, at.units), "error")]
