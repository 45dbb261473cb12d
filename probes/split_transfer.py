"""What is read outside a split: does it serve within?"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from ringtest import blocks, margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, row_mean
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
from ringtest.probes.concepts import Concept, folds
from ringtest.probes.slices import Slices
from ringtest.representations import damage
from ringtest.tasks import AnyTask

INSIDE: Final = "split"


@measure
class SplitTransfer(ModelMeasure):
    """Score of the split's own probes, cross-validated, minus that of probes from outside it.

    Rows (m, d) of each layer that the split shows, and the target; outside, the sampled rows that
    may teach (:meth:`ringtest.condition.Condition.outside`: the other groups, or what came before),
    none of which shares a cluster with a shown one. Ridge as in ``probe.slice_transfer``: penalty
    0.01 a row, units at standard deviation 1 on the rows of the probe, five folds on either side,
    so that a copy of a row never teaches what it is asked. A row of values scores at least -1. In
    [-2, 2], for classes [-1, 1]; lower is better, 0: what is read outside serves within. Of both
    sides the rows are told in ``params``: a probe of fewer rows is worse by that alone, for teacher
    and student alike. Not measurable with under 100 rows on a side.
    """

    id = "probe.split_transfer"
    about = "probe score on a split by its own probes minus that of probes fitted outside it"
    direction = "lower"
    range = (-2.0, 2.0)
    invariant_to = frozenset({PERMUTATION, SCALE})
    unit = "share"
    needs = frozenset({"layers", "outside"})
    on = ("context",)
    default = False

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Needs a split, and targets."""
        return condition.selects and condition.keeps_targets and task.targets is not None

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer; NaN, with the reason, where a layer is damaged."""
        assert at.whole is not None
        assert evidence.whole is not None
        taught = _outside(at)
        concept, of = _sides(at, taught)
        if of.reason:
            raise NotMeasurable(of.reason)
        inside = of.rows[0]
        out = []
        for name in evidence.names:
            why = damage(evidence, name) or damage(evidence.whole, name)
            rows = torch.cat([evidence.sample[name], evidence.whole.sample[name][taught]])
            if not why:
                layer = f"layer {name} of {evidence.subject}"
                why = next((o for o in of.obstacles(concept, rows, layer) if o), "")
            estimate = NOTHING
            params: dict[str, Any] = {"rows": len(inside), "rows_outside": len(taught)}
            if not why:
                own, foreign = of.scores(rows, concept)[:, inside].numpy()
                estimate = row_mean(own - foreign, at.sample_units)
                params |= {"own": float(own.mean()), "outside": float(foreign.mean())}
            out.append(
                Reading(
                    estimate,
                    f"{concept.statistic} lost into the split",
                    name,
                    evidence.depth(name),
                    "target",
                    reason=why,
                    params=params,
                )
            )
        return out


def _outside(at: Setting) -> torch.Tensor:
    """(k,) places, in the sample of the whole data, of the rows that may teach."""
    assert at.whole is not None
    if "outside" not in at.shared:
        free = at.condition.outside(at.whole.data)
        at.shared["outside"] = torch.from_numpy(np.flatnonzero(np.isin(at.whole.rows, free)))
    found: torch.Tensor = at.shared["outside"]
    return found


def _sides(at: Setting, taught: torch.Tensor) -> tuple[Concept, Slices]:
    """The target on the split's rows and then those outside, and the two as slices."""
    assert at.whole is not None
    assert at.task.targets is not None
    assert at.whole.task.targets is not None
    rows = at.whole.rows[taught.numpy()]
    targets = torch.cat([at.task.targets[at.rows], at.whole.task.targets[rows]])
    concept = Concept.of("target", targets)
    m, k = len(at.rows), len(rows)
    units = None if at.whole.units is None else at.whole.units[rows]
    fold = torch.from_numpy(blocks.folds(k, margins.PROBE_FOLDS, units))
    few = ""
    for count, where in ((m, "in the split"), (k, "outside it")):
        if count < margins.MIN_N:
            few = few or f"{count} sampled rows {where} are fewer than {margins.MIN_N}"
    sides = torch.arange(m), torch.arange(k) + m
    return concept, Slices(INSIDE, ("own", "outside"), sides, (folds(at), fold), few)
