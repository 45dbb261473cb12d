"""Corruptions of images as light, from black to white, that no audit looks under by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from ringtest import blocks
from ringtest.data import AuditData
from ringtest.measure import NotMeasurable
from ringtest.shift import common
from ringtest.shift.on_request import OnRequest

if TYPE_CHECKING:
    from ringtest.model import Model

PART: Final = 2**20
"""Corruptions on request treat about so many numbers at once (4 MB), whatever the block."""


class Light(OnRequest):
    """Base of the corruptions of ImageNet-C that no audit looks under by itself.

    They speak of light: 0 is black and 1 is white, which are the data's bounds. Without bounds
    images have to lie in [0, 1]; any others are not measurable, since nothing says what their black
    and white are. Rows are treated in parts, so that memory does not grow with the block.
    """

    needs = "images of real numbers"

    @classmethod
    def obstacle(cls, data: AuditData) -> str | None:
        """Why such images cannot be corrupted so, or None."""
        if data.bounds is not None:
            return None
        least, most = common.value_range(data)
        if least >= 0 and most <= 1:
            return None
        return (
            f"images hold {least:g} to {most:g}, not [0, 1], and nothing says what black and white "
            "are; give AuditData(..., bounds=(black, white))"
        )

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take black and white."""
        super().fit(subjects, data, rng)
        self._obstacle = self.obstacle(data)
        self.low, self.high = data.bounds or (0.0, 1.0)

    def subject(self, model: Model) -> Model:
        """The model as it is; NotMeasurable where the images cannot be corrupted."""
        if self._obstacle:
            raise NotMeasurable(self._obstacle)
        return model

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The corrupted inputs."""
        strength, span = self.strength(), self.high - self.low
        changed = torch.empty_like(x)
        for part in blocks.parts(x.shape[0], max(1, PART // max(1, x[0].numel()))):
            light = (x[part].float() - self.low) / span
            new = self.low + span * self.change(light, strength, rng)
            changed[part] = common.inside(new, x[part], (self.low, self.high))
        return changed
