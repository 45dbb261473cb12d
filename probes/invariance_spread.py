"""How far a representation moves under a transformation that should change nothing.

What twins are where nobody names a symmetry, changed rows are where somebody does: each row and its
changed self should be answered alike, and a model that is one thing inside holds them in one place.
The pairs are given instead of searched for, so every row counts and every layer is read.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import row_mean
from ringtest.evidence import Evidence
from ringtest.measure import (
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.representations import Whitener, whitener
from ringtest.tasks import AnyTask


def _whitened(clean: Evidence, name: str) -> tuple[Whitener, Tensor]:
    """The whitener of an unchanged layer and its whitened rows, fitted once for all conditions."""
    key = f"whitened {name}"
    if key not in clean.derived:
        white = whitener(clean.sample[name])
        clean.derived[key] = white, white(clean.sample[name])
    found: tuple[Whitener, Tensor] = clean.derived[key]
    return found


@measure
class InvarianceSpread(ModelMeasure):
    """Mean squared whitened movement of a layer under an invariance, over that of random pairs.

    Rows (m, d) before and after; in [0, inf), lower is better: 0 the code does not move, 1 it moves
    as far as to another row. Whitened on the unchanged rows of the same layer, so that directions
    of little variance count like the rest; a row that leaves the directions of the unchanged rows
    is seen in them alone. The error is that of the mean over rows.

    Source: after Kumar et al. 2025 (fractured entangled representations).
    """

    id = "structure.invariance_spread"
    about = "whitened movement of a layer under an invariance, over the distance of random pairs"
    direction = "lower"
    range = (0.0, np.inf)
    # Not to linear maps: they change which directions hold 99 % of the variance.
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, SCALE})
    null_value = 1.0
    group = "invariance"
    unit = "of random pairs"
    needs = frozenset({"sample", "clean_pair"})
    on = ("certified", "invariance")
    source = "after arXiv 2505.11581"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Row i must be a changed row i."""
        return condition.keeps_rows

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a captured layer that has not collapsed to a constant."""
        assert evidence.clean is not None
        out = []
        for name in evidence.names:
            try:
                white, before = _whitened(evidence.clean, name)
            except NotMeasurable:
                if name == evidence.names[-1]:
                    raise
                continue
            moved = (white(evidence.sample[name]) - before).square().sum(1)
            estimate = row_mean((moved / white.random_pair).numpy(), at.sample_units)
            out.append(Reading(estimate, "movement", name, evidence.depth(name)))
        return out
