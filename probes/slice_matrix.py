"""Slice by slice: what each slice's probe is worth in the others, and how alike they look."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from ringtest import blocks, margins
from ringtest.condition import Condition, Role
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Estimate, from_deletions, mean
from ringtest.evidence import Evidence
from ringtest.measure import (
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.probes.concepts import Concept
from ringtest.probes.directions import deletions
from ringtest.probes.slices import Slices
from ringtest.representations import damage, input_points
from ringtest.tasks import AnyTask

Units = NDArray[np.int64] | None
CLUSTERS = 4
"""k-means clusters of the inputs that stand in for slices where there are none."""


def slices(at: Setting) -> list[Slices]:
    """The slices of each group column, and k-means clusters if none has two large enough.

    They hang on the data alone, so all models share them. Clusters are those of the raw inputs as
    they are before a condition changes them, and are called "cluster".
    """
    if "slices" not in at.shared:
        groups = at.data.groups
        found = [Slices.of(name, np.asarray(v)[at.rows], at) for name, v in groups.items()]
        if all(s.reason for s in found):
            found.append(_clusters(at))
        at.shared["slices"] = found
    made: list[Slices] = at.shared["slices"]
    return made


def _clusters(at: Setting) -> Slices:
    points = input_points(at).numpy()
    count = max(2, min(CLUSTERS, len(points) // (2 * margins.MIN_N)))
    count = min(count, len(np.unique(points, axis=0)))
    seed = blocks.derive(at.seed, "slice clusters") % 2**31
    cells = KMeans(count, n_init=4, random_state=seed).fit_predict(points)
    return Slices.of("k-means cluster" if "cluster" in at.data.groups else "cluster", cells, at)


class Sliced(ModelMeasure):
    """A measure of the target in slices, for every layer and column of :func:`slices`."""

    invariant_to = frozenset({PERMUTATION, SCALE})
    needs = frozenset({"layers"})
    on: ClassVar[tuple[Role, ...]] = ("clean",)
    default = False

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Needs targets that hold; slices are found if none are given."""
        return condition.keeps_rows and condition.keeps_targets and task.targets is not None

    def summary(self, concept: Concept) -> str:
        """Name of the scale of the one reading that stands for a layer and column."""
        raise NotImplementedError

    def entries(
        self, x: Tensor, concept: Concept, of: Slices, units: Units, last: bool, layer: str
    ) -> Iterator[tuple[Estimate, str, str, str]]:
        """Estimate, statistic, slice and, for NaN, the reason; the summary first.

        Args:
            x: (m, d) rows of an undamaged layer, as it shows them.
            concept: the target.
            of: slices that can be compared.
            units: (m,) cluster code of each row, or None.
            last: whether it is the last hidden layer.
            layer: model and layer, for reasons.

        Raises NotMeasurable where nothing in the layer varies.
        """
        raise NotImplementedError

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """The summary of each layer and column, and what else there is to say of the last layer."""
        assert at.task.targets is not None
        concept = Concept.of("target", at.task.targets[at.rows])
        out = []
        for of in slices(at):
            for name in evidence.names:
                why = of.reason or damage(evidence, name)
                rows = evidence.sample[name]
                out += self.readings(evidence, name, rows, why, concept, of, at.sample_units)
        return out

    def readings(
        self,
        evidence: Evidence,
        name: str,
        rows: Tensor,
        why: str,
        concept: Concept,
        of: Slices,
        units: Units,
    ) -> list[Reading]:
        """What is to be said of a layer of (m, d) rows, or why nothing is."""
        found = [(NOTHING, self.summary(concept), of.column, why)]
        if not why:
            last = name == evidence.names[-1]
            try:
                layer = f"layer {name} of {evidence.subject}"
                found = list(self.entries(rows, concept, of, units, last, layer))
            except NotMeasurable as error:
                found = [(NOTHING, self.summary(concept), of.column, str(error))]
        place: dict[str, Any] = {"layer": name, "depth": evidence.depth(name)}
        return [
            Reading(e, s, concept="target", slice=where, reason=reason, **place)
            for e, s, where, reason in found
        ]


@measure
class SliceMatrix(Sliced):
    """Matrices of slices: scores of each slice's probe in each, and cosines of their directions.

    Rows (m, d) and the target; slices as in ``probe.slice_transfer``, or k-means clusters of the
    inputs (:func:`slices`). Ridge, penalty 0.01 a row; units at standard deviation 1 in the slice
    of the probe for scores, within slices for directions. Read under any condition by itself: the
    rows of a condition are split alike, and probes fitted on them. Readings, all in [-1, 1], higher
    is better: for every layer and column the mean cosine over pairs of slices, whitened
    (:func:`ringtest.probes.directions.cosines`), 1 if one direction serves all; for the last hidden
    layer, as slice "COLUMN: a -> b", the score in b of the probe of a (own slice: out of fold; else
    without a fold too, so that sizes are equal; a row of values scores at least -1), and for a
    before b the cosine of their directions. Scores have the error of the rows scored; cosines a
    jackknife over groups of rows, in which probes are fitted anew.
    """

    id = "probe.slice_matrix"
    about = "slice by slice scores and whitened cosines of probes: one direction, or one each?"
    direction = "higher"
    range = (-1.0, 1.0)

    def summary(self, concept: Concept) -> str:
        """Name of the scale."""
        return "mean cosine of directions"

    def entries(
        self, x: Tensor, concept: Concept, of: Slices, units: Units, last: bool, layer: str
    ) -> Iterator[tuple[Estimate, str, str, str]]:
        """The mean cosine; for the last layer also both matrices."""
        lame = of.obstacles(concept, x, layer)
        groups = blocks.folds(x.shape[0], margins.JACKKNIFE_GROUPS, units)
        narrow = of.narrow(x, layer)
        table = deletions(narrow, concept.columns, of.rows, torch.from_numpy(groups))
        found, reasons = {}, {}
        for a, b in combinations(range(len(of.rows)), 2):
            if bool(table[:, a, b].isfinite().all()):
                value, without = float(table[-1, a, b]), table[:-1, a, b].numpy()
                found[a, b] = from_deletions(value, without, len(of.rows[a]) + len(of.rows[b]))
            else:
                none = f"{of.pair(a, b)}: no answer has a direction in both"
                reasons[a, b] = lame[a] or lame[b] or none
        whole = NOTHING if reasons else mean(list(found.values()))
        yield whole, self.summary(concept), of.column, next(iter(reasons.values()), "")
        if not last:
            return
        for a, b in combinations(range(len(of.rows)), 2):
            cosine, why = found.get((a, b), NOTHING), reasons.get((a, b), "")
            yield cosine, "cosine of directions", of.pair(a, b), why
        scores = of.scores(x, concept)
        for a, b in product(range(len(of.rows)), repeat=2):
            why = lame[a] or lame[b]
            score = NOTHING if why else of.score(scores, a, b, units)
            yield score, concept.statistic, of.pair(a, b), why


@measure
class SliceLoss(Sliced):
    """``probe.slice_transfer`` at every layer: own score minus that of the other slices' probes.

    Rows (m, d) of each layer and the target; slices as for ``probe.slice_matrix``, of which it is
    the diagonal less the rest of each column. In [-2, 2], for classes [-1, 1]; lower is better, 0:
    one direction serves all. Not measurable where a slice has one answer only.
    """

    id = "probe.slice_loss"
    about = "probe score in its own slice minus that of the other slices' probes, at every layer"
    direction = "lower"
    range = (-2.0, 2.0)
    unit = "share"

    def summary(self, concept: Concept) -> str:
        """Name of the scale."""
        return f"{concept.statistic} lost across slices"

    def entries(
        self, x: Tensor, concept: Concept, of: Slices, units: Units, last: bool, layer: str
    ) -> Iterator[tuple[Estimate, str, str, str]]:
        """What is lost."""
        why = next((o for o in of.obstacles(concept, x, layer) if o), "")
        lost = NOTHING if why else of.lost(of.scores(x, concept), units)
        yield lost, self.summary(concept), of.column, why
