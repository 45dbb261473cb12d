"""Does one probe direction serve all slices of the data, or has each slice its own?"""

from __future__ import annotations

import numpy as np

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Estimate
from ringtest.evidence import Evidence
from ringtest.measure import (
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.probes.concepts import Concept
from ringtest.probes.slices import Slices
from ringtest.representations import damage
from ringtest.tasks import AnyTask


@measure
class SliceTransfer(ModelMeasure):
    """A probe's cross-validated score in its own slice minus the other slices' probes' score there.

    Last hidden layer (m, d) and the target; two to ten slices of at least 100 rows of one group
    column, the largest if there are more, all slices weighted alike. Ridge, penalty 0.01 a row,
    units at standard deviation 1 in the slice of the probe, five folds. A row of a concept with
    values scores at least -1. In [-2, 2], for classes [-1, 1]; lower is better, 0: one direction
    serves all. Not measurable where the layer is damaged or stands still in a slice, or a slice has
    one answer.
    """

    id = "probe.slice_transfer"
    about = "probe score in its own slice minus that of the other slices' probes, per group column"
    direction = "lower"
    range = (-2.0, 2.0)
    invariant_to = frozenset({PERMUTATION, SCALE})
    null_value = None
    group = "slice transfer"
    unit = "share"
    needs = frozenset({"sample"})
    on = ("clean",)

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Needs a group column and targets."""
        holds = condition.keeps_rows and condition.keeps_targets
        return holds and bool(data.groups) and task.targets is not None

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a group column; NaN, with the reason, where probes cannot be compared."""
        assert at.task.targets is not None
        concept = Concept.of("target", at.task.targets[at.rows])
        statistic = f"{concept.statistic} lost across slices"
        out = []
        for column, values in at.data.groups.items():
            slices = Slices.of(column, np.asarray(values)[at.rows], at)
            estimate, why = NOTHING, ""
            try:
                estimate = _lost(evidence, slices, concept, at)
            except NotMeasurable as error:
                why = str(error)
            out.append(Reading(estimate, statistic, concept="target", slice=column, reason=why))
        return out


def _lost(evidence: Evidence, slices: Slices, concept: Concept, at: Setting) -> Estimate:
    """What is lost in the last layer across the slices; NotMeasurable if nothing can be said."""
    name = evidence.names[-1]
    why = slices.reason or damage(evidence, name)
    if not why:
        lame = slices.obstacles(concept, evidence.last, f"layer {name} of {evidence.subject}")
        why = next((reason for reason in lame if reason), "")
    if why:
        raise NotMeasurable(why)
    return slices.lost(slices.scores(evidence.last, concept), at.sample_units)
