"""Probes that are means and no more: no matrix is inverted, so nothing can be overfitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ringtest.measure import Setting, measure
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import LayerProbe
from ringtest.probes.training_rows import Scale, own, scale
from ringtest.representations import standardised


@measure
class MeanDifference(LayerProbe):
    """Cross-validated score of the directions between class means, or of covariance with a value.

    Features are standardised over all sampled rows, which takes no look at an answer. Classes: the
    nearest class mean; for two classes that is the difference of the means, with the threshold
    halfway. Values: each column is read along its covariance with the features, with slope and
    offset of the training rows. Accuracy in [0, 1], or R^2 in (-inf, 1]; higher is better. Well
    below a ridge probe where a concept lies across correlated units; close to it where the layer
    holds it in a direction of its own.

    Source: Marks & Tegmark 2023 (mass-mean probes).
    """

    id = "probe.mean_difference"
    about = "score of the difference of class means, or of the direction of covariance"
    default = False
    source = "Marks & Tegmark 2023"

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) scores out of fold."""
        read = _values if concept.classes is None else _nearest_mean
        return torch.stack(
            [concept.score(read(standardised(x), concept.columns, fold)) for x in layers]
        )


def _centred(x: Tensor, fold: Tensor) -> Scale:
    """Of (m, d) standardised rows: centres of the training rows, and the scale that they have.

    A unit that next to no training row moves, scaled up by what these say, would send the rows that
    do move it out of all bounds.
    """
    at = scale(x, fold)
    return replace(at, inverse=at.live.double())


def _nearest_mean(x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    """(m, q) closeness to the mean of each class; -inf for one without training rows.

    Minus half the squared distance, up to a term that all classes share.
    """
    at = _centred(x, fold)
    share = at.weight @ y
    means = torch.einsum("fm,mq,md->fqd", at.weight, y, x) / share[:, :, None]
    means = (means - at.centre[:, None]) * at.inverse[:, None]
    # (x - centre) * inverse @ mean, without a copy of x for each fold
    weights = means * at.inverse[:, None]
    offset = (weights @ at.centre[:, :, None])[:, :, 0] + means.square().sum(2) / 2
    closeness = weights @ x.T - offset[:, :, None]
    closeness = closeness.masked_fill((share == 0)[:, :, None], -torch.inf)
    return own(closeness, fold)


def _values(x: Tensor, y: Tensor, fold: Tensor) -> Tensor:
    """(m, q) values, each column by least squares on its direction of covariance."""
    at = _centred(x, fold)
    mean = at.weight @ y
    cross = torch.einsum("fm,mq,md->fqd", at.weight, y, x) - mean[:, :, None] * at.centre[:, None]
    weights = cross * at.inverse[:, None].square()
    along = weights @ x.T - (weights @ at.centre[:, :, None])
    spread = (along.square() * at.weight[:, None]).sum(2)
    slope = (cross * weights).sum(2) / torch.where(spread > 0, spread, torch.ones_like(spread))
    return own(along * slope[:, :, None] + mean[:, :, None], fold)
