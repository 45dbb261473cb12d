"""One model under one attack after another, for checks that compare what they leave right."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, rerun
from ringtest.estimate import Array
from ringtest.measure import Setting
from ringtest.model import Model
from ringtest.perturb import losses
from ringtest.perturb.attack import Attack, MisleadingGradient
from ringtest.perturb.geometry import L2, Ball, Linf
from ringtest.perturb.sparse import L1

ORDERS: Final[dict[type[Ball], float]] = {Linf: torch.inf, L2: 2, L1: 1}
"""Of the norms, as :func:`torch.linalg.vector_norm` counts them."""
ROUNDING: Final = 1e-4
"""Share of eps, or of the range, by which an example may lie outside in float32."""

Right = NDArray[np.bool_]
"""(m,) whether each row is still answered rightly."""


class Bench:
    """One model on a few rows, attacked again and again; each attack runs once."""

    def __init__(self, model: Model, attack: MisleadingGradient, at: Setting) -> None:
        """``attack`` is fitted; its eps, steps and restarts are those that are checked."""
        assert at.task.targets is not None
        self.model, self.attack, self.at = model, attack, at
        self.targets = at.task.targets[torch.from_numpy(at.rows)]
        self._known: dict[str, Right] = {}
        self._stray: dict[str, Right] = {}
        self._slopes: tuple[Array, Array] | None = None

    def blocks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Which rows, their inputs and their classes."""
        for part, x in rerun.sampled(self.model, self.at):
            yield part, x, self.targets[part]

    def under(self, name: str, attack: Attack) -> Right:
        """Rows that an attack leaves right; the name, which seeds it, is what it is known by."""
        return self._once(name, attack.batch)

    def usual(self) -> Right:
        """Rows that the attack leaves right: the worst case over its losses."""
        return _always([self.alone(name) for name in self.attack.losses])

    def alone(self, loss: str) -> Right:
        """Rows that are left right with one loss."""
        attack = self.attack.but(losses={loss: self.attack.losses[loss]})
        return self.under(f"{loss} alone", attack)

    def runs(self, draws: int) -> list[Right]:
        """Rows that each single run leaves right: every loss from so many random starts."""
        out, draws = [], draws if self.attack.random_start else 1
        for loss, climbed in self.attack.losses.items():
            once = self.attack.but(losses={loss: climbed}, restarts=1)
            out += [self.under(f"{loss} run {i}", once) for i in range(draws)]
        return out

    def outside(self) -> Right:
        """Rows of which an example made by the attack lies outside eps or the bounds."""
        self.usual()
        return reduce(operator.or_, [self._stray[f"{name} alone"] for name in self.attack.losses])

    @property
    def other(self) -> Model | None:
        """A model that an attack can be made on, a member if there is one; never this one."""
        found = [m for m in self.attack.subjects if m.name != self.model.name and m.gradients]
        return min(found, key=lambda m: m.role != "member", default=None)

    def made_on(self, source: Model) -> Right:
        """Rows that are right where the attack was made on another model."""

        def made(_: Model, x: Tensor, y: Tensor, rng: torch.Generator) -> Tensor:
            return self.attack.batch(source, x, y, rng)

        return self._once(f"made on {source.name}", made, source)

    def slopes(self) -> tuple[Array, Array]:
        """(m,) largest gradient of each clean row, of cross-entropy and of the margin."""
        if self._slopes is None:
            found = np.empty((2, len(self.at.rows)))
            for part, x, y in self.blocks():
                for i, loss in enumerate((losses.cross_entropy, losses.deficit)):
                    found[i, part] = _slope(self.model, x, y, loss).cpu().numpy()
            self._slopes = found[0], found[1]
        return self._slopes

    def noise(self, draws: int) -> Right:
        """Rows that are right on every one of so many points drawn uniformly from the ball."""

        def drawn(model: Model, x: Tensor, _y: Tensor, rng: torch.Generator) -> Tensor:
            return self.attack.around(model, x).start(rng).to(x.dtype)

        return _always([self._once(f"noise {i}", drawn) for i in range(draws)])

    def _once(
        self,
        name: str,
        moved: Callable[[Model, Tensor, Tensor, torch.Generator], Tensor],
        beside: Model | None = None,
    ) -> Right:
        """``beside``: another model that has to be told what goes along with the rows."""
        if name not in self._known:
            out = np.zeros(len(self.at.rows), dtype=bool)
            stray = np.zeros_like(out)
            for part, x, y in self.blocks():
                if beside is not None:
                    rerun.inputs(beside, self.at, self.at.rows[part])
                rng = blocks.generator(self.at.seed, self.attack.key, "masking", name, part.start)
                with torch.no_grad():
                    point = moved(self.model, x, y, rng)
                    outputs = self.model.outputs(point)
                rerun.finite(self.model, outputs)
                out[part] = (outputs.argmax(1).cpu() == y).numpy()
                stray[part] = self._strayed(x, point).cpu().numpy()
            self._known[name], self._stray[name] = out, stray
        return self._known[name]

    def _strayed(self, x: Tensor, point: Tensor) -> Tensor:
        """(b,) whether points lie outside, by another arithmetic than the attack's own."""
        unit = self.attack.around(self.model, x).unit.double().expand_as(x)
        offset = (point.double() - x.double()).flatten(1)
        free = (unit > 0).flatten(1)
        length = torch.linalg.vector_norm(
            torch.where(free, offset / unit.flatten(1).where(free, 1.0), 0.0),
            ORDERS[self.attack.ball],
            dim=1,
        )
        kept = (length <= self.attack.eps * (1 + ROUNDING)) & ((offset == 0) | free).all(1)
        if (bounds := self.at.data.bounds) is not None:
            slack = ROUNDING * (bounds[1] - bounds[0])
            kept &= ((point >= bounds[0] - slack) & (point <= bounds[1] + slack)).flatten(1).all(1)
        strayed: Tensor = ~kept
        return strayed


def _always(outcomes: list[Right]) -> Right:
    """Rows that are right every time."""
    return reduce(operator.and_, outcomes)


def _slope(model: Model, x: Tensor, y: Tensor, loss: losses.Loss) -> Tensor:
    """(b,) largest gradient of a loss over the numbers of each row."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        total = loss(model.outputs(leaf).float(), y.to(x.device)).sum()
        (gradient,) = torch.autograd.grad(total, leaf)
    return gradient.double().abs().flatten(1).amax(1)
