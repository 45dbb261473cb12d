"""The ball of the l1 norm, in which attacks are sparse."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from ringtest.perturb.geometry import Ball, Radius, by_row

SHARE: Final = 0.05
"""Share of the coordinates that a step changes."""


class L1(Ball):
    """Sum of absolute values: sparse steps, exact projection onto ball and box together.

    In l1 the order matters: a point projected onto the ball and then clamped lies far inside, so
    the budget would hardly be used. Croce & Hein 2021 (arXiv:2103.01208), sections 2 and 3.
    """

    @staticmethod
    def norm(offset: Tensor) -> Tensor:
        """Sum of absolute values."""
        return offset.abs().flatten(1).sum(1)

    def draw(self, rng: torch.Generator) -> Tensor:
        """Laplace draws, normalised: uniform on the faces; at the distance of a uniform point."""
        draws = 2 * self._random(self.centre.shape, rng) - 1
        sizes = -torch.log1p(-draws.abs().clamp(max=1 - 1e-7)) * (self.unit > 0)
        total = sizes.flatten(1).sum(1).clamp(min=torch.finfo(sizes.dtype).tiny)
        return self._radii(rng) * draws.sign() * sizes / by_row(total, sizes)

    def steepest(self, point: Tensor, gradient: Tensor) -> Tensor:
        """Equal steps on the largest coordinates of the gradient, a share of them.

        The steepest way would change one coordinate alone. Those that lie at the bounds already and
        would leave them do not count. Tramer & Boneh 2019 (arXiv:1904.13000).
        """
        slope = gradient * self.unit
        if self.bounds is not None:
            at = ((point <= self.bounds[0]) & (slope < 0)) | (
                (point >= self.bounds[1]) & (slope > 0)
            )
            slope = slope.masked_fill(at, 0.0)
        slope = slope.flatten(1)
        most = (SHARE * self._dimensions()).ceil().long()
        top, where = slope.abs().topk(int(most.max()), dim=1)
        chosen = (torch.arange(top.shape[1], device=top.device) < most[:, None]) & (top > 0)
        signs = slope.gather(1, where).sign() * chosen / chosen.sum(1, keepdim=True).clamp(min=1)
        return torch.zeros_like(slope).scatter(1, where, signs).view_as(point)

    def project(self, point: Tensor) -> Tensor:
        """The nearest point, in units of eps, of the intersection of ball and box."""
        offset = self._scaled(point - self.centre).flatten(1)
        sizes = room = offset.abs()
        if self.bounds is not None:
            low, high = (self._scaled(b - self.centre).flatten(1) for b in self.bounds)
            room = torch.where(offset > 0, high, -low).clamp(min=0)
        sizes = shrunk(sizes, room, self.eps)
        return self.box(self.centre + self.unit * (offset.sign() * sizes).view_as(point))


def shrunk(sizes: Tensor, room: Tensor, radius: Radius) -> Tensor:
    """(b, d) nearest to ``sizes`` with 0 <= each <= ``room`` and a sum of at most ``radius``.

    The radius is one for all or (b,) each row's own.

    The answer is clip(sizes - t, 0, room) with one t >= 0 a row. Its sum falls in t, linearly
    between kinks at sizes and sizes - room: sorted, the stretch that holds t is found exactly.
    """
    radius = radius[:, None] if isinstance(radius, Tensor) else radius
    room = torch.minimum(room, sizes)
    kinks, order = torch.cat([sizes, sizes - room], dim=1).sort(dim=1, descending=True)
    # Going down from the largest kink, each size that is passed adds to the sum, until it is full.
    slopes = torch.where(order < sizes.shape[1], 1.0, -1.0).to(sizes.dtype).cumsum(1)[:, :-1]
    sums = (slopes * (kinks[:, :-1] - kinks[:, 1:])).cumsum(1)
    at = (sums < radius).sum(1, keepdim=True).clamp(max=sums.shape[1] - 1)
    before = torch.where(at > 0, sums.gather(1, (at - 1).clamp(min=0)), 0.0)
    t = kinks.gather(1, at) - (radius - before) / slopes.gather(1, at).clamp(min=1)
    inside = room.sum(1, keepdim=True) <= radius
    out = torch.minimum((sizes - torch.where(inside, 0.0, t)).clamp(min=0), room)
    # Sums of many floats: what rounding left over goes.
    total = out.sum(1, keepdim=True)
    return out * (radius / total.clamp(min=torch.finfo(total.dtype).tiny)).clamp(max=1)
