"""What all interventions on concepts share: a number a layer and concept, from runs of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ringtest import blocks, rerun
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
from ringtest.probes.concepts import Concept, concepts, folds
from ringtest.probes.erasure import Eraser, Span, noise
from ringtest.probes.held import crowded, unheld
from ringtest.probes.linear import cross_validated
from ringtest.probes.running import Site
from ringtest.representations import damage
from ringtest.tasks import AnyTask


class Intervention(ModelMeasure):
    """A number for each layer and concept, from runs of the model with the concept changed there.

    Subclasses run the model. There is no number, but the layer and the reason, for what cannot be
    run or learnt, for a concept that no ridge probe decodes from the layer by two standard errors,
    and for one that takes more than half of its directions.
    """

    direction = "higher"
    # The concept's directions and the random ones turn with the layer, whatever invertible map.
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, LINEAR, SCALE})
    # Unrelated codes hold no concept, and then there is no number.
    null_value = None
    needs = frozenset({"layers", "model"})
    on = ("clean",)
    default = False
    rows: ClassVar[int] = 512
    """Rows that the model is run on, of those that the concept is learnt on."""
    draws: ClassVar[int] = 8
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
        model = rerun.runnable(evidence)
        fold, some = folds(at), rerun.few(at, self.rows)[0]
        found = concepts(at)
        whys = [concept.obstacle(fold) for concept in found]
        out = []
        for name in evidence.names:
            damaged = damage(evidence, name)
            # Decomposed once for all concepts of a layer.
            span = None if damaged or all(whys) else span_of(evidence.sample[name])
            lost = whys if span is None else _unheld(evidence.sample[name], found, whys, fold, at)
            for concept, why, gone in zip(found, whys, lost, strict=True):
                estimate, reason = NOTHING, why or damaged
                if span is not None and not reason:
                    try:
                        if gone:
                            raise NotMeasurable(gone)
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
        if why := crowded(concept, own.rank, span.live):
            raise NotMeasurable(why)
        rng = blocks.generator(at.seed, self.id, concept.name)
        m = int(concept.columns.shape[0])
        return own, [span.erase(noise(m, own.rank, rng)) for _ in range(self.draws)]


def over_draws(beyond: Estimate, draws: Sequence[float]) -> Estimate:
    """The number with the error that the draw of the random subspaces adds to that of the rows.

    Args:
        beyond: something of the concept's subspace minus the mean of the random ones.
        draws: (K,) the same of each random one.

    A concept that is used like a random subspace is one more draw: beside the mean of K, its
    variance is 1 + 1/K times that over draws. The draws are further units, the same for all models:
    what two models that see the same subspaces alike share of it falls out of their difference.
    """
    values, k = np.asarray(draws, dtype=np.float64), len(draws)
    influence = (values - values.mean()) * math.sqrt((1.0 + 1.0 / k) / (k - 1))
    return beyond.minus_independent(Estimate(0.0, influence, beyond.n))


def _unheld(
    rows: Tensor, found: Sequence[Concept], whys: Sequence[str], fold: Tensor, at: Setting
) -> list[str]:
    """Why each concept is not held by a layer's (m, d) rows; ``whys`` where it cannot be told."""
    told = [concept for concept, why in zip(found, whys, strict=True) if not why]
    columns = torch.cat([concept.columns for concept in told], dim=1)
    widths = [int(concept.columns.shape[1]) for concept in told]
    parts = iter(cross_validated(rows, columns, fold).split(widths, dim=1))
    return [
        why or unheld(concept, concept.score(next(parts)), at)
        for concept, why in zip(found, whys, strict=True)
    ]


def span_of(rows: Tensor) -> Span:
    """The span of (m, d) float32 rows without the directions that only their rounding has.

    A layer wider than what feeds it has such directions. They would be erased at random in the
    place of what the layer holds.
    """
    return Span.of(rows, 8 * torch.finfo(torch.float32).eps)
