"""Where an attack may move an example: a ball of some norm inside the legal range.

Distances are in units of eps: (point - centre) / unit, where a unit is a share of the legal range
or the standard deviation of a feature. What has the unit 0 (a constant feature, padding) is never
moved and is no dimension of the ball. Everything is batched over rows, and no row sees another.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

Bounds = tuple[float, float] | None
Radius = float | Tensor


def by_row(values: Tensor, like: Tensor) -> Tensor:
    """(b,) values in a shape that broadcasts against (b, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


class Ball(ABC):
    """Points within ``eps`` units of each row's centre, inside the bounds.

    Args:
        centre: (b, ...) real clean rows, inside the bounds.
        unit: what an eps of 1 is; broadcasts against the rows, 0 for what must not move.
        eps: radius, one for all or (b,) each row's own.
        bounds: (low, high) or None.
    """

    def __init__(self, centre: Tensor, unit: Tensor, eps: Radius, bounds: Bounds) -> None:
        self.centre, self.unit, self.eps, self.bounds = centre, unit, eps, bounds
        self.reach = (by_row(eps, centre) if isinstance(eps, Tensor) else eps) * unit
        """The radius in the units of the inputs."""

    def take(self, rows: Tensor) -> Self:
        """The balls of some of the rows: indices, or a mask."""
        out, n = copy.copy(self), len(self.centre)
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.ndim and len(value) == n:
                setattr(out, name, value[rows])
        return out

    def start(self, rng: torch.Generator) -> Tensor:
        """(b, ...) points drawn uniformly from the balls; those outside the bounds are moved in.

        Drawn for all rows where the generator lives, then moved: one seed, one start for every
        model on any device.
        """
        return self.box(self.centre + self.reach * self.draw(rng))

    def move(self, point: Tensor, size: float | Tensor, gradient: Tensor) -> Tensor:
        """Climb by ``size`` radii, (b, 1, ...) or one for all, and come back into the ball."""
        return self.project(point + size * self.reach * self.steepest(point, gradient))

    def box(self, point: Tensor) -> Tensor:
        """The points moved into the bounds.

        It brings no coordinate further from the centre, which lies inside: what was in the ball
        stays there, in any norm.
        """
        return point if self.bounds is None else point.clamp(*self.bounds)

    def distance(self, point: Tensor) -> Tensor:
        """(b,) how far (b, ...) points lie from the centres, in units of eps."""
        return self.norm(self._scaled(point - self.centre))

    def holds(self, point: Tensor, dtype: torch.dtype) -> Tensor:
        """(b,) whether points keep eps, bounds and what is fixed, but for the rounding of a type.

        Args:
            point: (b, ...) perturbed rows.
            dtype: type of floats in which they were stored.
        """
        offset = (point - self.centre).abs()
        slack = 4 * torch.finfo(dtype).eps * torch.maximum(point.abs(), self.centre.abs())
        beyond = (offset - slack).clamp(min=0)
        kept = ((self.unit > 0) | (beyond == 0)) & point.isfinite()
        if self.bounds is not None:
            # What stands at the bounds may lie outside by a rounding already.
            low, high = self.centre.clamp(max=self.bounds[0]), self.centre.clamp(min=self.bounds[1])
            kept = kept & (point >= low - slack) & (point <= high + slack)
        return kept.flatten(1).all(1) & (self.norm(self._scaled(beyond)) <= self.eps * (1 + 1e-5))

    @staticmethod
    @abstractmethod
    def norm(offset: Tensor) -> Tensor:
        """(b,) length of (b, ...) offsets in units of eps."""

    @abstractmethod
    def draw(self, rng: torch.Generator) -> Tensor:
        """(b, ...) points drawn uniformly from balls of radius 1."""

    @abstractmethod
    def steepest(self, point: Tensor, gradient: Tensor) -> Tensor:
        """(b, ...) the way in units of eps, of length at most 1, on which a linear loss rises."""

    @abstractmethod
    def project(self, point: Tensor) -> Tensor:
        """(b, ...) points of ball and bounds near the given ones."""

    def _scaled(self, offset: Tensor) -> Tensor:
        """Offsets in units of eps; 0 for what is fixed."""
        return offset * torch.where(self.unit > 0, 1 / self.unit, 0.0)

    def _dimensions(self) -> Tensor:
        """(b,) number of coordinates that may move, at least 1."""
        free = (self.unit > 0).expand_as(self.centre).flatten(1)
        return free.sum(1).clamp(min=1)

    def _random(self, shape: tuple[int, ...] | torch.Size, rng: torch.Generator) -> Tensor:
        return torch.rand(shape, generator=rng, device=rng.device).to(self.centre.device)

    def _radii(self, rng: torch.Generator) -> Tensor:
        """(b, 1, ...) distance of a uniform point: the share of a ball's volume is r^d."""
        draws = self._random((len(self.centre),), rng)
        return by_row(draws ** (1 / self._dimensions()), self.centre)


class Linf(Ball):
    """Every coordinate on its own: signs of the gradient; ball and box are one box."""

    def __init__(self, centre: Tensor, unit: Tensor, eps: Radius, bounds: Bounds) -> None:
        super().__init__(centre, unit, eps, bounds)
        self.low, self.high = self.box(centre - self.reach), self.box(centre + self.reach)

    @staticmethod
    def norm(offset: Tensor) -> Tensor:
        """Largest coordinate."""
        return offset.abs().flatten(1).amax(1)

    def draw(self, rng: torch.Generator) -> Tensor:
        """A cube."""
        return 2 * self._random(self.centre.shape, rng) - 1

    def steepest(self, point: Tensor, gradient: Tensor) -> Tensor:
        """Signs."""
        return gradient.sign()

    def project(self, point: Tensor) -> Tensor:
        """Clamped: the nearest point of the intersection."""
        return point.clamp(self.low, self.high)


class L2(Ball):
    """Euclidean, after each feature was divided by its unit."""

    @staticmethod
    def norm(offset: Tensor) -> Tensor:
        """Euclidean length."""
        length: Tensor = torch.linalg.vector_norm(offset.flatten(1), dim=1)
        return length

    def draw(self, rng: torch.Generator) -> Tensor:
        """A Gaussian direction at the distance of a uniform point."""
        draws = torch.randn(self.centre.shape, generator=rng, device=rng.device)
        return self._radii(rng) * self._unit_vector(draws.to(self.centre.device) * (self.unit > 0))

    def steepest(self, point: Tensor, gradient: Tensor) -> Tensor:
        """The normalised gradient; 0 where there is none."""
        return self._unit_vector(gradient * self.unit)

    def project(self, point: Tensor) -> Tensor:
        """Drawn towards the centre onto the sphere, then into the box.

        That is a point of the intersection, see :meth:`Ball.box`, though not always its nearest.
        """
        offset = point - self.centre
        length = self.distance(point)
        factor = (self.eps / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1)
        return self.box(self.centre + offset * by_row(factor, offset))

    def _unit_vector(self, way: Tensor) -> Tensor:
        tiny = torch.finfo(way.dtype).tiny
        # The square of a vanishing gradient would be 0, that of a huge one infinite.
        way = way / by_row(way.flatten(1).abs().amax(1).clamp(min=tiny), way)
        return way / by_row(self.norm(way).clamp(min=tiny), way)
