"""Corruptions on request: what lenses and files do to images."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.shift import images_fields, images_jpeg, images_resampled
from ringtest.shift.corruption import SOURCE
from ringtest.shift.light import Light

WAVES: Final = 0.08
"""How far elastic displacements reach, in shorter sides."""


@condition
class ElasticTransform(Light):
    """Elastic deformation.

    Units: root mean square of displacements along each axis, in shorter sides.

    Displacements vary smoothly over 8 % of the shorter side. Beyond its edge an image goes on as
    it ends.
    """

    kind = "shift.corruption.elastic_transform"
    about = "smooth displacements at random, as of an elastic sheet"
    source = f"elastic_transform, {SOURCE}; Simard et al. 2003, doi:10.1109/ICDAR.2003.1227801"
    strengths = (0.01, 0.015, 0.022, 0.03, 0.04)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Move along two random fields."""
        side = min(x.shape[2:])
        field = images_fields.smooth(x, 2, WAVES * side, rng)
        return images_resampled.displaced(x, strength * side * field)


@condition
class Pixelate(Light):
    """Fewer pixels.

    Units: blocks are about 1 pixel plus strength times the root of the shorter side wide.
    """

    kind = "shift.corruption.pixelate"
    about = "means over square blocks, as of fewer pixels"
    source = f"pixelate, {SOURCE}"
    strengths = (0.06, 0.12, 0.2, 0.3, 0.48)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Average over blocks."""
        return images_resampled.pixelated(x, 1 + strength * min(x.shape[2:]) ** 0.5)


@condition
class JpegCompression(Light):
    """JPEG.

    Units: quality, 1 to 100 (less: worse), times the cube root of 224 over a shorter side below it.

    So a quality of 25 is 48 at 32 x 32: blocks are 8 x 8 pixels at any size, of which small images
    have few.

    Annex K's tables. Chrominance at half resolution (4:2:0) for three channels, taken for red,
    green and blue; with another number each channel is a grey image. Values are rounded to 8 bits.
    """

    kind = "shift.corruption.jpeg_compression"
    about = "what JPEG leaves at low quality"
    source = f"jpeg_compression, {SOURCE}; ITU-T T.81"
    strengths = (25.0, 18.0, 13.0, 9.0, 6.0)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Compress and decompress."""
        return images_jpeg.compressed(x, self.quality(min(x.shape[2:])))

    def quality(self, side: int) -> int:
        """The quality of this severity for a shorter side of so many pixels."""
        factor: float = max(1.0, 224 / side) ** (1 / 3)
        return min(100, round(self.strength() * factor))


@condition
class Saturate(Light):
    """Garish colours.

    Units: factor on the saturation of HSV, which ends at 1.

    For three channels, taken for red, green and blue. Images of any other number have no
    saturation: not measurable. Unlike the paper's, no severity makes colours paler.
    """

    kind = "shift.corruption.saturate"
    about = "saturation of colours raised, for red, green and blue"
    source = f"saturate, {SOURCE}"
    strengths = (1.5, 2.0, 3.0, 5.0, 20.0)

    @classmethod
    def obstacle(cls, data: AuditData) -> str | None:
        """Why such images have no saturation, or what keeps others from being corrupted."""
        channels = data.inputs.shape[1]
        if channels != 3:
            return f"saturation is that of 3 channels (red, green, blue), not of {channels}"
        return super().obstacle(data)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Raise the saturation."""
        return images_resampled.saturated(x, strength)
