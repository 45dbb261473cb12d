"""Can a model's attributions be trusted: do they foretell its answers, and do they hold still?"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ringtest import blocks, rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, row_mean, weighted_mean
from ringtest.evidence import Evidence
from ringtest.measure import (
    LINEAR,
    ORTHOGONAL,
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.model import Model
from ringtest.probes import integrated_gradients
from ringtest.probes.integrated_gradients import Asked
from ringtest.tasks import AnyTask


class Stability(ModelMeasure):
    """A quality of the attributions that ``usage.attribution`` compares, row by row."""

    direction = "lower"
    range = (0.0, math.inf)
    invariant_to = frozenset({PERMUTATION, ORTHOGONAL, LINEAR, SCALE, "logit scale"})
    needs = frozenset({"sample", "gradients"})
    on = ("clean",)
    default = False
    source = "Yeh et al. 2019"
    rows: ClassVar[int] = 128

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """The rows as they are, and outputs whose columns mean the same in every model."""
        return condition.role == "clean" and task.name != "embedding"


@measure
class Infidelity(Stability):
    """Share of the answer's movement that the attributions do not foretell.

    A random half of the numbers of each input is set to those of the mean input, 16 times; the
    answer's movement is foretold by the sum of the attributions there. Infidelity (captum), summed
    over rows, over that of attributions that are all 0: in [0, inf), lower is better, 0 for a model
    that is linear in its inputs, 1 for attributions that say nothing, above for such as mislead. At
    most 128 rows.

    Source: Yeh et al. 2019, section 2.
    """

    id = "usage.infidelity"
    about = "movement of the answer that its attributions do not foretell, over all its movement"
    null_value = None
    unit = "share"
    tries: ClassVar[int] = 16

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        model = rerun.runnable(evidence)
        asked = integrated_gradients.asked(at, self.rows)
        found = integrated_gradients.attributions(model, asked)
        wrong = infidelities(model, asked, found, self.tries, at.seed)
        whole = infidelities(model, asked, torch.zeros_like(found), self.tries, at.seed)
        rerun.finite(model, wrong, whole)
        total = float(whole.sum())
        if not total > 0:
            raise NotMeasurable("its answers do not move when half of an input is taken away")
        share = wrong / whole.where(whole > 0, 1.0)
        weights = (whole / total).numpy()
        estimate = weighted_mean(share.numpy(), weights, asked.at.sample_units)
        return [Reading(estimate, "infidelity over that of no attribution")]


@measure
class Sensitivity(Stability):
    """Largest change of an input's attributions when the input is moved a little.

    Five moves, uniform within 0.1 standard deviations of each number of the input (within the
    data's bounds); the change of the attributions over their norm (captum's ``sensitivity_max``),
    mean over at most 128 rows. In [0, inf), lower is better: reasons that jump are no reasons.

    Source: Yeh et al. 2019, section 3.
    """

    id = "usage.sensitivity"
    about = "largest change of the attributions under small moves of the input, over their norm"
    null_value = None
    unit = "of norm"
    tries: ClassVar[int] = 5
    radius: ClassVar[float] = 0.1

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        model = rerun.runnable(evidence)
        asked = integrated_gradients.asked(at, self.rows)
        found = integrated_gradients.attributions(model, asked)
        statistic = "max sensitivity"
        still = int((found.flatten(1) == 0).all(dim=1).sum())
        if still:
            # captum divides by 1 there: a number in another unit.
            reason = f"{evidence.subject}: {still} of {len(found)} rows have no attribution"
            return [Reading(NOTHING, statistic, reason=reason)]
        moved = sensitivities(model, asked, self.tries, self.radius, at.seed)
        rerun.finite(model, moved)
        return [Reading(row_mean(moved.numpy(), asked.at.sample_units), statistic)]


def infidelities(model: Model, asked: Asked, found: Tensor, tries: int, seed: int) -> Tensor:
    """(m,) float64 mean squared error of what (m, ...) attributions foretell, by captum."""
    from captum.metrics import infidelity  # takes 2 s

    out = []
    for part in blocks.parts(len(asked.x), max(1, blocks.BLOCK // tries)):
        integrated_gradients.block(model, asked, part)
        rng = blocks.generator(seed, "infidelity", part.start)
        target = asked.target[part]

        def forward(z: Tensor, target: Tensor = target) -> Tensor:
            rows = torch.arange(len(target)).repeat_interleave(len(z) // len(target))
            return integrated_gradients.answer(model, z, rows, target[rows]).double()

        def half(z: Tensor, rng: torch.Generator = rng) -> tuple[Tensor, Tensor]:
            gone = (torch.rand(z.shape, generator=rng) < 0.5).to(z)
            return gone, z - gone * (z - asked.baseline)

        with torch.random.fork_rng(devices=[]):
            out.append(
                infidelity(
                    forward, half, asked.x[part], found[part].double(), n_perturb_samples=tries
                )
            )
    return torch.cat(out).double().cpu().reshape(-1)


def sensitivities(model: Model, asked: Asked, tries: int, radius: float, seed: int) -> Tensor:
    """(m,) float64 largest relative change of the attributions around each input, by captum."""
    from captum.metrics import sensitivity_max  # takes 2 s

    answering = partial(integrated_gradients.answer, model)
    out = []
    for part in blocks.parts(len(asked.x), max(1, blocks.BLOCK // tries)):
        integrated_gradients.block(model, asked, part)
        near = _near(asked, radius, blocks.generator(seed, "sensitivity", part.start))
        target = asked.target[part]

        def explain(z: Any, target: Tensor = target) -> Any:
            if isinstance(z, tuple):  # captum wants back what it gave
                return (explain(z[0], target),)
            rows = torch.arange(len(target)).repeat_interleave(len(z) // len(target))
            baseline = asked.baseline
            return integrated_gradients.explain(answering, z, rows, target[rows], baseline).double()

        with torch.random.fork_rng(devices=[]):
            out.append(sensitivity_max(explain, asked.x[part], near, n_perturb_samples=tries))
    return torch.cat(out).double().cpu().reshape(-1)


def _near(asked: Asked, radius: float, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Moves inputs; of one argument alone, since captum puts its own radius into a second."""
    bounds = asked.at.data.bounds

    def near(z: Tensor) -> Tensor:
        draw = 2 * torch.rand(z.shape, generator=rng, dtype=z.dtype) - 1
        moved = z + radius * asked.spread * draw
        return moved if bounds is None else moved.clamp(*bounds)

    return near
