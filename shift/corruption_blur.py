"""Corruptions on request: blurs of a lens, of glass, of movement and of zoom."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.shift import common, images, images_filters
from ringtest.shift.corruption import SOURCE
from ringtest.shift.light import Light

ZOOMS: Final = 12
"""Zooms that are averaged."""


@condition
class DefocusBlur(Light):
    """A lens out of focus.

    Units: the disc's radius is .5 pixels plus strength times shorter side.
    """

    kind = "shift.corruption.defocus_blur"
    about = "blur by a disc, as of a lens that is out of focus"
    source = f"defocus_blur, {SOURCE}"
    strengths = (0.012, 0.018, 0.026, 0.036, 0.048)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Convolve every channel with the disc."""
        radius = 0.5 + strength * min(x.shape[2:])
        return images_filters.convolved(x, images_filters.disc(radius, x))


@condition
class GlassBlur(Light):
    """Frosted glass.

    Units: pixels come from up to .5 pixels plus strength times shorter side away.

    Along each axis, after a Gaussian blur of .25 pixels plus a third of what is beyond .5. Unlike
    the paper's, which swaps pixels one by one and blurs again, pixels are drawn with replacement.
    """

    kind = "shift.corruption.glass_blur"
    about = "a slight blur, of which every pixel shows one near it, as through frosted glass"
    source = f"glass_blur, {SOURCE}"
    strengths = (0.004, 0.008, 0.014, 0.022, 0.034)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Blur and jumble."""
        reach = strength * min(x.shape[2:])
        draws = common.uniform((x.shape[0], 2, *x.shape[2:]), rng, x)
        return images_filters.jumbled(images.blurred(x, 0.25 + reach / 3), 0.5 + reach, draws)


@condition
class MotionBlur(Light):
    """Movement along a line, each row's own.

    Units: length is 1 pixel plus strength times shorter side.

    The line lies within 45 degrees of level, as when a camera is swung.
    """

    kind = "shift.corruption.motion_blur"
    about = "blur along a line, within 45 degrees of level at random for each row"
    source = f"motion_blur, {SOURCE}"
    strengths = (0.03, 0.05, 0.08, 0.11, 0.15)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Convolve every row with its line."""
        angle = 90 * common.uniform((x.shape[0],), rng, x) - 45
        length = 1 + strength * min(x.shape[2:])
        return images_filters.convolved(x, images_filters.lines(length, angle))


@condition
class ZoomBlur(Light):
    """A zoom during exposure: the mean of 12 zooms.

    Units: the last one enlarges by 1 + strength.
    """

    kind = "shift.corruption.zoom_blur"
    about = "the mean of zooms about the centre, as if the lens zoomed during the exposure"
    source = f"zoom_blur, {SOURCE}"
    strengths = (0.11, 0.16, 0.21, 0.26, 0.31)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Average over zooms."""
        return images_filters.zoomed(x, 1 + strength, ZOOMS)
