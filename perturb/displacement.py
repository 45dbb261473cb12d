"""How far the layers of a model are moved by what is done to it: the curve of damage over depth."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, Estimate, row_mean
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
from ringtest.representations import damage
from ringtest.tasks import AnyTask


@measure
class Displacement(ModelMeasure):
    """Movement of each layer under a condition, in units of how far its rows lie from their mean.

    Rows (m, d), clean h and changed h': mean_i |h'_i - h_i| / sqrt(mean_i |h_i - mean h|^2). Range
    [0, inf), lower is better: 0 the layer does not move, about 1.4 it moves as far as to another
    row. Teacher and student are compared at the same relative depth, layer by layer: a curve. Under
    any condition that keeps rows, asked for as a cell. Context: a layer may move along directions
    that nothing reads.

    The error is that of the mean over rows and of the unit, together.
    """

    id = "representation.displacement"
    about = "how far each layer moves, over the distance of its rows from their mean"
    direction = "lower"
    range = (0.0, np.inf)
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, SCALE})
    unit = "of clean RMS"
    needs = frozenset({"layers", "clean_pair"})
    on = ("context",)
    default = False

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Row i must be a changed row i."""
        return condition.keeps_rows

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading a layer."""
        assert evidence.clean is not None
        out = []
        for name in evidence.names:
            estimate, why = NOTHING, damage(evidence.clean, name)
            if not why and not bool(torch.isfinite(evidence.sample[name]).all()):
                why = f"{evidence.subject}: layer {name} holds NaN or infinity"
            if not why:
                estimate = displacement(
                    evidence.clean.sample[name], evidence.sample[name], at.sample_units
                )
            depth = evidence.depth(name)
            out.append(Reading(estimate, "displacement", name, depth, reason=why))
        return out


def displacement(clean: Tensor, changed: Tensor, units: np.ndarray | None) -> Estimate:
    """Mean length of the movement of (m, d) rows over their RMS distance from their mean."""
    before = clean.double()
    moved = torch.linalg.vector_norm(changed.double() - before, dim=1)
    squares = (before - before.mean(0)).square().sum(1)
    rms = float(squares.mean().sqrt())
    # The mean of the second part is 0: it is what each row does to the unit.
    rows = moved / rms - float(moved.mean()) / (2 * rms) * (squares / rms**2 - 1)
    return row_mean(rows.numpy(), units)
