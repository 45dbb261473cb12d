"""Linear decodability of concepts, layer by layer, and its control task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from ringtest import blocks
from ringtest.measure import Setting, measure
from ringtest.probes.concepts import Concept, folds
from ringtest.probes.layer_probe import LayerProbe, side_by_side
from ringtest.probes.linear import cross_validated
from ringtest.representations import input_points


class RidgeProbe(LayerProbe):
    """Cross-validated score of a ridge probe; subclasses say of what, and what they make of it.

    A layer is factored once for all concepts.
    """

    def asked(self, concept: Concept, at: Setting) -> list[Concept]:
        """What probes are fitted to for the sake of a concept."""
        return [concept]

    def combined(self, scores: list[Tensor]) -> Tensor:
        """(m,) one score a row, of (m,) scores for each of what was asked."""
        (only,) = scores
        return only

    def predicted(self, x: Tensor, columns: Tensor, fold: Tensor) -> Tensor:
        """(m, q) out-of-fold predictions of (m, q) columns from an (m, d) layer."""
        return cross_validated(x, columns, fold)

    def every(
        self, layers: Sequence[Tensor], asked: Sequence[Concept], fold: Tensor, at: Setting
    ) -> list[Tensor]:
        """(layers, m) scores out of fold, for each concept."""
        groups = [self.asked(concept, at) for concept in asked]
        flat = [concept for group in groups for concept in group]
        columns = torch.cat([concept.columns for concept in flat], dim=1)
        widths = [concept.columns.shape[1] for concept in flat]

        def one(x: Tensor) -> list[Tensor]:
            parts = self.predicted(x, columns, fold).split(widths, dim=1)
            scores = iter([c.score(part) for c, part in zip(flat, parts, strict=True)])
            return [self.combined([next(scores) for _ in group]) for group in groups]

        return [torch.stack(rows) for rows in zip(*side_by_side(one, layers), strict=True)]


@measure
class Decodability(RidgeProbe):
    """Cross-validated score of a ridge probe for each layer and concept.

    Accuracy in [0, 1] for classes, R^2 in (-inf, 1] for values; higher is better. Five folds that
    keep clusters whole, penalty 0.01 a row on standardised features. Standardisation aside, a
    probe sees any linear map of the layer alike. Context: what can be decoded need not be used.

    Source: Alain & Bengio 2016.
    """

    id = "probe.decodability"
    about = "score of a ridge probe per layer and concept, five-fold"
    source = "Alain & Bengio 2016"


@measure
class Selectivity(RidgeProbe):
    """Score of the probe minus its score on a control task.

    The control gives every input *type* a random label of the same frequencies; for continuous
    inputs the types are k-means cells of the raw inputs. A probe that scores well on both is
    memorising, so higher is better; in [-1, 1] for classes. Not measurable where the control has
    one value, as it may if there are few types.

    Source: Hewitt & Liang 2019.
    """

    id = "probe.selectivity"
    about = "probe score minus the score on random labels per input type (k-means cells)"
    range = (-np.inf, np.inf)
    null_value = 0.0
    source = "Hewitt & Liang 2019"

    def statistic(self, concept: Concept) -> str:
        """Name of the scale."""
        return f"{concept.statistic} over control"

    def obstacle(self, concept: Concept, at: Setting) -> str:
        """A control that was drawn for few types may have one value: that scores 1 by itself."""
        why = _control(concept, at).obstacle(folds(at))
        kinds = int(_types(at).max()) + 1
        return f"{concept.name}: the {why}, drawn for {kinds} input types" if why else ""

    def asked(self, concept: Concept, at: Setting) -> list[Concept]:
        """The concept and its control."""
        return [concept, _control(concept, at)]

    def combined(self, scores: list[Tensor]) -> Tensor:
        """(m,) differences of scores."""
        real, control = scores
        return real - control


def _control(concept: Concept, at: Setting) -> Concept:
    """Random answers per input type, drawn from the concept's own answers."""
    key = f"control {concept.name}"
    if key not in at.shared:
        types = _types(at)
        rng = np.random.default_rng(blocks.derive(at.seed, "control", concept.name))
        donors = rng.integers(0, len(types), size=int(types.max()) + 1)[types]
        values = concept.columns.numpy() if concept.classes is None else concept.classes.numpy()
        at.shared[key] = Concept.of("control", values[donors])
    found: Concept = at.shared[key]
    return found


def _types(at: Setting) -> NDArray[np.int64]:
    """k-means cell of every sampled row; about sqrt(m) cells."""
    if "types" not in at.shared:
        inputs = input_points(at).numpy()
        cells = max(2, round(float(np.sqrt(len(inputs)))))
        seed = blocks.derive(at.seed, "types") % 2**31
        cells = min(cells, len(np.unique(inputs, axis=0)))
        at.shared["types"] = KMeans(cells, n_init=1, random_state=seed).fit_predict(inputs)
    found: NDArray[np.int64] = at.shared["types"]
    return found
