"""Corruptions on request: noise that depends on the light, and lost values."""

from __future__ import annotations

from functools import cache
from typing import Final

import torch
from torch import Tensor

from ringtest.condition import condition
from ringtest.shift import common
from ringtest.shift.corruption import SOURCE
from ringtest.shift.light import Light

LEVELS: Final = 256
"""Steps of light from black to white for which numbers of photons are tabulated."""
CHANCES: Final = 2**13
"""Probabilities of photons are multiples of one over this: the variance is right to .1 %."""


@condition
class ShotNoise(Light):
    """Shot noise: each value is a Poisson number of photons.

    Units: photons at white (fewer: worse).

    Values are rounded to 256 levels first.
    """

    kind = "shift.corruption.shot_noise"
    about = "Poisson noise of few photons on every input value"
    source = f"shot_noise, {SOURCE}"
    strengths = (60.0, 25.0, 12.0, 5.0, 3.0)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Look numbers of photons up."""
        # torch.poisson would draw more or fewer numbers by the images that stand before.
        draws = common.integers(CHANCES, x.shape, rng, x)
        place = (x.clamp(0, 1) * (LEVELS - 1)).round_().long().mul_(CHANCES).add_(draws)
        return photons(strength).to(x.device).take(place)


@cache
def photons(most: float) -> Tensor:
    """(LEVELS, CHANCES) quantiles of the Poisson distribution, in shares of ``most``.

    Row i has the mean i / (LEVELS - 1) * most, column j the quantile of (j + .5) / CHANCES.
    """
    light = torch.linspace(0, most, LEVELS, dtype=torch.float64)[:, None]
    # P(photons <= k) is the regularised upper incomplete gamma function of k + 1.
    count = torch.arange(1.0, int(most + 8 * most**0.5 + 12), dtype=torch.float64)
    up_to = torch.special.gammaincc(*torch.broadcast_tensors(count, light)).contiguous()
    chances = (torch.arange(CHANCES, dtype=torch.float64) + 0.5) / CHANCES
    return torch.searchsorted(up_to, chances.expand(LEVELS, -1).contiguous()).float() / most


@condition
class ImpulseNoise(Light):
    """Salt and pepper.

    Units: share of the values (each channel by itself) that turn black or white.
    """

    kind = "shift.corruption.impulse_noise"
    about = "salt and pepper: a share of the input values turns black or white, each as likely"
    source = f"impulse_noise, {SOURCE}"
    strengths = (0.03, 0.06, 0.1, 0.17, 0.27)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Replace values by one draw each: its lowest part is pepper, the next one salt."""
        draws = common.uniform(x.shape, rng, x)
        return torch.where(draws < strength, (draws >= strength / 2).to(x.dtype), x)


@condition
class SpeckleNoise(Light):
    """Speckle: Gaussian noise times the value.

    Units: standard deviations in shares of the value.
    """

    kind = "shift.corruption.speckle_noise"
    about = "Gaussian noise in proportion to every input value"
    source = f"speckle_noise, {SOURCE}"
    strengths = (0.15, 0.2, 0.35, 0.45, 0.6)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Multiply by one plus noise."""
        return x * (1 + strength * common.normal(x.shape, rng, x))
