"""Does one probe direction serve all slices of the data, or has each slice its own?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ringtest import blocks, margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Estimate, weighted_mean
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, ModelMeasure, Reading, Setting, measure
from ringtest.probes.concepts import Concept
from ringtest.probes.linear import by_fold, fold_probes, narrow
from ringtest.tasks import AnyTask


@measure
class SliceTransfer(ModelMeasure):
    """A probe's cross-validated score in its own slice minus the other slices' probes' score there.

    Last hidden layer (m, d) and the target; two to ten slices of at least 100 rows of one group
    column, the largest if there are more, all slices weighted alike. Ridge, penalty 0.01 a row,
    standardised, five folds. A row of a
    concept with values scores at least -1. In [-2, 2], for classes [-1, 1]; lower is better, 0: one
    direction serves all.
    """

    id = "probe.slice_transfer"
    about = "probe score in its own slice minus that of the other slices' probes, per group column"
    direction = "lower"
    range = (-2.0, 2.0)
    invariant_to = frozenset({PERMUTATION, SCALE})
    null_value = None
    group = "slice transfer"
    unit = "share"
    needs = frozenset({"sample"})
    on = ("clean",)

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Needs a group column and targets."""
        holds = condition.keeps_rows and condition.keeps_targets
        return holds and bool(data.groups) and task.targets is not None

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a group column; NaN where it has no two slices that are large enough."""
        assert at.task.targets is not None
        concept = Concept.of("target", at.task.targets[at.rows])
        x, rotated = narrow(evidence.last)
        return [self._reading(x, not rotated, concept, column, at) for column in at.data.groups]

    def _reading(
        self, x: torch.Tensor, scale: bool, concept: Concept, column: str, at: Setting
    ) -> Reading:
        slices = _slices(np.asarray(at.data.groups[column])[at.rows])
        statistic = f"{concept.statistic} lost across slices"
        if reason := _too_few(column, slices, at.sample_units):
            return Reading(NOTHING, statistic, concept="target", slice=column, reason=reason)
        gap = np.zeros(x.shape[0])
        weight = np.zeros(x.shape[0])
        folds = [self._folds(rows, at) for rows in slices]
        probes = [
            fold_probes(x[rows], concept.columns[rows], fold, scale)
            for rows, fold in zip(slices, folds, strict=True)
        ]
        for i, (rows, fold) in enumerate(zip(slices, folds, strict=True)):
            # A row meets probes of one size only: its own slice's and the others' without a fold.
            own, *others = (
                # Far outside its own slice a linear probe of values is wrong without bound.
                concept.score(by_fold(p, x[rows], fold), rows).clamp_min(-1.0)
                for p in [probes[i], *probes[:i], *probes[i + 1 :]]
            )
            gap[rows] = (own - torch.stack(others).mean(0)).numpy()
            weight[rows] = 1.0 / (len(slices) * len(rows))
        estimate = weighted_mean(gap, weight, at.sample_units)
        smallest = min(len(rows) for rows in slices)
        return Reading(
            Estimate(estimate.value, estimate.influence, len(slices) * smallest, "bootstrap"),
            statistic,
            concept="target",
            slice=column,
        )

    @staticmethod
    def _folds(rows: torch.Tensor, at: Setting) -> torch.Tensor:
        units = None if at.sample_units is None else at.sample_units[rows.numpy()]
        return torch.from_numpy(blocks.folds(len(rows), margins.PROBE_FOLDS, units))


def _too_few(column: str, slices: list[torch.Tensor], units: NDArray[np.int64] | None) -> str:
    """Why slices cannot be compared; empty if they can."""
    if len(slices) < margins.SLICES[0]:
        return f"{column} has under two slices of at least {margins.MIN_N} rows"
    if units is None:
        return ""
    least = min(len(np.unique(units[rows.numpy()])) for rows in slices)
    folds = margins.PROBE_FOLDS
    return f"a slice of {column} has under {folds} independent clusters" if least < folds else ""


def _slices(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> list[torch.Tensor]:
    """Rows of the largest slices that have enough of them, at most ten."""
    labels, counts = np.unique(values, return_counts=True)
    large = [(int(c), i) for i, c in enumerate(counts) if c >= margins.MIN_N]
    chosen = sorted(large, key=lambda pair: (-pair[0], pair[1]))[: margins.SLICES[1]]
    return [torch.from_numpy(np.flatnonzero(values == labels[i])) for _, i in chosen]
