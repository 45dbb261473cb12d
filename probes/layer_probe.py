"""What all probes of layers have in common: one score a row, for each layer and concept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, ModelMeasure, NotMeasurable, Reading, Setting
from ringtest.measurement import Direction
from ringtest.probes.concepts import Concept, concepts, folds
from ringtest.representations import damage
from ringtest.tasks import AnyTask

WIDE: Final = 1024
"""Width from which the products of one layer keep all threads busy."""
T = TypeVar("T")


def side_by_side(work: Callable[[Tensor], T], layers: Sequence[Tensor]) -> list[T]:
    """What work makes of each (m, d) layer; narrow ones share torch's threads, one each.

    Products of one narrow layer gain little from a second thread, and all of them wait for it where
    the processor is busy: 30 ms for a factor that takes one thread 1.2 ms. Work must not change
    what it shares.
    """
    threads = torch.get_num_threads()
    if min(threads, len(layers)) < 2 or max(x.shape[1] for x in layers) > WIDE:
        return [work(x) for x in layers]
    try:
        with ThreadPoolExecutor(
            min(threads, len(layers)), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            return list(pool.map(work, layers))
    finally:
        # What a thread sets for itself, threads that are yet to come start from.
        torch.set_num_threads(threads)


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

    def every(
        self, layers: Sequence[Tensor], asked: Sequence[Concept], fold: Tensor, at: Setting
    ) -> list[Tensor]:
        """(layers, m) scores for each concept; probes may share what hangs on the layer alone."""
        return [self.scores(layers, concept, fold, at) for concept in asked]

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
        named = concepts(at)
        reasons = [concept.obstacle(fold) or self.obstacle(concept, at) for concept in named]
        asked = [c for c, why in zip(named, reasons, strict=True) if sane and not why]
        layers = {name: evidence.sample[name] for name in sane}
        told = self._told(layers, asked, fold, at) if asked else {}
        out = []
        for concept, why in zip(named, reasons, strict=True):
            for name in evidence.names:
                rows = told.get((concept.name, name))
                estimate, reason = NOTHING, why or damaged[name]
                if isinstance(rows, NotMeasurable):
                    reason = f"{evidence.subject}: layer {name}: {rows}"
                elif rows is not None:
                    estimate = row_mean(rows.numpy(), at.sample_units)
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

    def _told(
        self, layers: Mapping[str, Tensor], asked: Sequence[Concept], fold: Tensor, at: Setting
    ) -> dict[tuple[str, str], Tensor | NotMeasurable]:
        """(m,) scores by concept and layer, or why there are none; (m, d) layers by name."""
        try:
            scores = self.every(list(layers.values()), asked, fold, at)
        except NotMeasurable as error:
            # One probe that cannot be fitted costs no other its number: each layer, then each
            # concept, by itself.
            if len(layers) > 1:
                parts = [self._told({k: x}, asked, fold, at) for k, x in layers.items()]
            elif len(asked) > 1:
                parts = [self._told(layers, [c], fold, at) for c in asked]
            else:
                return {(asked[0].name, name): error for name in layers}
            return {place: found for part in parts for place, found in part.items()}
        return {
            (concept.name, name): rows
            for concept, found in zip(asked, scores, strict=True)
            for name, rows in zip(layers, found, strict=True)
        }
