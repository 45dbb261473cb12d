"""Logistic probes: all folds of a layer at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import LayerProbe, side_by_side
from ringtest.probes.linear import narrow
from ringtest.probes.softmax import Problems, solve
from ringtest.probes.training_rows import Scale, own, scale

PENALTY: Final = 0.003
"""Penalty of a probe per row: scikit-learn's C is 1 / (PENALTY * training rows). A row's
loss is about a third as curved as a square, so it shrinks about as much as a ridge probe's 0.01."""
TOLERANCE: Final = 1e-5
"""Largest entry of the gradient of the mean loss at which a probe counts as fitted; scikit-learn's
is 1e-4."""


@measure
class Logistic(LayerProbe):
    """Cross-validated accuracy of an L2-penalised multinomial logistic probe, by layer and concept.

    Accuracy in [0, 1], higher is better. Five folds that keep clusters whole, penalty 0.003 a row
    on features standardised on the training rows, intercept free: scikit-learn's
    ``LogisticRegression`` with C = 1 / (0.003 * training rows), to the same optimum. Where layers
    are wider than the sample is long, features are standardised on all rows, as for every probe
    here. Values have no classes and are not measured.

    Source: Alain & Bengio 2016.
    """

    id = "probe.logistic"
    about = "accuracy of a logistic probe per layer and concept, five-fold"
    range = (0.0, 1.0)
    default = False
    source = "Alain & Bengio 2016"

    def obstacle(self, concept: Concept, at: Setting) -> str:
        """Values cannot be classified."""
        return f"{concept.name} has values, not classes" if concept.classes is None else ""

    def scores(
        self, layers: Sequence[Tensor], concept: Concept, fold: Tensor, at: Setting
    ) -> Tensor:
        """(layers, m) scores out of fold."""
        assert concept.classes is not None
        found = logits(layers, concept.classes, concept.columns.shape[1], fold)
        return torch.stack([concept.score(rows) for rows in found])


def logits(layers: Sequence[Tensor], codes: Tensor, count: int, fold: Tensor) -> list[Tensor]:
    """(m, K) out-of-fold logits for each of some (m, d) layers; a class never trained on is -1e30.

    Args:
        layers: finite rows; widths differ.
        codes: (m,) classes from 0.
        count: K, number of classes.
        fold: (m,) fold of each row; every training set holds two classes at least.

    Raises NotMeasurable if a probe does not converge.
    """

    def one(x: Tensor) -> Tensor:
        wide = x.shape[1] > x.shape[0]
        x = narrow(x)
        at = scale(x, fold)
        if wide:
            at = Scale(at.weight, at.centre, torch.ones_like(at.inverse))
        problems = Problems.of(x, codes, count, at, PENALTY)
        theta, solved = solve(problems, TOLERANCE)
        if not solved:
            raise NotMeasurable("a logistic probe does not converge")
        return own(problems.logits(theta), fold)

    return side_by_side(one, layers)
