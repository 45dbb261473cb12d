"""Auto-PGD, the gradient part of AutoAttack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.perturb import losses
from ringtest.perturb.ascent import Goal
from ringtest.perturb.attack import MisleadingGradient, Run


@condition
class APGD(MisleadingGradient):
    """Linf attack whose steps each example finds, over cross-entropy, DLR and targeted DLR.

    100 steps a run, as in the first two attacks of AutoAttack: cross-entropy, then targeted DLR
    towards each of the nine classes that come next on the clean point; plain DLR between them. With
    two classes targeted and plain DLR are one. There is no step size to choose.
    """

    kind = "attack.apgd"
    about = "Auto-PGD in Linf, worst case over cross-entropy, DLR and targeted DLR"
    source = "Croce & Hein 2020, arXiv:2003.01690"
    steps = 100
    rate = 0.0
    targets: ClassVar[int] = 9
    """Classes that are tried as targets, at most."""

    def runs(self, goal: Goal, outputs: Tensor) -> Iterator[Run]:
        """One for each loss, then one for each target."""
        yield from super().runs(goal, outputs)
        (y,) = goal.aims
        others = outputs.shape[1] - 1
        if others > 1:
            rivals = outputs.scatter(1, y[:, None], -torch.inf)
            for target in rivals.topk(min(self.targets, others), dim=1).indices.unbind(1):
                yield losses.targeted_dlr, (y, target)
