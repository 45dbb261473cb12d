"""Off support, images only: the right local statistics in the wrong arrangement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.shift import common, images
from ringtest.shift.off_support import OffSupport

if TYPE_CHECKING:
    from ringtest.model import Model


class ImagesOffSupport(OffSupport):
    """Base: real images only."""

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Images of more than one pixel."""
        return common.is_images(data) and data.inputs[0, 0].numel() > 1


@condition
class Patches(ImagesOffSupport):
    """The patches of a 4 x 4 grid in a random order for each row; pixels left over stay.

    Severity: patches along a side, a whole number from 2, 4 where none is said.
    """

    kind = "shift.off_support.patches"
    about = "a grid of 4 x 4 patches shuffled within each image"
    whole = images.GRID
    grades = (2, 8)

    def __init__(self, name: str | None = None, severity: float | None = None) -> None:
        super().__init__(name, severity)
        if self.strength != int(self.strength) or self.strength < 2:
            problem, fix = f"is {severity!r}", "give a whole number of patches from 2"
            raise ConfigError(f"severity of {self.kind}", problem, fix)

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The shuffled images."""
        grid = int(self.strength)
        draws = common.uniform((x.shape[0], grid**2), rng, x)
        return common.inside(images.patches_shuffled(x, draws, grid), x, self.bounds)


@condition
class Phases(ImagesOffSupport):
    """The phases of the 2-D Fourier transform scrambled, its amplitudes kept (before clipping).

    Severity: share of a random angle by which each phase turns, 1 where none is said and at most.
    """

    kind = "shift.off_support.phases"
    about = "phases of the 2-D Fourier transform scrambled, amplitudes kept"
    most = 1.0
    grades = (0.25, 0.5)

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The scrambled images."""
        noise = common.normal((x.shape[0], 1, *x.shape[2:]), rng, x)
        return common.inside(
            images.phases_scrambled(x.float(), noise, self.strength), x, self.bounds
        )
