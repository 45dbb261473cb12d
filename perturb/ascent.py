"""The search that all attacks share: runs over a block, and the worst point of every example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ringtest.errors import ConfigError, SubjectError
from ringtest.perturb.geometry import Ball, by_row
from ringtest.perturb.schedules import Schedule

if TYPE_CHECKING:
    from ringtest.model import Index


class Searched(Protocol):
    """What a search reads: the outputs of a model or of several, or what stands for them."""

    def logits(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """(b, ...) values at inputs of some rows of the current block; None: all, in order."""


class Answering(Searched, Protocol):
    """What can be attacked: a model, an ensemble, or several models side by side."""

    gradients: bool
    """Whether its outputs can be differentiated with respect to inputs."""


AnyLoss = Callable[..., Tensor]
"""(b, k) outputs and the rows of its aims -> (b,) values, larger is worse for the model."""


@dataclass(frozen=True)
class Goal:
    """What is wanted of an example."""

    damage: AnyLoss
    """How far it is reached; of all points seen the one of most damage is kept."""
    aims: tuple[Tensor, ...] = ()
    """(b, ...) what ``damage`` reads besides the outputs, row by row."""
    breaks: bool = False
    """Whether it is reached with any damage above 0: then the example leaves the batch."""

    def reached(self, outputs: Tensor, aims: tuple[Tensor, ...]) -> Tensor:
        """(b,) damage; what answers NaN did not withstand, and whoever looks at it is told."""
        return self.damage(outputs, *aims).nan_to_num(torch.inf, torch.inf, -torch.inf)


class Search:
    """The worst points (b, ...) seen so far for one block of one model; at first the clean ones.

    Gradients are asked for inputs alone, so that those of parameters stay as the user left them.
    Call it with inference mode off.
    """

    def __init__(
        self,
        model: Searched,
        ball: Ball,
        dtype: torch.dtype,
        outputs: Tensor,
        goal: Goal,
    ) -> None:
        """``outputs`` are the model's own on the clean rows, which have the type ``dtype``."""
        self.model, self.ball, self.dtype, self.goal = model, ball, dtype, goal
        self.found = ball.centre.clone()
        self.worst = goal.reached(outputs, goal.aims)

    def damage(self, point: Tensor) -> Tensor:
        """(b,) how far the goal is reached at (b, ...) points, which are kept nowhere."""
        with torch.no_grad():
            outputs = self.model.logits(point.to(self.dtype)).float()
        return self.goal.reached(outputs, self.goal.aims)

    def left(self, start: Tensor) -> Left | None:
        """The examples whose goal is not reached, at the start of a run; None if there are none."""
        rows = torch.arange(len(start), device=start.device)
        if self.goal.breaks:
            rows = rows[~(self.worst > 0)]
        return Left(self, rows, start) if len(rows) else None

    def climb(
        self, loss: AnyLoss, aims: tuple[Tensor, ...], start: Tensor, schedule: Schedule
    ) -> bool:
        """One run of one loss.

        Args:
            loss: what is climbed.
            aims: (b, ...) what it reads besides the outputs, for all rows of the block.
            start: (b, ...) points of the ball.
            schedule: makes the steps; good for this run.

        Returns:
            Whether there was anything left to do.
        """
        left = self.left(start)
        if left is None:
            return False
        point, aims = left.best, left.part(aims)
        for step in range(schedule.steps + 1):
            if step == schedule.steps:
                left.record(point, left.damage(left.outputs(point)))
                break
            damage, value, gradient = self._look(left, point, loss, aims)
            alive = left.record(point, damage)
            if alive is not None:
                if not bool(alive.any()):
                    break
                left.keep(alive)
                schedule.keep(alive)
                point, value, gradient = point[alive], value[alive], gradient[alive]
                aims = tuple(a[alive] for a in aims)
            point = schedule.move(left.ball, point, value, gradient)
        left.close()
        return True

    def _look(
        self, left: Left, point: Tensor, loss: AnyLoss, aims: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Damage (b,), loss (b,) and its gradient (b, ...) at the points."""
        leaf = point.detach().requires_grad_()
        with torch.enable_grad():
            outputs = left.outputs(leaf)
            value = loss(outputs, *aims)
            # A sum: a mean would scale gradients with the number of examples left.
            total = value.sum()
        if not outputs.requires_grad:
            # Going on with zeros would pass for robustness.
            raise SubjectError(
                "model", "its outputs do not depend on its inputs by any gradient", "detach nothing"
            )
        if value.shape != (len(point),):
            raise ConfigError(
                "losses",
                f"one gave shape {tuple(value.shape)} for {len(point)} rows",
                'return one value a row, reduction="none"',
            )
        (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True, materialize_grads=True)
        # One NaN (logits of -inf) would otherwise move its example to NaN.
        return left.damage(outputs.detach()), value.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)


class Left:
    """The examples of a run that are still in the batch. Arrays shrink only when one leaves."""

    def __init__(self, search: Search, rows: Tensor, start: Tensor) -> None:
        self._search = search
        self._all = len(rows) == len(start)
        self.rows = rows
        """(m,) which rows of the block they are."""
        self.ball = search.ball if self._all else search.ball.take(rows)
        self.best = start if self._all else start[rows]
        """(m, ...) the worst points of this run."""
        self.worst = torch.full_like(search.worst, -torch.inf)[rows]
        self._aims = self.part(search.goal.aims)

    def part(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What belongs to these rows, of values for the whole block."""
        return values if self._all else tuple(v[self.rows] for v in values)

    def outputs(self, point: Tensor) -> Tensor:
        """(m, k) outputs at points (m, ...), in the inputs' own type of floats."""
        rows = None if self._all else self.rows
        with torch.set_grad_enabled(point.requires_grad):
            return self._search.model.logits(point.to(self._search.dtype), rows).float()

    def damage(self, outputs: Tensor) -> Tensor:
        """(m,) how far the goal is reached."""
        return self._search.goal.reached(outputs, self._aims)

    def record(self, point: Tensor, damage: Tensor) -> Tensor | None:
        """Keep the worse of each point and the worst so far.

        Returns:
            (m,) mask of those that stay in the batch; None if all do.
        """
        point = point.detach()
        better = damage > self.worst
        self.worst = torch.where(better, damage, self.worst)
        self.best = torch.where(by_row(better, point), point, self.best)
        if not self._search.goal.breaks:
            return None
        alive = ~(damage > 0)
        return None if bool(alive.all()) else alive

    def keep(self, alive: Tensor) -> None:
        """Let the others leave."""
        self._write(~alive)
        self._all = False
        self.rows, self.ball = self.rows[alive], self.ball.take(alive)
        self.best, self.worst = self.best[alive], self.worst[alive]
        self._aims = tuple(a[alive] for a in self._aims)

    def close(self) -> None:
        """End the run."""
        self._write(torch.ones_like(self.rows, dtype=torch.bool))

    def _write(self, which: Tensor) -> None:
        better = which & (self.worst > self._search.worst[self.rows])
        rows = self.rows[better]
        self._search.found[rows] = self.best[better]
        self._search.worst[rows] = self.worst[better]
