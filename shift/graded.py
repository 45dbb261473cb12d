"""Transformations of every modality at any strength, as the search for the strongest needs them.

A new one is one row of the table of its modality. Strength 0 changes nothing; more of it changes
more, up to ``most``, beyond which nobody would still call it the same input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ringtest.data import AuditData
from ringtest.shift import common, images, sequences, tokens

Change = Callable[[Tensor, torch.Generator], Tensor]
"""(b, ...) inputs of the block (float32 or tokens) -> the same, changed."""


@dataclass(frozen=True)
class Graded:
    """One transformation at all its strengths."""

    change: Callable[[Tensor, float, torch.Generator], Tensor]
    """(b, ...) inputs and a strength -> the same, changed."""
    most: float
    """The largest strength."""
    unit: str
    """What a strength of 1 is."""

    def at(self, strength: float) -> Change:
        """The transformation at one strength."""
        return lambda x, rng: self.change(x, strength, rng)


def transformations(data: AuditData) -> dict[str, Graded]:
    """Those that fit the data, by name; none for what is neither number nor token."""
    if common.is_images(data):
        return of_images(*common.value_range(data))
    if common.is_numeric(data):
        return of_numbers(data) | of_steps(data)
    if common.is_tokens(data):
        return of_tokens(data)
    return {}


def of_images(low: float, high: float) -> dict[str, Graded]:
    """Both directions of everything that has two; what comes in from outside is the low end."""
    span = high - low

    def moved(right: int, down: int) -> Graded:
        def change(x: Tensor, s: float, _: torch.Generator) -> Tensor:
            by = x.new_tensor([[right * s * x.shape[3], down * s * x.shape[2]]])
            return images.translated(x, by.expand(x.shape[0], 2), low)

        return Graded(change, 0.5, "sides of the image")

    degrees, factor, ranges = "degrees", "logarithm of the factor", "range of the values"
    return {
        "rotate_plus": Graded(lambda x, s, _: images.rotated(x, s, low), 90, degrees),
        "rotate_minus": Graded(lambda x, s, _: images.rotated(x, -s, low), 90, degrees),
        "shift_left": moved(-1, 0),
        "shift_right": moved(1, 0),
        "shift_up": moved(0, -1),
        "shift_down": moved(0, 1),
        "scale_up": Graded(lambda x, s, _: images.scaled(x, math.exp(s), low), 1.1, factor),
        "scale_down": Graded(lambda x, s, _: images.scaled(x, math.exp(-s), low), 1.1, factor),
        "brighter": Graded(lambda x, s, _: x + s * span, 1, ranges),
        "darker": Graded(lambda x, s, _: x - s * span, 1, ranges),
        "contrast_up": Graded(lambda x, s, _: images.contrasted(x, math.exp(s)), 1.6, factor),
        "contrast_down": Graded(lambda x, s, _: images.contrasted(x, math.exp(-s)), 3, factor),
        "blur": Graded(_blurred, 0.25, "shorter side of the image, as a standard deviation"),
        "noise": Graded(lambda x, s, rng: x + s * span * common.normal(x.shape, rng, x), 1, ranges),
    }


def of_numbers(data: AuditData) -> dict[str, Graded]:
    """Tables and sequences, in standard deviations of each column or feature.

    Scaling is about each column's mean, so that a column far from 0 is not moved away.
    """
    mean, sd = common.moments(data)

    def moved(sign: int) -> Graded:
        return Graded(lambda x, s, _: x + sign * s * sd.to(x.device), 3, "standard deviations")

    def scaled(sign: int) -> Graded:
        def change(x: Tensor, s: float, _: torch.Generator) -> Tensor:
            centre = mean.to(x.device)
            return centre + math.exp(sign * s) * (x - centre)

        return Graded(change, 1.6, "logarithm of the factor")

    def noisy(x: Tensor, s: float, rng: torch.Generator) -> Tensor:
        return x + s * sd.to(x.device) * common.normal(x.shape, rng, x)

    return {
        "shift_up": moved(1),
        "shift_down": moved(-1),
        "scale_up": scaled(1),
        "scale_down": scaled(-1),
        "noise": Graded(noisy, 3, "standard deviations"),
    }


def of_steps(data: AuditData) -> dict[str, Graded]:
    """Sequences along their steps; not where a mask says that steps are padding.

    What is moved would be padding, too.
    """
    if data.modality != "sequence" or data.inputs.ndim != 3 or data.mask is not None:
        return {}
    _, sd = common.moments(data)
    length = data.inputs.shape[1]

    def later(sign: int) -> Graded:
        def change(x: Tensor, s: float, _: torch.Generator) -> Tensor:
            return sequences.moved(x, sign * round(s * length))

        return Graded(change, 0.5, "length of the sequence")

    def slower(sign: int) -> Graded:
        return Graded(
            lambda x, s, _: sequences.stretched(x, math.exp(sign * s)),
            1.1,
            "logarithm of the factor",
        )

    def trend(sign: int) -> Graded:
        rise = sign * sd.reshape(-1, sd.shape[-1]).mean(0)
        return Graded(lambda x, s, _: sequences.trended(x, s * rise), 3, "standard deviations")

    return {
        "later": later(1),
        "earlier": later(-1),
        "slower": slower(1),
        "faster": slower(-1),
        "trend_up": trend(1),
        "trend_down": trend(-1),
    }


def of_tokens(data: AuditData) -> dict[str, Graded]:
    """Shares of a row's pairs of neighbouring words, and of its words; at least one each."""
    frame = data.frame_tokens
    seen = tokens.vocabulary(data.inputs, frame)
    return {
        "order": Graded(
            lambda x, s, rng: tokens.neighbours_swapped(x, frame, s, rng), 1, "pairs of words"
        ),
        "dropout": Graded(lambda x, s, rng: tokens.replaced(x, seen, frame, s, rng), 1, "words"),
    }


def _blurred(x: Tensor, s: float, _: torch.Generator) -> Tensor:
    sigma = s * min(x.shape[2:])
    # A kernel narrower than this is a single pixel.
    return images.blurred(x, sigma) if sigma > 0.05 else x
