"""Corruptions on request: snow, frost, fog and spatter, all of them drawn anew for each row.

They cover what is there by something of a colour of its own. Colours are those of red, green and
blue where there are three channels; all channels of other numbers get the colour's mean.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.shift import common, images_fields, images_filters
from ringtest.shift.corruption import SOURCE
from ringtest.shift.light import Light

ICE: Final = (0.8, 0.9, 1.0)
WATER: Final = (0.75, 0.85, 0.9)
MUD: Final = (0.25, 0.17, 0.1)


def colour(rgb: tuple[float, float, float], x: Tensor) -> Tensor:
    """(1, c, 1, 1): a colour for images of c channels; the mean of its parts unless c is 3."""
    parts = torch.tensor(rgb, dtype=x.dtype, device=x.device)
    parts = parts if x.shape[1] == 3 else parts.mean().expand(x.shape[1])
    return parts[None, :, None, None]


@condition
class Snow(Light):
    """White flakes that fall, and a white haze.

    Units: share of the area with flakes; opacity of haze.

    Flakes are high places of a smooth random field, about .5 pixels plus 1 % of the shorter side
    large, drawn out by 1 pixel plus 5 % of it within 30 degrees of upright.
    """

    kind = "shift.corruption.snow"
    about = "streaks of white flakes and a white haze"
    source = f"snow, {SOURCE}"
    strengths = (0.06, 0.11, 0.17, 0.24, 0.32)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Cover with flakes, and what is left with haze."""
        side = min(x.shape[2:])
        field = images_fields.smooth(x, 1, 0.5 + 0.01 * side, rng)
        flakes = images_fields.patches(field, strength, 0.5)
        angle = 60 + 60 * common.uniform((x.shape[0],), rng, x)
        streaks = images_filters.convolved(flakes, images_filters.lines(1 + 0.05 * side, angle))
        return 1 - (1 - x) * (1 - streaks.clamp(0, 1)) * (1 - strength)


@condition
class Frost(Light):
    """Ice on a pane: a procedural texture, no photograph.

    Units: opacity of the ice at its thickest.

    Ice is thickest along the lines where one of two random clouds crosses its mean, which branch as
    crystals do, and half as thick far from them.
    """

    kind = "shift.corruption.frost"
    about = "a pane with veins of ice, drawn from random clouds"
    source = f"frost, {SOURCE}, texture is procedural"
    strengths = (0.3, 0.42, 0.54, 0.66, 0.78)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Cover with ice."""
        veins = torch.minimum(*(images_fields.cloud(x, rng).abs() for _ in range(2)))
        thick = 0.5 + 0.5 * (1 - 2 * veins).clamp_min(0)
        return torch.lerp(x, colour(ICE, x), strength * thick)


@condition
class Fog(Light):
    """Fog that hangs unevenly: plasma noise.

    Units: mean opacity; its standard deviation is 30 % of it.
    """

    kind = "shift.corruption.fog"
    about = "white fog, uneven as a random cloud"
    source = f"fog, {SOURCE}"
    strengths = (0.2, 0.3, 0.4, 0.5, 0.6)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Cover with fog."""
        opacity = strength * (1 + 0.3 * images_fields.cloud(x, rng))
        return torch.lerp(x, torch.ones_like(x), opacity.clamp(0, 1))


@condition
class Spatter(Light):
    """Drops on the lens, of pale water or dark mud by chance for each row.

    Units: share of the area.

    Drops are high places of a smooth random field, about .5 pixels plus 3 % of the shorter side
    large, and hide 80 % of what lies behind.
    """

    kind = "shift.corruption.spatter"
    about = "drops of pale water or of dark mud, by chance for each row"
    source = f"spatter, {SOURCE}"
    strengths = (0.05, 0.1, 0.16, 0.23, 0.31)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Cover with drops."""
        field = images_fields.smooth(x, 1, 0.5 + 0.03 * min(x.shape[2:]), rng)
        drops = images_fields.patches(field, strength, 0.3)
        wet = common.signs(x.shape[0], rng, x)[:, None, None, None] > 0
        liquid = torch.where(wet, colour(WATER, x), colour(MUD, x))
        return torch.lerp(x, liquid.expand_as(x), 0.8 * drops)
