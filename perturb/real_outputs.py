"""Attacks on real outputs: the largest squared error, and the largest movement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ringtest import tasks
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import DataError
from ringtest.perturb.ascent import Goal
from ringtest.perturb.attack import GradientAttack
from ringtest.perturb.geometry import Ball

if TYPE_CHECKING:
    from ringtest.model import Model


@condition
class SquaredError(GradientAttack):
    """Linf attack on a regression: the point within eps with the largest squared error.

    20 steps, whose size each example finds, from the clean point and from a random one. The error
    has a peak on either side of the target: the clean point lies on the slope of the higher one,
    but has no gradient where the model is exactly right. Columns of the targets count in units of
    their standard deviation, so that a large one does not hide the rest.
    """

    kind = "attack.squared_error"
    about = "largest squared error within eps in Linf, columns in units of their targets' SD"
    source = "Croce & Hein 2020, arXiv:2003.01690 (the steps)"
    tasks = ("regression",)
    rate = 0.0
    restarts = 2

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Real inputs and numbers as targets."""
        return (
            super().applies(data) and data.targets is not None and data.targets.dtype.kind in "fiu"
        )

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the units of eps and of the targets."""
        super().fit(subjects, data, rng)
        self._scale = tasks.Regression(data, None).scale

    def start_at(self, ball: Ball, number: int, rng: torch.Generator) -> Tensor:
        """The clean point first."""
        return super().start_at(ball, number, rng) if number else ball.centre

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """The sum of squares over the columns."""
        if y is None:
            raise DataError("targets", f"are missing, and {self.key} needs them", "give numbers")
        scale = self._scale.to(outputs).clone()

        def error(outputs: Tensor, y: Tensor) -> Tensor:
            return ((outputs - y) / scale).square().sum(1)

        return Goal(error, (y.to(outputs).reshape(outputs.shape),))


@condition
class Movement(GradientAttack):
    """Linf attack that needs no targets: the point within eps whose output lies furthest away.

    20 steps from a random start, whose size each example finds. Values count in standard deviations
    of their targets; embeddings are compared as unit vectors.
    """

    kind = "attack.movement"
    about = "largest movement of the output within eps in Linf; needs no targets"
    source = "Croce & Hein 2020, arXiv:2003.01690 (the steps)"
    tasks = ("regression", "embedding")
    rate = 0.0

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the units of eps and of the outputs."""
        super().fit(subjects, data, rng)
        embedding = any(m.task.name == "embedding" for m in subjects)
        self._scale = (
            None if embedding or data.targets is None else tasks.Regression(data, None).scale
        )

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """The squared distance from the clean output."""
        scale = None if self._scale is None else self._scale.to(outputs).clone()

        def points(outputs: Tensor) -> Tensor:
            return functional.normalize(outputs, dim=1) if scale is None else outputs / scale

        def moved(outputs: Tensor, origin: Tensor) -> Tensor:
            return (points(outputs) - origin).square().sum(1)

        return Goal(moved, (points(outputs),))
