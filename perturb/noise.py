"""Noise on the inputs, relative to what it disturbs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.perturb.scale import spread

if TYPE_CHECKING:
    from ringtest.model import Model


@condition
class InputNoise(Condition):
    """Gaussian noise on every input value, clipped to the data's bounds.

    Severity: standard deviation of the noise, in units of that of each column of a table, channel
    of an image or feature of a sequence; what is constant stays as it is.
    """

    kind = "noise.input"
    about = "Gaussian noise on the inputs, relative to their scale"

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """Severities .1 and .3 for real inputs."""
        return [cls(severity=s) for s in (0.1, 0.3)] if data.inputs.is_floating_point() else ()

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the scale."""
        self._bounds = data.bounds
        self._scale = spread(data)

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The noisy inputs."""
        severity = 0.1 if self.severity is None else self.severity
        draws = torch.randn(x.shape, generator=rng, device=rng.device).to(x.device)
        noisy = x + severity * self._scale.to(x.device) * draws
        return (noisy if self._bounds is None else noisy.clamp(*self._bounds)).to(x.dtype)
