"""Is what can be decoded also used? Erase it, run on, and see whether the outputs move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ringtest import rerun
from ringtest.estimate import Estimate, row_mean
from ringtest.measure import NotMeasurable, Setting, measure
from ringtest.probes import running
from ringtest.probes.erasure import Eraser
from ringtest.probes.interventions import Intervention, over_draws
from ringtest.probes.running import Site
from ringtest.tasks import AnyTask


@measure
class UsageErasure(Intervention):
    """How far outputs move when a concept is erased from a layer, beyond random subspaces.

    The concept's linear subspace is erased (LEACE) at every position of the layer, the model runs
    on, and the mean movement of its outputs over at most 512 rows is taken, minus the mean of that
    of eight random subspaces of equal rank. Movement: total variation between the two output
    distributions (classification), so that it lies in [-1, 1]; or the squared movement over the
    variance of the outputs. 0: the model uses the concept no more than anything else in the layer;
    below 0: less, a concept that is decodable but idle. Higher: it leans on it. Context: a sound
    student uses what its teacher uses. There is no number, but a reason, where no ridge probe
    decodes the concept from the layer, and where it takes more than half of the layer's directions.

    The subspace is learnt with the labels of all sampled rows, and scored on some of the same rows:
    it is no held-out score. The error has two parts: that of rows, and that of the draw, by which a
    concept used like a random subspace differs from the mean of the others.

    Source: after Elazar et al. 2021 (amnesic probing), Belrose et al. 2023 (LEACE).
    """

    id = "usage.erasure"
    about = "movement of the outputs when a concept is erased from a layer, beyond random subspaces"
    range = (-math.inf, math.inf)
    unit = "movement"
    source = "after Elazar et al. 2021, Belrose et al. 2023"

    def statistic(self, task: AnyTask) -> str:
        """Name of the scale."""
        if task.name == "classification":
            return "total variation over random"
        return "movement / variance over random"

    def look(self, site: Site, own: Eraser, random: Sequence[Eraser], at: Setting) -> Estimate:
        """Mean over rows of the movement by the concept minus that by random subspaces."""
        real, *others = moved(site, [own, *random], at)
        random_ = torch.stack(others)
        found = row_mean((real - random_.mean(0)).numpy(), at.sample_units)
        return over_draws(found, random_.mean(1).tolist())


def moved(site: Site, erasers: Sequence[Eraser], at: Setting) -> list[Tensor]:
    """(m,) movement of each row's outputs by each eraser."""
    changes = [partial(site.editing, eraser) for eraser in erasers]
    before, *after = running.outputs(site.model, at, [running.untouched, *changes])
    rerun.finite(site.model, before, *after)
    unit = running.spread(at.task, before)
    if not unit > 0:
        raise NotMeasurable("the outputs do not vary")
    return [running.movement(at.task, before, changed) / unit for changed in after]
