"""Clean inputs beside changed ones: does the probe of one serve in the other?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ringtest import margins
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import Reading, Setting, measure
from ringtest.probes.concepts import Concept, folds
from ringtest.probes.slice_matrix import SliceMatrix, Units
from ringtest.probes.slices import Slices
from ringtest.representations import damage

COLUMN = "condition"


@measure
class ConditionMatrix(SliceMatrix):
    """``probe.slice_matrix`` of two slices that hold the same rows, clean and as they are changed.

    Rows (m, d) of each layer, clean and under the condition, and the target. A fold holds the same
    rows in both, so that no probe is scored on a row that it was fitted on, changed or not; a row
    and its changed self are one unit of the error. Readings: for every layer the cosine of both
    probes' directions, in [-1, 1], 1 if what is read on clean inputs is read here, too, and the
    score in the condition of the probe of clean rows, as slice "condition: clean -> KEY"; for the
    last hidden layer also the other scores, own ones out of fold. Higher is better. What the
    condition's own probe reads and that of clean rows does not has moved, and is not lost.
    """

    id = "probe.condition_matrix"
    about = "probes of clean rows in changed ones and back: is what they read lost, or moved?"
    needs = frozenset({"layers", "clean_pair"})
    on = ("context",)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """The readings of each layer."""
        assert at.task.targets is not None
        assert evidence.clean is not None
        m = len(at.rows)
        concept = Concept.of("target", np.concatenate([at.task.targets[at.rows]] * 2))
        same = np.arange(m) if at.sample_units is None else at.sample_units
        fold, here = folds(at), torch.arange(m)
        few = f"{m} rows are fewer than {margins.MIN_N}" if m < margins.MIN_N else ""
        labels = ("clean", at.condition.key)
        of = Slices(COLUMN, labels, (here, here + m), (fold, fold), few)
        out = []
        for name in evidence.names:
            why = of.reason or damage(evidence.clean, name) or damage(evidence, name)
            rows = torch.cat([evidence.clean.sample[name], evidence.sample[name]])
            out += self.readings(
                evidence, name, rows, why, concept, of, np.concatenate([same, same])
            )
        return out

    def entries(
        self, x: Tensor, concept: Concept, of: Slices, units: Units, last: bool, layer: str
    ) -> Iterator[tuple[Estimate, str, str, str]]:
        """As in slices; of earlier layers also what the probe of clean rows is worth here."""
        yield from super().entries(x, concept, of, units, last, layer)
        if not last:
            lame = next((o for o in of.obstacles(concept, x, layer) if o), "")
            if not lame:
                score = of.score(of.scores(x, concept), 0, 1, units)
                yield score, concept.statistic, of.pair(0, 1), ""
