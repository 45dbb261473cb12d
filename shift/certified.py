"""The dictionary of mild transformations from which the teacher certifies its own.

Which of them count is decided elsewhere, from the members' outputs: here stands only what they are.
A new one is one row of the dictionary of its modality.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, close_to
from ringtest.shift import common, images, sequences, tokens
from ringtest.shift.graded import Change

if TYPE_CHECKING:
    from ringtest.model import Model

SINGLE_FLIPS: Final = 8
"""Up to so many columns each gets a sign flip of its own."""


@condition
class Certified(Condition):
    """One transformation, ``shift.certified.NAME``; units are given in the dictionaries below."""

    kind = "shift.certified"
    about = "a mild transformation that counts if the teacher's own outputs keep to it"
    role = "certified"
    keeps_targets = False

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """The whole dictionary of the data's modality."""
        return [cls(name) for name in dictionary(data)]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Look the transformation up. Raises ConfigError if the data's modality has none such."""
        known = dictionary(data)
        if self.name not in known:
            raise ConfigError(
                f"condition {self.id!r}",
                f"is not in the dictionary for {data.modality} inputs",
                close_to(str(self.name), known),
            )
        self._change = known[self.name]
        # An image has a range even where no bounds are given: what was seen.
        self._clip = common.value_range(data) if common.is_images(data) else data.bounds

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The transformed inputs."""
        if not x.is_floating_point():
            return self._change(x, rng)
        return common.inside(self._change(x.float(), rng), x, self._clip)


def dictionary(data: AuditData) -> dict[str, Change]:
    """The transformations for such data, by name; none for what is neither number nor token."""
    if common.is_images(data):
        return _of_images(*common.value_range(data))
    if common.is_numeric(data):
        return _of_numbers(data) | _of_steps(data)
    if common.is_tokens(data):
        return _of_tokens(data)
    return {}


def _of_images(low: float, high: float) -> dict[str, Change]:
    """Degrees, 5 % of the sides (at least a pixel), factors, and shares of the range of values."""
    span = high - low

    def rotate(degrees: float) -> Change:
        return lambda x, _: images.rotated(x, degrees, low)

    def shift(right: int, down: int) -> Change:
        return lambda x, _: images.shifted(
            x, right * _pixels(x.shape[3]), down * _pixels(x.shape[2]), low
        )

    return {
        "rotate_plus_8": rotate(8),
        "rotate_minus_8": rotate(-8),
        "rotate_plus_15": rotate(15),
        "rotate_minus_15": rotate(-15),
        "shift_left": shift(-1, 0),
        "shift_right": shift(1, 0),
        "shift_up": shift(0, -1),
        "shift_down": shift(0, 1),
        "scale_down": lambda x, _: images.scaled(x, 0.9, low),
        "scale_up": lambda x, _: images.scaled(x, 1.1, low),
        "brighter": lambda x, _: x + 0.1 * span,
        "darker": lambda x, _: x - 0.1 * span,
        "contrast_up": lambda x, _: images.contrasted(x, 1.25),
        "contrast_down": lambda x, _: images.contrasted(x, 0.8),
        "blur": lambda x, _: images.blurred(x, 0.25 + 0.02 * min(x.shape[2:])),
        "noise": lambda x, rng: x + 0.05 * span * common.normal(x.shape, rng, x),
        "flip_horizontal": lambda x, _: x.flip(3),
        "flip_vertical": lambda x, _: x.flip(2),
    }


def _of_numbers(data: AuditData) -> dict[str, Change]:
    """Sign flips of columns (features of a sequence), and changes in units of their SD.

    With bounds, a flip mirrors about their middle: a plain sign would leave the legal range.
    Scaling is about each column's mean, so that a column far from 0 is not moved away.
    """
    mean, sd = common.moments(data)
    centre = sum(data.bounds) if data.bounds is not None else 0.0
    columns = data.inputs.shape[-1]

    def flip(column: int) -> Change:
        chosen = torch.arange(columns) == column
        return lambda x, _: torch.where(chosen.to(x.device), centre - x, x)

    def move(by: float) -> Change:
        return lambda x, _: x + by * sd.to(x.device)

    def scale(factor: float) -> Change:
        return lambda x, _: mean.to(x.device) + factor * (x - mean.to(x.device))

    single = range(columns) if 1 < columns <= SINGLE_FLIPS else ()

    def noise(level: float) -> Change:
        return lambda x, rng: x + level * sd.to(x.device) * common.normal(x.shape, rng, x)

    return {f"flip_{c}": flip(c) for c in single} | {
        "flip_all": lambda x, _: centre - x,
        "shift_up": move(0.1),
        "shift_down": move(-0.1),
        "shift_up_30": move(0.3),
        "shift_down_30": move(-0.3),
        "scale_up": scale(1.1),
        "scale_down": scale(0.9),
        "scale_up_30": scale(1.3),
        "scale_down_30": scale(1 / 1.3),
        "noise": noise(0.1),
        "noise_30": noise(0.3),
    }


def _of_steps(data: AuditData) -> dict[str, Change]:
    """Sequences: shares of their length, factors on their pace, a trend in SD.

    Not where a mask says that steps are padding: what is moved would be padding, too.
    """
    if data.modality != "sequence" or data.inputs.ndim != 3 or data.mask is not None:
        return {}
    _, sd = common.moments(data)
    length = data.inputs.shape[1]

    def later(share: float) -> Change:
        steps = round(share * length) or (1 if share > 0 else -1)
        return lambda x, _: sequences.moved(x, steps)

    def slower(factor: float) -> Change:
        return lambda x, _: sequences.stretched(x, factor)

    def trend(by: float) -> Change:
        return lambda x, _: sequences.trended(x, by * sd.reshape(-1, sd.shape[-1]).mean(0))

    return {
        "later": later(0.05),
        "earlier": later(-0.05),
        "later_15": later(0.15),
        "earlier_15": later(-0.15),
        "slower": slower(1.1),
        "faster": slower(1 / 1.1),
        "slower_30": slower(1.3),
        "faster_30": slower(1 / 1.3),
        "trend_up": trend(0.5),
        "trend_down": trend(-0.5),
        "smooth": lambda x, _: sequences.smoothed(x),
    }


def _of_tokens(data: AuditData) -> dict[str, Change]:
    """Shares of a row's pairs of neighbouring words and of its words, at least one each."""
    frame = data.frame_tokens
    seen = tokens.vocabulary(data.inputs, frame)
    return {
        "order": lambda x, rng: tokens.neighbours_swapped(x, frame, 0.1, rng),
        "dropout": lambda x, rng: tokens.replaced(x, seen, frame, 0.05, rng),
    }


def _pixels(side: int) -> int:
    return max(1, round(0.05 * side))
