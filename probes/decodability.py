"""Linear decodability of concepts, layer by layer, and its control task."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from ringtest import blocks, margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import row_mean
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, ModelMeasure, Reading, Setting, measure
from ringtest.probes.linear import Concept, cross_validated
from ringtest.representations import input_points
from ringtest.tasks import AnyTask


def concepts(at: Setting) -> list[Concept]:
    """The target and the user's factors, on the sampled rows."""
    found = []
    if at.task.targets is not None:
        found.append(Concept.of("target", at.task.targets[at.rows]))
    for name, values in at.data.concepts.items():
        found.append(Concept.of(name, values[at.rows]))
    return [
        c for c in found if c.columns.shape[0] > 0 and not bool((c.columns == c.columns[0]).all())
    ]


def _folds(at: Setting) -> torch.Tensor:
    return torch.from_numpy(blocks.folds(len(at.rows), margins.PROBE_FOLDS, at.sample_units))


@measure
class Decodability(ModelMeasure):
    """Cross-validated score of a ridge probe for each layer and concept.

    Accuracy in [0, 1] for classes, R^2 in (-inf, 1] for values; higher is better. Five folds that
    keep clusters whole, penalty 0.01 a row on standardised features. Standardisation aside, a
    probe sees any linear map of the layer alike. Context: what can be decoded need not be used.

    Source: Alain & Bengio 2016.
    """

    id = "probe.decodability"
    about = "score of a ridge probe per layer and concept, five-fold"
    range = (-np.inf, 1.0)
    invariant_to = frozenset({PERMUTATION, SCALE})
    unit = "share"
    needs = frozenset({"layers"})
    on = ("clean",)
    source = "Alain & Bengio 2016"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Rows must keep their concepts."""
        has = task.targets is not None or bool(data.concepts)
        return condition.keeps_rows and condition.keeps_targets and has

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept."""
        fold = _folds(at)
        return [
            Reading(
                row_mean(
                    c.score(cross_validated(evidence.sample[name], c.columns, fold)).numpy(),
                    at.sample_units,
                ),
                c.statistic,
                name,
                evidence.depth(name),
                c.name,
            )
            for c in concepts(at)
            for name in evidence.names
        ]


@measure
class Selectivity(ModelMeasure):
    """Score of the probe minus its score on a control task.

    The control gives every input *type* a random label of the same frequencies; for continuous
    inputs the types are k-means cells of the raw inputs. A probe that scores well on both is
    memorising, so higher is better; in [-1, 1] for classes.

    Source: Hewitt & Liang 2019.
    """

    id = "probe.selectivity"
    about = "probe score minus the score on random labels per input type (k-means cells)"
    range = (-np.inf, np.inf)
    invariant_to = frozenset({PERMUTATION, SCALE})
    null_value = 0.0
    unit = "share"
    needs = frozenset({"layers"})
    on = ("clean",)
    source = "Hewitt & Liang 2019"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Rows must keep their concepts."""
        return Decodability().applies(condition, data, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer and concept."""
        fold = _folds(at)
        out = []
        for concept in concepts(at):
            control = _control(concept, at)
            for name in evidence.names:
                x = evidence.sample[name]
                real = concept.score(cross_validated(x, concept.columns, fold))
                fake = control.score(cross_validated(x, control.columns, fold))
                out.append(
                    Reading(
                        row_mean((real - fake).numpy(), at.sample_units),
                        f"{concept.statistic} over control",
                        name,
                        evidence.depth(name),
                        concept.name,
                    )
                )
        return out


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
