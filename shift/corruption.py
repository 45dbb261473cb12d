"""Corruptions: everyday damage to inputs, at severities 1 to 5, under which targets stay right.

A new corruption is one class with a table of strengths and a ``change``. Strengths scale with the
image's size and range, so that a severity means about as much to a digit of 8 x 8 as to a
photograph. Source of the idea: Hendrycks & Dietterich 2019 (arXiv 1903.12261); the strengths are
ours.

The six kinds here are in every audit. The other 15 of the 15 + 4 kinds of that paper (ImageNet-C)
are looked under where a cell names them: ``corruption_noise``, ``corruption_blur``,
``corruption_weather``, ``corruption_digital``. Translate and rotate are none of that paper's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final

import torch
from torch import Tensor

from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.shift import common, images

if TYPE_CHECKING:
    from ringtest.model import Model

SOURCE: Final = "Hendrycks & Dietterich 2019, arXiv:1903.12261 (strengths are ringtest's)"


class Corruption(Condition):
    """Base of the corruptions: images of any size, clipped to their range."""

    source = SOURCE
    strengths: ClassVar[tuple[float, ...]]
    """What severities 1 to 5 mean; units in the docstring."""
    low: float
    """Least value of the range, and the colour of what comes in from outside. Set by fit."""
    high: float
    """Largest value of the range. Set by fit."""

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """Severities 1 to 5 where the corruption applies."""
        if not cls.applies(data):
            return ()
        return [cls(severity=s + 1) for s in range(len(cls.strengths))]

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Whether the corruption means something for such data."""
        return common.is_images(data)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the range of values."""
        self.low, self.high = common.value_range(data)

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The corrupted inputs."""
        changed = self.change(x.float(), self.strength(), rng)
        return common.inside(changed, x, (self.low, self.high))

    def strength(self) -> float:
        """The strength of this severity."""
        levels = range(1, len(self.strengths) + 1)
        if self.severity is None or self.severity not in levels:
            raise ConfigError(
                f"severity of {self.id}", f"is {self.severity}", f"give 1 to {levels[-1]}"
            )
        return self.strengths[int(self.severity) - 1]

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """The corruption itself: (b, ...) float32 in and out, clipped afterwards."""
        raise NotImplementedError


@condition
class Noise(Corruption):
    """Gaussian noise; ImageNet-C's gaussian_noise.

    Units: the range of values for images; for tables and sequences ten times the strength in
    standard deviations of each column or feature (.4 to 2.6).
    """

    kind = "shift.corruption.noise"
    about = "Gaussian noise on every input value"
    source = f"gaussian_noise, {SOURCE}"
    strengths = (0.04, 0.08, 0.12, 0.18, 0.26)

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """All real inputs."""
        return common.is_numeric(data)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of the noise: the range for images, else the standard deviations."""
        self._clip = data.bounds
        if common.is_images(data):
            self._clip = low, high = common.value_range(data)
            self._unit = torch.tensor(high - low)
        else:
            self._unit = 10 * common.moments(data)[1]

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The noisy inputs."""
        noise = common.normal(x.shape, rng, x) * self._unit.to(x.device)
        return common.inside(x + self.strength() * noise, x, self._clip)


@condition
class Blur(Corruption):
    """Gaussian blur; ImageNet-C's gaussian_blur.

    Units: sigma is .25 pixels plus the strength times the shorter side.
    """

    kind = "shift.corruption.blur"
    about = "Gaussian blur"
    source = f"gaussian_blur, {SOURCE}"
    strengths = (0.01, 0.02, 0.035, 0.05, 0.075)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Blur every channel."""
        # The constant keeps a severity from being no change at all on images of a few pixels.
        return images.blurred(x, 0.25 + strength * min(x.shape[2:]))


@condition
class Contrast(Corruption):
    """Lower contrast; ImageNet-C's contrast.

    Units: share of it that is lost, about each channel's mean.
    """

    kind = "shift.corruption.contrast"
    about = "contrast lowered towards the mean of each image and channel"
    source = f"contrast, {SOURCE}"
    strengths = (0.25, 0.4, 0.55, 0.7, 0.85)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Pull towards the mean."""
        return images.contrasted(x, 1 - strength)


@condition
class Brightness(Corruption):
    """Higher brightness; ImageNet-C's brightness.

    Units: the range of values, added and clipped.
    """

    kind = "shift.corruption.brightness"
    about = "brightness raised, with saturation"
    source = f"brightness, {SOURCE}"
    strengths = (0.1, 0.2, 0.3, 0.4, 0.5)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Add a share of the range."""
        return x + strength * (self.high - self.low)


@condition
class Translate(Corruption):
    """Translation in a random direction for each row. Units: sides of the image."""

    kind = "shift.corruption.translate"
    about = "translation by a share of the image's sides, in a random direction for each row"
    strengths = (0.05, 0.1, 0.15, 0.2, 0.25)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Move along a random angle; the low end of the range comes in from outside."""
        angle = 2 * torch.pi * common.uniform((x.shape[0],), rng, x)
        by = torch.stack([x.shape[3] * angle.cos(), x.shape[2] * angle.sin()], dim=1)
        return images.translated(x, strength * by, self.low)


@condition
class Rotate(Corruption):
    """Rotation about the centre, left or right at random for each row. Units: degrees."""

    kind = "shift.corruption.rotate"
    about = "rotation about the centre, left or right at random for each row"
    strengths = (6.0, 12.0, 18.0, 24.0, 30.0)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Turn; the low end of the range comes in from outside."""
        return images.rotated(x, strength * common.signs(x.shape[0], rng, x), self.low)
