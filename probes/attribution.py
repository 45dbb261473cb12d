"""Do teacher and student answer for the same reasons: agreement of their attributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ringtest import rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Estimate, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import (
    LINEAR,
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    PairMeasure,
    Setting,
    measure,
)
from ringtest.probes import integrated_gradients
from ringtest.tasks import AnyTask


@dataclass(frozen=True)
class Reasons:
    """Attributions of one model as directions."""

    unit: Tensor
    """(m, d) float64 rows of norm 1; 0 where a row has no attribution."""
    units: NDArray[np.int64] | None
    """Cluster of each row."""


@measure
class Attribution(PairMeasure):
    """Mean cosine of two models' attributions over the inputs, row by row.

    Integrated gradients (captum, 32 steps of the Gauss-Legendre rule, baseline the mean input) of
    the same answer for both models: the logit, over the mean logit, of the class that the mean of
    the members predicts, or the output column in which they are farthest from their mean. At most
    256 rows (fewer of very large inputs, at least 32). In [-1, 1]: 1 for models that answer by the
    same numbers of the input, 0 for unrelated ones; a row that has no attribution in one of them
    counts as 0. Nothing inside the models is compared, so no change of units is seen, and no scale
    of the logits. Not for embeddings, which share no axes, nor for tokens.

    Source: Sundararajan et al. 2017 (integrated gradients).
    """

    id = "usage.attribution"
    about = "mean cosine of integrated gradients over the inputs of student and members"
    direction = "higher"
    range = (-1.0, 1.0)
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, LINEAR, SCALE, "logit scale"})
    null_value = 0.0
    group = None
    unit = "cosine"
    statistic = "cosine"
    needs = frozenset({"sample", "gradients"})
    on = ("clean",)
    default = False
    source = "Sundararajan et al. 2017"
    rows: ClassVar[int] = 256

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """The rows as they are, and outputs whose columns mean the same in every model."""
        return condition.role == "clean" and task.name != "embedding"

    def prepare(self, evidence: Evidence, at: Setting) -> Reasons:
        """Attributions of one model; NotMeasurable where there are none."""
        model = rerun.runnable(evidence)
        asked = integrated_gradients.asked(at, self.rows)
        flat = integrated_gradients.attributions(model, asked).flatten(1).double().cpu()
        norm = flat.norm(dim=1, keepdim=True)
        return Reasons(flat / norm.where(norm > 0, 1.0), asked.at.sample_units)

    def compare(self, a: Any, b: Any) -> Estimate:
        """Mean cosine over the rows."""
        cosine = (a.unit * b.unit).sum(1).clamp(-1.0, 1.0)
        return row_mean(cosine.numpy(), a.units)

    def chance(self, prepared: Sequence[Any]) -> float:
        """Unrelated models attribute without regard to each other."""
        return 0.0
