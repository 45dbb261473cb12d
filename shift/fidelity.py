"""Does a model follow the teacher where it is right, and where it is wrong?"""

from __future__ import annotations

from typing import Final

import numpy as np

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, ratio, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import Reading, Setting, measure
from ringtest.shift import common
from ringtest.shift.divergence import BesideTeacher
from ringtest.tasks import AnyTask

FEW: Final = 20
"""Of fewer rows on a side no share is told: three that happen to agree would have an error of 0."""


@measure
class Fidelity(BesideTeacher):
    """Share of rows on which a model gives the teacher's class, where that is right, and wrong.

    Higher is nearer to the teacher, in [0, 1]. The teacher's class is the most probable one under
    the mean of its members (of a member: of the others; of a student: of as many, see
    :class:`~ringtest.shift.divergence.Divergence`); it is right where it is the target. One reading
    for each side, each over all rows that fall there, at least 20.

    A model of the same accuracy that learnt from the targets alone follows the teacher where it is
    right, since so do they; only one that took over the teacher's own mistakes follows it where it
    is wrong. Fidelity on clean rows that is lost under a shift is lost there first. Classes alone
    are right or wrong: of values and embeddings ``outputs.divergence`` tells. With a single teacher
    the student's shares stand alone.

    Sources: Stanton et al. 2021 (arXiv:2106.05945); errors in common: Geirhos et al. 2020
    (arXiv:2006.16736).
    """

    id = "outputs.fidelity"
    about = "share of rows with the teacher's class, where the teacher is right and where wrong"
    direction = "higher"
    range = (0.0, 1.0)
    unit = "share"
    on = ("clean",)
    default = True
    source = "Stanton et al. 2021, arXiv:2106.05945; Geirhos et al. 2020, arXiv:2006.16736"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """There must be classes, and targets that hold."""
        return task.name == "classification" and common.holds_targets(condition, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a side."""
        beside = self.beside(evidence)
        assert evidence.predictions is not None
        assert beside.predictions is not None
        assert at.task.targets is not None
        same = (evidence.predictions == beside.predictions).astype(np.float64)
        right = beside.predictions == at.task.targets.numpy()
        out = []
        for side, rows in (("right", right), ("wrong", ~right)):
            name, n = f"share where the teacher is {side}", int(rows.sum())
            if n < FEW:
                why = f"the teacher is {side} on {n} rows, under {FEW}"
                out.append(Reading(NOTHING, name, reason=why))
                continue
            # Which rows these are differs by model, so all rows stay the units of the error.
            both, all_ = (row_mean(v, at.units) for v in (same * rows, rows.astype(np.float64)))
            share = ratio(both, all_)
            out.append(Reading(common.of_rows(share, n), name, params={"rows": n}))
        return out
