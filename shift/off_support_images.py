"""Off support, images only: the right local statistics in the wrong arrangement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.data import AuditData
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
    """The patches of a 4 x 4 grid in a random order for each row; pixels left over stay."""

    kind = "shift.off_support.patches"
    about = "a grid of 4 x 4 patches shuffled within each image"

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The shuffled images."""
        draws = common.uniform((x.shape[0], images.GRID**2), rng, x)
        return common.inside(images.patches_shuffled(x, draws), x, self.bounds)


@condition
class Phases(ImagesOffSupport):
    """The phases of the 2-D Fourier transform scrambled, its amplitudes kept (before clipping)."""

    kind = "shift.off_support.phases"
    about = "phases of the 2-D Fourier transform scrambled, amplitudes kept"

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The scrambled images."""
        noise = common.normal((x.shape[0], 1, *x.shape[2:]), rng, x)
        return common.inside(images.phases_scrambled(x.float(), noise), x, self.bounds)
