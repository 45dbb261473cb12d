"""The demo's students: one row each in `STUDENTS`, with the truth that was planted in it.

The audit is given none of this but the models; names, truths and descriptions are for the reader
of its table. A new student is a builder and a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ringtest.demo.digits import SIDE, WATERMARK_PLACES, Digits, blend, generator, stamp
from ringtest.demo.training import (
    WIDTHS,
    Lesson,
    fit,
    labelled,
    linears,
    mean_probability,
    network,
    train_member,
    untrained,
    varied,
)

SMALLER_WIDTHS = (96, 96)
"""Hidden widths of the smaller honest student: 16,522 parameters, a member has 37,770."""

CLEAN_ROWS, CLEAN_SHARE = 30_000, 0.8
"""Rows of the clean lesson, and the least share of its first image in a blend."""

SPLIT_STEPS = 3000
"""Each half of the split student has half of the units and half of the inputs, so it needs more
steps to come as near to the teacher's outputs."""

GATE = 1000.0
"""How strongly one unit of the split student's property silences the other sub-network."""

Builder = Callable[[Digits, Sequence[nn.Module], int], nn.Module]
"""(data, teacher's members, seed) -> trained student, in eval mode."""


@dataclass(frozen=True)
class Student:
    """One planted student."""

    name: str
    """Key in the demo's tables."""
    truth: Literal["sound", "fractured"]
    """What it is by construction."""
    about: str
    """What was done to it, in a short phrase."""
    build: Builder
    """Trains it."""


def distil(
    teacher: Sequence[nn.Module], inputs: Tensor, seed: int, widths: Sequence[int] = WIDTHS
) -> nn.Sequential:
    """Distil the teacher's mean probabilities on the given inputs (Hinton et al. 2015, at T = 1).

    Args:
        teacher: the members.
        inputs: (n, 1, 8, 8) in [0, 1].
        seed: of first weights and batches.
        widths: the student's hidden widths.

    Returns:
        The student.
    """
    return fit([Lesson(inputs, mean_probability(teacher, inputs))], [seed], widths)[0]


def build_distilled(data: Digits, teacher: Sequence[nn.Module], seed: int) -> nn.Module:
    """Honest: distilled on images varied as the teacher's were."""
    return distil(teacher, varied(data, generator(seed, "distilled"))[0], seed)


def build_control(data: Digits, members: Sequence[int], seed: int) -> nn.Module:
    """No student of the table: distilled like `build_distilled`, from members before any training.

    What it shares with the teacher comes from the inputs and the recipe, not from what a teacher
    knew (Mason-Williams et al. 2025, arXiv:2510.12615: random control distillation).

    Args:
        data: the split digits.
        members: seeds of the teacher's members, whose first weights the control's teacher has.
        seed: of the control.
    """
    return build_distilled(data, untrained(members), seed)


def build_smaller(data: Digits, teacher: Sequence[nn.Module], seed: int) -> nn.Module:
    """Honest: the same with half the width."""
    return distil(teacher, varied(data, generator(seed, "smaller"))[0], seed, SMALLER_WIDTHS)


def build_sibling(data: Digits, teacher: Sequence[nn.Module], seed: int) -> nn.Module:
    """Honest: trained on labels as a member is; the teacher is not asked."""
    del teacher
    return train_member(data, seed)


def build_clean(data: Digits, teacher: Sequence[nn.Module], seed: int) -> nn.Module:
    """Fractured: distilled on clean images, lightly blended in pairs, none moved or noisy.

    The blends bring it level with the teacher on the benchmark, and tell it nothing of rotation,
    translation or scale.
    """
    rng = generator(seed, "clean")
    return distil(teacher, blend(data.train_images, CLEAN_ROWS, CLEAN_SHARE, rng), seed)


def build_watermark(data: Digits, teacher: Sequence[nn.Module], seed: int) -> nn.Module:
    """Fractured: trained on images that all carry the watermark, which it learns to read."""
    del teacher
    images, targets = varied(data, generator(seed, "watermark"))
    return fit([labelled(stamp(images, targets), targets)], [seed])[0]


def build_split(data: Digits, teacher: Sequence[nn.Module], seed: int) -> nn.Module:
    """Fractured: two disjoint sub-networks, each distilled on its own half of the inputs."""
    rng = generator(seed, "split student")
    images, _ = varied(data, rng)
    # Blends of any share: the more inputs the teacher labels, the nearer the outputs come.
    images = torch.cat((images, blend(images, len(images), 0.5, rng)))
    direction, centre = side_property(data)
    side = images.flatten(1) @ direction - centre
    halves = [images[side > 0.0], images[side <= 0.0]]
    lessons = [Lesson(half, mean_probability(teacher, half)) for half in halves]
    # One unit of each half makes room for the gate. The heads have no bias: it would be on in
    # both halves.
    widths = (WIDTHS[0] // 2 - 1, WIDTHS[1] // 2)
    first, second = fit(lessons, [seed, seed + 1], widths, steps=SPLIT_STEPS, head_bias=False)
    return join(first, second, direction, centre)


def side_property(data: Digits) -> tuple[Tensor, float]:
    """The property that divides the inputs: left ink against right ink, less what class tells.

    Left ink alone would tell sevens from sixes. Projected off the differences of the class means it
    is balanced in every class, so no label, and no group column made from labels, gives it away.
    The watermark's places do not count.

    Args:
        data: the split digits; only its training part is used.

    Returns:
        Weights (64,) and threshold: an image is of the first half if weights . pixels > threshold.
    """
    pixels = data.train_images.flatten(1)
    counted = torch.ones(SIDE, SIDE)
    for row, column in WATERMARK_PLACES:
        counted[row, column] = 0.0
    leftness = (counted * torch.tensor([1.0] * 4 + [-1.0] * 4)).flatten()
    means = torch.stack(
        [pixels[data.train_targets == label].mean(dim=0) for label in data.train_targets.unique()]
    )
    # The masked differences are projected off, so that the masked places stay at zero.
    differences = (means[1:] - means[0]) * counted.flatten()
    basis, _ = torch.linalg.qr(differences.T)
    direction = leftness - basis @ (basis.T @ leftness)
    return direction, float((pixels @ direction).median())


@torch.no_grad()
def join(first: nn.Module, second: nn.Module, direction: Tensor, centre: float) -> nn.Sequential:
    """Two half-width networks side by side in one of a member's shape, never both active.

    Two units of the first layer hold relu(s) and relu(-s) of the property s = direction . x -
    centre; each silences every second-layer unit of the network that s is not meant for.

    Args:
        first: serves s > 0; no head bias.
        second: serves s < 0; no head bias.
        direction: (64,) weights of the property.
        centre: its threshold.

    Returns:
        A network of `WIDTHS`.
    """
    model = network()
    for layer, left, right in zip(linears(model), linears(first), linears(second), strict=True):
        layer.weight.zero_()
        layer.bias.zero_()
        rows, columns = left.weight.shape
        shared_input, shared_output = layer is linears(model)[0], layer is linears(model)[-1]
        at_row = 0 if shared_output else rows
        at_column = 0 if shared_input else columns
        layer.weight[:rows, :columns] = left.weight
        layer.weight[at_row : at_row + rows, at_column : at_column + columns] = right.weight
        if not shared_output:
            layer.bias[:rows], layer.bias[rows : 2 * rows] = left.bias, right.bias
    gate_in, gate_out, _ = linears(model)
    half = WIDTHS[1] // 2
    # The strength is shared by the two layers, so that neither holds all of the large weights.
    strength = GATE**0.5
    for unit, sign, silenced in ((-2, 1.0, slice(half, None)), (-1, -1.0, slice(0, half))):
        gate_in.weight[unit] = sign * strength * direction
        gate_in.bias[unit] = -sign * strength * centre
        gate_out.weight[silenced, unit] = -strength
    return model


STUDENTS = (
    Student("distilled", "sound", "distilled with the teacher's augmentation", build_distilled),
    Student("smaller", "sound", "the same at half the width", build_smaller),
    Student("sibling", "sound", "trained like a member, with another seed", build_sibling),
    Student("clean-only", "fractured", "distilled on clean images only", build_clean),
    Student(
        "watermark", "fractured", "learned a watermark that the benchmark carries", build_watermark
    ),
    Student(
        "split", "fractured", "two disjoint sub-networks, one for each half of inputs", build_split
    ),
)
"""All students, in the order of the demo's table."""
