"""What is left of the user's invariances in a model that was changed inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ringtest import blocks, rerun
from ringtest.callables import changed
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Estimate
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
from ringtest.perturb.displacement import displacement
from ringtest.perturb.disturbance import Disturbance
from ringtest.perturb.representation import Inside
from ringtest.tasks import AnyTask


@measure
class BrokenInvariance(ModelMeasure):
    """How far an invariance moves the code of a model that noise or ablation has changed inside.

    For each invariance T that the user gives, last hidden layer h of the changed model, at most
    2,048 rows: mean |h(T x) - h(x)| over the RMS distance of h(x) from its mean, as in
    ``representation.displacement``. Range [0, inf), lower is better: 0 the changed model still does
    not see T. Under ``noise.weight_matched`` it says which invariances broke where the outputs
    broke equally. Both sides see one draw of the noise. Context.
    """

    id = "representation.invariance"
    about = "movement of a disturbed model's code under each of the user's invariances"
    direction = "lower"
    range = (0.0, np.inf)
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, SCALE})
    unit = "of its RMS"
    needs = frozenset({"model", "layers"})
    on = ("context",)
    default = False
    users_own = True

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """There must be invariances, and models changed inside."""
        return isinstance(condition, Disturbance) and bool(data.invariances)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading an invariance."""
        model = rerun.runnable(evidence)
        assert model.layers is not None
        layer = model.layers.last
        return [
            Reading(
                _moved(Inside(model, layer), function, at, name), name, layer.name, concept=name
            )
            for name, function in (at.data.invariances or {}).items()
        ]


def _moved(
    inside: Inside, function: Callable[[Tensor], Tensor], at: Setting, name: str
) -> Estimate:
    before, after = [], []
    with torch.no_grad():
        for part, x in rerun.sampled(inside.model, at):
            rng = blocks.generator(at.seed, "invariance", name, part.start)
            moved = changed(function, x, rng, f"invariances[{name!r}]")
            before.append(inside.logits(x).cpu())
            after.append(inside.logits(moved).cpu())
    clean, other = torch.cat(before), torch.cat(after)
    rerun.finite(inside.model, clean, other)
    if not bool((clean != clean[0]).any()):
        raise NotMeasurable("nothing varies in its last hidden layer")
    return displacement(clean, other, at.sample_units)
