"""Logistic probes: all layers and folds at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import LayerProbe
from ringtest.probes.linear import narrow
from ringtest.probes.softmax import Problems, solve
from ringtest.probes.training_rows import Scale, own, scale

PENALTY: Final = 0.003
"""Penalty of a probe per row: scikit-learn's C is 1 / (PENALTY * training rows). A row's
loss is about a third as curved as a square, so it shrinks about as much as a ridge probe's 0.01."""
TOLERANCE: Final = 1e-6
"""Largest entry of the gradient of the mean loss at which a probe counts as fitted."""
AT_ONCE: Final = 2**22
"""Numbers of a batch of layers: more memory helps no further."""


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
    out: dict[int, Tensor] = {}
    batch: dict[int, tuple[Tensor, Scale]] = {}

    def finish() -> None:
        rows = torch.stack([x for x, _ in batch.values()])
        scales = [s for _, s in batch.values()]
        found, solved = solve(Problems.of(rows, codes, count, scales, PENALTY), TOLERANCE)
        if not solved:
            raise NotMeasurable("a logistic probe does not converge")
        out.update(zip(batch, own(found, fold), strict=True))
        batch.clear()

    # Equal widths side by side, so that they share a batch.
    for number in sorted(range(len(layers)), key=lambda i: layers[i].shape[1]):
        x, rotated = narrow(layers[number])
        found = scale(x, fold)
        if rotated:
            ones = torch.ones_like(found.inverse)
            found = Scale(found.weight, found.centre, ones)
        if batch:
            like = next(iter(batch.values()))[0]
            if like.shape != x.shape or (len(batch) + 1) * x.numel() > AT_ONCE:
                finish()
        batch[number] = (x, found)
    if batch:
        finish()
    return [out[i] for i in range(len(layers))]
