"""How far an attack steps, and from where: a fixed size, or one that each example finds."""

from __future__ import annotations

import math
from typing import Final, Protocol

import torch
from torch import Tensor

from ringtest.perturb.geometry import Ball, by_row

MOMENTUM: Final = 0.75
"""Share of a new step in APGD; the rest goes on as before."""
RISES: Final = 0.75
"""Share of steps since the last checkpoint that must have climbed, or the step is halved."""


class Schedule(Protocol):
    """Makes the next points of one run. It is told of every point, in order."""

    steps: int

    def move(self, ball: Ball, point: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """(b, ...) next points, from these points, their losses (b,) and gradients (b, ...)."""

    def keep(self, alive: Tensor) -> None:
        """Forget the rows that left; ``alive`` is a mask over those of the last call."""


class FixedStep:
    """Steps of one size, in radii of the ball."""

    def __init__(self, steps: int, size: float) -> None:
        self.steps, self.size = steps, size

    def move(self, ball: Ball, point: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """One step up."""
        return ball.move(point, self.size, gradient)

    def keep(self, alive: Tensor) -> None:
        """Nothing is remembered."""


class AdaptiveStep:
    """Auto-PGD: momentum, and steps that start at two radii and are halved where they do not help.

    Croce & Hein 2020 (arXiv:2003.01690), algorithm 1: at each checkpoint an example halves its step
    and goes back to its best point if too few of the steps since the last one climbed (condition
    1), or if neither step nor best loss has changed since then (condition 2).
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._checkpoints = checkpoints(steps)
        self._moves = 0
        self._checked = 0
        self._rows: dict[str, Tensor] = {}

    def move(self, ball: Ball, point: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """Momentum between the step and the last movement; the first step is a plain one."""
        value = value.nan_to_num(-math.inf, math.inf, -math.inf)
        share = MOMENTUM if self._moves else 1.0
        self._remember(point, value, gradient)
        if self._moves in self._checkpoints:
            point, gradient = self._check(point, gradient)
        seen = self._rows
        step = ball.move(point, by_row(seen["size"], point), gradient)
        moved = point + share * (step - point) + (1 - share) * (point - seen["previous"])
        seen["previous"] = point
        self._moves += 1
        return ball.project(moved)

    def keep(self, alive: Tensor) -> None:
        """The same of the rows that stay."""
        self._rows = {name: value[alive] for name, value in self._rows.items()}

    def _remember(self, point: Tensor, value: Tensor, gradient: Tensor) -> None:
        seen = self._rows
        if not seen:
            zeros = torch.zeros_like(value)
            seen |= {"previous": point, "best": point, "slope": gradient, "top": value}
            seen |= {"last": value, "size": zeros + 2, "rises": zeros}
            seen |= {"checked_top": value, "halved": zeros > 0}
            return
        better = value > seen["top"]
        wide = by_row(better, point)
        seen["best"] = torch.where(wide, point, seen["best"])
        seen["slope"] = torch.where(wide, gradient, seen["slope"])
        seen["top"] = torch.where(better, value, seen["top"])
        seen["rises"] = seen["rises"] + (value > seen["last"])
        seen["last"] = value

    def _check(self, point: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        seen = self._rows
        few = seen["rises"] < RISES * (self._moves - self._checked)
        idle = ~seen["halved"] & (seen["top"] <= seen["checked_top"])
        halved = few | idle
        seen["size"] = torch.where(halved, seen["size"] / 2, seen["size"])
        seen["halved"], seen["checked_top"] = halved, seen["top"]
        seen["rises"], self._checked = torch.zeros_like(seen["rises"]), self._moves
        wide = by_row(halved, point)
        return torch.where(wide, seen["best"], point), torch.where(wide, seen["slope"], gradient)


def checkpoints(steps: int) -> frozenset[int]:
    """After how many steps APGD looks back: at .22 of them, then after periods shorter by .03.

    No period is shorter than .06.

    >>> sorted(checkpoints(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(round(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06), 2))
    return frozenset(math.ceil(round(s * steps, 6)) for s in shares[1:] if s < 1)
