"""Probes on a few units: is a concept written into units, or across all of them?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from ringtest.estimate import NOTHING
from ringtest.evidence import Evidence
from ringtest.measure import Reading, Setting, measure
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import LayerProbe, side_by_side
from ringtest.probes.linear import fold_probes
from ringtest.probes.training_rows import Scale, own, scale
from ringtest.representations import standardised

UNITS: Final = 8
"""Units that a probe may read."""


@measure
class KSparse(LayerProbe):
    """Cross-validated score of a ridge probe on the eight units that tell most of the concept.

    Units are chosen one by one, on the training rows of each fold alone: by the F statistic between
    classes, or by squared correlation with the values. A layer with fewer live units gives all it
    has. Accuracy in [0, 1] for classes, R^2 in (-inf, 1] for values; higher is better. Unlike other
    linear probes it sees a rotation of the layer.

    Source: Gurnee et al. 2023.
    """

    id = "probe.k_sparse"
    about = f"score of a ridge probe on the {UNITS} units that tell most, chosen on training rows"
    default = False
    source = "Gurnee et al. 2023"

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) scores out of fold; NaN for a layer with no live unit in some fold."""
        return torch.stack(
            side_by_side(lambda x: concept.score(_predicted(x, concept, fold)), layers)
        )

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept; those without a live unit say so."""
        return [self._explained(r, evidence.subject) for r in super().read(evidence, at)]

    @staticmethod
    def _explained(reading: Reading, subject: str) -> Reading:
        if reading.reason or math.isfinite(reading.estimate.value):
            return reading
        why = f"{subject}: no unit of layer {reading.layer} varies on the training rows of a fold"
        return replace(reading, estimate=NOTHING, reason=why)


def _predicted(x: Tensor, concept: Concept, fold: Tensor) -> Tensor:
    """(m, q) predictions, each row by the units and weights of its own fold's probe."""
    x = standardised(x)
    at = scale(x, fold)
    told = explained(x, concept, at)
    out = torch.full((at.weight.shape[0], *concept.columns.T.shape), math.nan, dtype=torch.float64)
    for f in range(out.shape[0]):
        count = min(UNITS, int(at.live[f].sum()))
        if count:
            units = told[f].topk(count).indices
            # Two parts, of which the first is the fold: its probe is fitted on the second.
            probe = fold_probes(x[:, units], concept.columns, (fold != f).long())[0]
            out[f] = probe(x[:, units]).T
    return own(out, fold)


def explained(x: Tensor, concept: Concept, at: Scale) -> Tensor:
    """(F, d) share of variance that goes with the concept on the training rows; -1: constant.

    Of the unit's variance, that between classes (the F statistic rises with it and with nothing
    else); or the squared correlation, over several columns of values weighted by their variance.
    """
    y = concept.columns
    mean = at.weight @ y
    cross = torch.einsum("fm,mq,md->fqd", at.weight, y, x) - mean[:, :, None] * at.centre[:, None]
    cross = cross * at.inverse[:, None]
    if concept.classes is None:
        spread = (at.weight @ y.square() - mean.square()).clamp_min(0).sum(1)
        weight = torch.where(spread > 0, 1 / spread, 0)[:, None].expand(mean.shape)
    else:
        # For one-hot columns (class mean - mean) * share = cross.
        weight = torch.where(mean > 0, 1 / mean, 0)
    return (cross.square() * weight[:, :, None]).sum(1).masked_fill(~at.live, -1.0)
