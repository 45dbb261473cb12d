"""Where the embeddings of a sequence may be moved: every token in a ball of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from ringtest.perturb.geometry import L2, by_row


class TokenL2(L2):
    """Euclidean for every token of (b, length, d) by itself: none takes from another's budget.

    So a row may be moved as far whatever its length. There are no bounds.
    """

    @staticmethod
    def norm(offset: Tensor) -> Tensor:
        """Length of the longest."""
        return _lengths(offset).flatten(1).amax(1)

    def draw(self, rng: torch.Generator) -> Tensor:
        """For each token a Gaussian direction, at the distance of a uniform point."""
        shape = self.centre.shape
        draws = torch.randn(shape, generator=rng, device=rng.device).to(self.centre.device)
        distance = self._random((*shape[:2], 1), rng) ** (1 / shape[2])
        return distance * self._unit_vector(draws * (self.unit > 0))

    def project(self, point: Tensor) -> Tensor:
        """Every token drawn towards its centre onto its sphere: the nearest point."""
        offset = point - self.centre
        length = _lengths(self._scaled(offset))
        eps = by_row(self.eps, length) if isinstance(self.eps, Tensor) else self.eps
        factor = (eps / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(max=1)
        return self.centre + offset * factor

    def _unit_vector(self, way: Tensor) -> Tensor:
        tiny = torch.finfo(way.dtype).tiny
        # The square of a vanishing gradient would be 0, that of a huge one infinite.
        way = way / way.abs().amax(-1, keepdim=True).clamp(min=tiny)
        return way / _lengths(way).clamp(min=tiny)


def _lengths(offset: Tensor) -> Tensor:
    """(b, length, 1) of every token."""
    found: Tensor = torch.linalg.vector_norm(offset, dim=-1, keepdim=True)
    return found
