"""How many nats do a model's probabilities lie from the teacher's, either way?"""

from __future__ import annotations

from typing import Final

import numpy as np

from ringtest.beside import Beside
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Array, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import Reading, Setting, measure
from ringtest.shift.divergence import BesideTeacher
from ringtest.tasks import AnyTask

FORWARD: Final = "KL(teacher || model)"
REVERSE: Final = "KL(model || teacher)"


@measure
class KL(BesideTeacher):
    """Mean divergence of a model's probabilities from the teacher's, both ways; lower is better.

    In nats, from 0, mean over all rows. ``KL(teacher || model)`` is what distillation makes small:
    it grows where the model holds impossible what the teacher holds possible. ``KL(model ||
    teacher)`` grows where the model holds possible what the teacher does not. The teacher is the
    mean probability of its members (of a member: of the others; of a student: of as many, see
    :class:`~ringtest.shift.divergence.Divergence`). With a single teacher the student's values
    stand alone.

    A probability of exactly 0, which trees and counts give, makes it infinite where the other side
    is above 0. It is then not measurable and the reason says on how many rows: any number in its
    place would be that of a floor somebody chose.

    Sources: Hinton et al. 2015 (arXiv:1503.02531); both directions: Kullback & Leibler 1951.
    """

    id = "outputs.kl"
    about = "KL divergence of a model's probabilities from the teacher's, both ways, all rows"
    range = (0.0, np.inf)
    unit = "nats"
    on = ("clean",)
    default = True
    source = "Hinton et al. 2015, arXiv:1503.02531; Kullback & Leibler 1951"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """There must be probabilities."""
        return task.name == "classification"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading each way."""
        beside = self.beside(evidence)
        assert beside.reverse is not None
        return [
            _reading(FORWARD, beside.divergence, beside, 0, ("it", "the teacher"), at),
            _reading(REVERSE, beside.reverse, beside, 1, ("the teacher", "it"), at),
        ]


def _reading(
    name: str, values: Array, beside: Beside, way: int, sides: tuple[str, str], at: Setting
) -> Reading:
    """The mean of (n,) values, unless one of them is infinite."""
    rows = 0 if beside.denied is None else int(beside.denied[:, way].sum())
    if rows:
        why = f"infinite: on {rows:,} of {len(values):,} rows {sides[0]} gives probability 0 to "
        return Reading(NOTHING, name, reason=f"{why}a class that {sides[1]} holds possible")
    # Where both are equal, rounding may leave a trace below 0.
    return Reading(row_mean(np.maximum(values, 0.0), at.units), name)
