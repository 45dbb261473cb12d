"""Usable information: how many bits of a concept a linear probe gets out of a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ringtest.measure import Setting, measure
from ringtest.probes.concepts import Concept, folds
from ringtest.probes.layer_probe import LayerProbe, side_by_side
from ringtest.probes.predictive import fit_classes, fit_values, log_density, spread


@measure
class VInformation(LayerProbe):
    """H_V(concept) - H_V(concept | layer) in bits a row, for V the linear probes; out of fold.

    Classes: V are L2-logistic probes, penalty 0.01 a row, and H_V(concept) is the cross-entropy of
    the frequencies in the training folds. Values: V are Gaussians around a ridge probe, or around
    the mean, each with one variance (leave-one-out, on the training folds); columns add up.
    Features are standardised over all sampled rows, which takes no look at an answer. Rows (m, d)
    of each layer; higher is better; at most about the concept's entropy, so log2 K for K classes,
    and 20 bits a column of values. 0 for a layer that says nothing, below 0 where a probe is
    misled: out of fold nothing is gained by chance.

    Source: Xu et al. 2020.
    """

    id = "probe.v_information"
    about = "bits of each concept that a linear probe gets out of each layer, five-fold"
    range = (-np.inf, np.inf)
    null_value = 0.0
    unit = "bits"
    default = False
    source = "Xu et al. 2020"

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return "bits"

    def obstacle(self, concept: Concept, at: Setting) -> str:
        """What a training fold never shows has no probability there."""
        fold = folds(at)
        for f in fold.unique().tolist():
            shown = concept.columns[fold != f]
            if concept.classes is not None:
                absent = int((shown.sum(0) == 0).sum())
                if absent:
                    return f"fold {f} alone holds {absent} of the values of {concept.name}"
            elif bool(((shown == shown[0]).all(0) & _vary(concept.columns)).any()):
                return f"a column of {concept.name} has one value only outside fold {f}"
        return ""

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) bits saved on each row that was out of the fold."""
        gain = _class_gain if concept.classes is not None else _value_gain
        found = side_by_side(lambda x: gain(x.double(), concept, fold), layers)
        return torch.stack(found) / math.log(2)


def _class_gain(x: Tensor, concept: Concept, fold: Tensor) -> Tensor:
    """(m,) log p(class | row) - log p(class), natural."""
    assert concept.classes is not None
    sd, out = spread(x), torch.empty(x.shape[0], dtype=torch.float64)
    for f in fold.unique():
        train, left = fold != f, fold == f
        codes = concept.classes[left]
        probe = fit_classes(x[train], concept.classes[train], concept.columns.shape[1], sd=sd)
        given = probe(x[left]).gather(1, codes[:, None])[:, 0]
        out[left] = given - concept.columns[train].mean(0).log()[codes]
    return out


def _value_gain(x: Tensor, concept: Concept, fold: Tensor) -> Tensor:
    """(m,) log density given the row - log density, natural."""
    y = concept.columns[:, _vary(concept.columns)]
    sd, out = spread(x), torch.empty(x.shape[0], dtype=torch.float64)
    for f in fold.unique():
        train, left = fold != f, fold == f
        given = fit_values(x[train], y[train], sd=sd)(x[left], y[left])
        mean, n = y[train].mean(0), int(train.sum())
        # As a probe's error: a row left out of n lies off the mean of the others.
        variance = y[train].var(0, unbiased=False) * (n / (n - 1)) ** 2
        out[left] = (given - log_density(y[left], mean, variance)).sum(1)
    return out


def _vary(columns: Tensor) -> Tensor:
    """(q,) whether a column has more than one value."""
    return (columns != columns[0]).any(0)
