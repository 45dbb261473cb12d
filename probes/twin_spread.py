"""Twins: rows that the teacher answers alike although their inputs lie far apart.

A model that is one thing inside holds what it treats alike in one place; one that is stitched
together of parts, each for its own region of the inputs, holds it in as many places as parts, and
nothing in its outputs shows the seams. Twins look for the seams without being told where they are.

*Outputs alike*, since rows that are answered differently have to lie apart in any code. The output
is the teacher's, its members' mean: the same pairs for every model, none chosen by the student.
*Inputs far apart*, since the codes of near inputs are near in any continuous model, stitched or
not: near pairs would make all models look whole. At 0.8 of the median distance or more
(``TWIN_INPUT``) twins are about as far apart as two rows taken at random, so that codes which lie
together have been brought together by the model. Among the rows that far away each row takes the
*nearest in output*, and only if it is at most 0.05 away (``TWIN_OUTPUT``: of probability, or of the
outputs' SD): one partner a row, lest the commonest answer, which all its rows share, be the only
one heard. Fewer than 50 pairs (``TWIN_PAIRS``) are no sample.

Distances are over those of random pairs, and whitened: else the few directions that separate the
classes, in which twins agree as their outputs do, would outweigh the rest of the code.

Twins need not be alike in all that a model may rightly keep apart: a sure answer is as sure for
other reasons. So the spread is no verdict on a model by itself. The student's is compared with the
members', and judged only where theirs is clearly below that of unrelated codes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import NOTHING, Estimate, from_deletions
from ringtest.evidence import Evidence
from ringtest.measure import (
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    ModelMeasure,
    Reading,
    Setting,
    measure,
)
from ringtest.representations import input_points, whitener

_CHUNK = 512
MEAN_OUTPUTS = "mean outputs"
"""Key in ``Setting.shared``: (m, k) points of the members' combined output."""


def twins(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Pairs of rows whose outputs agree while their inputs lie far apart.

    Args:
        inputs: (m, d) points.
        outputs: (m, k) points; distance at most TWIN_OUTPUT is agreement.

    Returns:
        (pairs, 2) row numbers, each pair once: every row with the nearest in output among the rows
        at least TWIN_INPUT of the median input distance away, where that nearest agrees.
    """
    inputs, outputs = inputs.double(), outputs.double()
    m = inputs.shape[0]
    far = margins.TWIN_INPUT * _median_distance(inputs)
    if not far > 0:  # most pairs are copies of one row: nothing lies far apart
        return torch.empty(0, 2, dtype=torch.int64)
    found = []
    for low in range(0, m, _CHUNK):
        rows = torch.arange(low, min(low + _CHUNK, m))
        apart = torch.cdist(inputs[rows], inputs)
        distance = torch.cdist(outputs[rows], outputs, compute_mode=_EXACT)
        distance[apart < far] = math.inf
        distance[torch.arange(len(rows)), rows] = math.inf
        nearest = distance.min(dim=1)
        near = nearest.values <= margins.TWIN_OUTPUT
        found.append(torch.stack([rows[near], nearest.indices[near]], dim=1))
    pairs = torch.cat(found).sort(dim=1).values
    distinct: Tensor = torch.unique(pairs, dim=0)
    return distinct


_EXACT = "donot_use_mm_for_euclid_dist"
"""Small distances need exact differences: the matrix form loses them to rounding."""


def _median_distance(points: Tensor) -> float:
    """Median distance of pairs, over at most 1,024 rows spread over the sample."""
    some = points[torch.linspace(0, points.shape[0] - 1, min(1_024, points.shape[0])).long()]
    upper = torch.triu_indices(len(some), len(some), offset=1)
    return float(torch.cdist(some, some)[upper[0], upper[1]].median())


def spread(rows: Tensor, pairs: Tensor, groups: NDArray[np.int64]) -> Estimate:
    """Mean squared whitened distance of the pairs over that of random pairs.

    The jackknife leaves out one of the (m,) ``groups`` at a time with every pair that touches it:
    in a bootstrap, copies of a row would become its twins.
    """
    white = whitener(rows)
    points = white(rows)
    squared = (points[pairs[:, 0]] - points[pairs[:, 1]]).square().sum(1) / white.random_pair
    group = torch.from_numpy(groups)[pairs]
    deleted = [float(squared[(group != g).all(dim=1)].mean()) for g in range(int(groups.max()) + 1)]
    return from_deletions(float(squared.mean()), np.array(deleted), int(rows.shape[0]))


@measure
class TwinSpread(ModelMeasure):
    """How far apart the codes of twins lie, whitened, over random pairs; last hidden layer.

    Rows (m, d); in [0, inf), lower is better: 0 one internal code per behaviour, 1 codes of twins
    no nearer than those of any two rows. Twins are chosen once, on the inputs and the teacher's
    mean output, and are the same for every model; the module says why as they are. No labels and no
    symmetry are needed. The error is a jackknife over 20 groups of rows.

    Source: after Kumar et al. 2025 (fractured entangled representations).
    """

    id = "structure.twin_spread"
    about = "whitened distance of rows that are answered alike but lie far apart, over random pairs"
    direction = "lower"
    range = (0.0, np.inf)
    # Not to linear maps: they change which directions hold 99 % of the variance.
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, SCALE})
    null_value = 1.0
    group = "twins"
    unit = "of random pairs"
    needs = frozenset({"sample"})
    on = ("clean",)
    source = "after arXiv 2505.11581"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading, NaN with the reason where too few twins exist."""
        if "twins" not in at.shared:
            at.shared["twins"] = twins(input_points(at), at.shared[MEAN_OUTPUTS])
        pairs = at.shared["twins"]
        statistic = "spread of twins"
        if len(pairs) < margins.TWIN_PAIRS:
            reason = (
                f"{len(pairs)} twin pairs, at least {margins.TWIN_PAIRS} are needed: give more rows"
            )
            return [Reading(NOTHING, statistic, evidence.names[-1], reason=reason)]
        groups = blocks.folds(len(at.rows), margins.JACKKNIFE_GROUPS, at.sample_units)
        return [Reading(spread(evidence.last, pairs, groups), statistic, evidence.names[-1])]
