"""What all probes of layers have in common: one score a row, for each layer and concept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, ModelMeasure, Reading, Setting
from ringtest.measurement import Direction
from ringtest.probes.concepts import Concept, concepts, folds
from ringtest.representations import damage
from ringtest.tasks import AnyTask


class LayerProbe(ModelMeasure):
    """A number for each layer and concept, as the mean of one score a row.

    Subclasses say how rows are scored, for all layers at once; what cannot be scored becomes
    ``not_measurable``, with layer and reason.
    """

    direction: ClassVar[Direction] = "higher"
    range = (-np.inf, 1.0)
    invariant_to = frozenset({PERMUTATION, SCALE})
    unit = "share"
    needs = frozenset({"layers"})
    on = ("clean",)

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Rows must keep their concepts."""
        has = task.targets is not None or bool(data.concepts)
        return condition.keeps_rows and condition.keeps_targets and has

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) scores of rows that were out of the fold.

        Args:
            layers: (m, d) float32 rows of each layer, finite and not constant; widths differ.
            concept: to be decoded; it has at least two values in every training fold.
            fold: (m,) fold of each row.
            at: the rest of what may be known.
        """
        raise NotImplementedError

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return concept.statistic

    def obstacle(self, concept: Concept, at: Setting) -> str:
        """Why this measure says nothing of a concept that others can decode; empty if it does."""
        return ""

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept."""
        fold = folds(at)
        damaged = {name: damage(evidence, name) for name in evidence.names}
        sane = [name for name in evidence.names if not damaged[name]]
        out = []
        for concept in concepts(at):
            why = concept.obstacle(fold) or self.obstacle(concept, at)
            found: dict[str, Tensor] = {}
            if sane and not why:
                layers = [evidence.sample[name] for name in sane]
                found = dict(zip(sane, self.scores(layers, concept, fold, at), strict=True))
            for name in evidence.names:
                rows = found.get(name)
                estimate = NOTHING if rows is None else row_mean(rows.numpy(), at.sample_units)
                reason = "" if rows is not None else why or damaged[name]
                out.append(
                    Reading(
                        estimate,
                        self.statistic(concept),
                        name,
                        evidence.depth(name),
                        concept.name,
                        reason=reason,
                    )
                )
        return out
