"""What all interventions on concepts share: a number a layer and concept, from runs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ringtest import blocks
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Estimate
from ringtest.evidence import Evidence
from ringtest.measure import (
    LINEAR,
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
)
from ringtest.probes import running
from ringtest.probes.concepts import Concept, concepts, folds
from ringtest.probes.erasure import Eraser, Span, noise
from ringtest.probes.running import Site
from ringtest.representations import damage
from ringtest.tasks import AnyTask


class Intervention(ModelMeasure):
    """A number for each layer and concept, from runs of the model with the concept changed there.

    Subclasses run the model; what cannot be run or learnt becomes ``not_measurable``, with the
    layer and the reason.
    """

    direction = "higher"
    # The concept's directions and the random ones turn with the layer, whatever invertible map.
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, LINEAR, SCALE})
    null_value = 0.0
    needs = frozenset({"layers", "model"})
    on = ("clean",)
    default = False
    rows: ClassVar[int] = 512
    """Rows that the model is run on, of those that the concept is learnt on."""
    draws: ClassVar[int] = 4
    """Random subspaces."""

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """The rows as they are, and something to look for."""
        return condition.role == "clean" and (task.targets is not None or bool(data.concepts))

    def statistic(self, task: AnyTask) -> str:
        """Name of the scale."""
        raise NotImplementedError

    def look(self, site: Site, own: Eraser, random: Sequence[Eraser], at: Setting) -> Estimate:
        """The number of one layer and concept; NotMeasurable with the reason if there is none.

        Args:
            site: the layer of the model.
            own: eraser of the concept there.
            random: erasers of random subspaces of equal rank.
            at: the rows to run the model on.
        """
        raise NotImplementedError

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept."""
        model = running.runnable(evidence)
        fold, some = folds(at), running.few(at, self.rows)[0]
        found = concepts(at)
        whys = [concept.obstacle(fold) for concept in found]
        out = []
        for name in evidence.names:
            damaged = damage(evidence, name)
            # Decomposed once for all concepts of a layer.
            span = None if damaged or all(whys) else span_of(evidence.sample[name])
            for concept, why in zip(found, whys, strict=True):
                estimate, reason = NOTHING, why or damaged
                if span is not None and not reason:
                    try:
                        own, random = self._subspaces(span, concept, at)
                        estimate = self.look(Site.of(model, name, at), own, random, some)
                    except NotMeasurable as error:
                        reason = f"{evidence.subject}: layer {name}: {error}"
                statistic, depth = self.statistic(at.task), evidence.depth(name)
                out.append(Reading(estimate, statistic, name, depth, concept.name, reason=reason))
        return out

    def _subspaces(self, span: Span, concept: Concept, at: Setting) -> tuple[Eraser, list[Eraser]]:
        """The eraser of a concept, and erasers of random subspaces of equal rank."""
        own = span.erase(concept.columns)
        if own.rank >= span.live:
            raise NotMeasurable(f"{concept.name} takes all {span.live} directions of it")
        rng = blocks.generator(at.seed, self.id, concept.name)
        m = int(concept.columns.shape[0])
        return own, [span.erase(noise(m, own.rank, rng)) for _ in range(self.draws)]


def span_of(rows: Tensor) -> Span:
    """The span of (m, d) float32 rows without the directions that only their rounding has.

    A layer wider than what feeds it has such directions. They would be erased at random in the
    place of what the layer holds.
    """
    return Span.of(rows, 8 * torch.finfo(torch.float32).eps)
