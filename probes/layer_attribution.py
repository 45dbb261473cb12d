"""Do teacher and student answer by the same contributions of their last hidden layers?"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ringtest import blocks, rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import PERMUTATION, SCALE, NotMeasurable, Setting, measure
from ringtest.probes import integrated_gradients
from ringtest.probes.cka import Prepared, compare
from ringtest.probes.running import Site
from ringtest.probes.similarity import SCALED, Similarity
from ringtest.tasks import AnyTask


@measure
class LayerAttribution(Similarity):
    """Debiased CKA of what the units of two last hidden layers contribute to the answers.

    Layer integrated gradients (captum, 32 steps of the Gauss-Legendre rule) of the answer that
    ``usage.attribution`` explains, from the layer's mean state to its state at each row, summed
    over positions: (m, d1) and (m, d2) contributions of units, which add up to what the answer
    moves, at most 256 rows. About [-1, 1], higher is better: 1 for models whose rows are answered
    by contributions that lie alike, up to rotation and scale, 0 in expectation for independent
    ones. A contribution does not depend on the scale of its unit or of the logits. Models of the
    same inputs that explain the same answers have some of it in any case (strangers about .3): read
    it beside that of the members. Tokens have it, too.

    Source: Sundararajan et al. 2017 (integrated gradients); Dhamdhere et al. 2019 (of layers).
    """

    id = "usage.layer_attribution"
    about = "CKA of what the units of the last hidden layer contribute to the answers"
    invariant_to = frozenset({PERMUTATION, SCALE, "logit scale"})
    null_value = None
    statistic = SCALED % "cka of attributions"
    needs = frozenset({"sample", "model", "layer_gradients"})
    on = ("clean",)
    source = "Sundararajan et al. 2017, Dhamdhere et al. 2019"
    rows: ClassVar[int] = 256

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """The rows as they are, and outputs whose columns mean the same in every model."""
        return condition.role == "clean" and task.name != "embedding"

    def forms(self, evidence: Evidence) -> dict[str, Evidence]:
        """As it is: contributions see no scale of a unit."""
        return {"": evidence}

    def prepare(self, evidence: Evidence, at: Setting) -> Prepared:
        """Contributions of one model; NotMeasurable where there are none."""
        site = Site.of(rerun.runnable(evidence), evidence.names[-1], at)
        some, chosen = rerun.few(at, self.rows)
        target = integrated_gradients.explained_column(at)[torch.from_numpy(chosen)]
        return Prepared(contributions(site, some, target), some.sample_units)

    def compare(self, a: Any, b: Any) -> Estimate:
        """Similarity of two models on the same rows."""
        return compare(a, b)


def contributions(site: Site, at: Setting, target: Tensor) -> Tensor:
    """(m, d) integrated gradients of the answers along the layer's states, summed over positions.

    Args:
        site: the layer.
        at: its rows are looked at.
        target: (m,) column of the output that is explained for each.

    Raises NotMeasurable if the answers do not follow the layer, or nothing finite comes out.
    """
    total: Tensor | None = None
    for _, x in rerun.sampled(site.model, at):
        states = site.states(x).double().sum(0, keepdim=True)
        total = states if total is None else total + states
    if total is None or not bool(torch.isfinite(total).all()):
        raise NotMeasurable(f"its layer {site.layer.name} holds NaN or infinity")
    mean = total / len(at.rows)
    found = []
    for part in blocks.parts(len(at.rows)):
        x = rerun.inputs(site.model, at, at.rows[part])
        states = site.states(x)
        if len(states) != len(x):
            raise NotMeasurable(f"its layer {site.layer.name} holds several rows for an input")
        answering = partial(_answer, site, x)
        rows = torch.arange(len(x))
        parts = integrated_gradients.explain(
            answering, states, rows, target[part], mean.to(states.dtype)
        )
        found.append(parts.double().cpu().reshape(len(x), -1, parts.shape[-1]).sum(1))
    return integrated_gradients.sane(torch.cat(found))


def _answer(site: Site, x: Tensor, states: Tensor, rows: Tensor, target: Tensor) -> Tensor:
    """(b,) explained answers of a block's rows, as if the layer showed these states."""
    with site.editing(lambda _shown: states):
        return integrated_gradients.answer(site.model, x[rows], rows, target)
