"""The demo's models: their architecture, and training of many of them at once.

A `Lesson` is what one model learns from, already drawn and augmented; `fit` trains one model per
lesson, all of one architecture, in a single run of batched matrix products. Models are small
enough that this costs about as much for five as for one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.nn.utils import skip_init

from ringtest.demo.digits import (
    AUGMENTATION,
    CLASSES,
    SIDE,
    Augmentation,
    Digits,
    augment,
    generator,
)

WIDTHS = (160, 160)
"""Hidden widths of the teacher's members."""

COPIES = 40
"""How many times each training image enters a lesson, each time varied anew."""

STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 1500, 128, 4e-3, 1e-3
"""The recipe of every model, unless a student says otherwise."""


@dataclass(frozen=True)
class Lesson:
    """What one model learns from."""

    inputs: Tensor
    """(n, 1, 8, 8) float32 in [0, 1]."""
    probabilities: Tensor
    """(n, 10): one-hot labels, or the teacher's mean probabilities."""


def network(widths: Sequence[int] = WIDTHS) -> nn.Sequential:
    """A ReLU perceptron with one named layer after another; its weights are *not* set.

    Args:
        widths: the hidden widths.

    Returns:
        `nn.Sequential` of `flatten, hidden1, relu1, ..., head`, (n, 1, 8, 8) -> (n, 10) logits, in
        eval mode.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    before = SIDE * SIDE
    for index, width in enumerate(widths, start=1):
        # A plain nn.Linear would draw weights from the global generator, only to lose them.
        layers[f"hidden{index}"] = skip_init(nn.Linear, before, width)
        layers[f"relu{index}"] = nn.ReLU()
        before = width
    layers["head"] = skip_init(nn.Linear, before, CLASSES)
    return nn.Sequential(layers).eval()


def linears(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of a model built by `network`, from input to head."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


@torch.no_grad()
def mean_probability(models: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """What an ensemble says: the mean of its members' probabilities.

    Args:
        models: members that return logits.
        inputs: (n, 1, 8, 8).

    Returns:
        (n, 10), rows summing to 1.
    """
    return torch.stack([model(inputs).softmax(dim=1) for model in models]).mean(dim=0)


def varied(
    data: Digits, rng: torch.Generator, amount: Augmentation = AUGMENTATION
) -> tuple[Tensor, Tensor]:
    """The training digits, many times over, each copy augmented anew.

    Args:
        data: the split digits; only its training part is used.
        rng: source of all draws.
        amount: how far images are varied.

    Returns:
        Images (n, 1, 8, 8) in [0, 1] and their targets (n,).
    """
    images = data.train_images.repeat(COPIES, 1, 1, 1)
    return augment(images, amount, rng), data.train_targets.repeat(COPIES)


def labelled(inputs: Tensor, targets: Tensor) -> Lesson:
    """A lesson from true labels: inputs (n, 1, 8, 8), targets (n,)."""
    return Lesson(inputs, one_hot(targets, CLASSES).to(inputs.dtype))


def member_lesson(data: Digits, seed: int) -> Lesson:
    """What a member of the teacher learns from: augmented digits and their labels."""
    return labelled(*varied(data, generator(seed, "member lesson")))


def train_members(
    data: Digits,
    seeds: Sequence[int],
    on_progress: Callable[[float], None] | None = None,
) -> list[nn.Sequential]:
    """Train members, or siblings of members, which differ in nothing but their seed.

    Args:
        data: the split digits.
        seeds: one per model: fixes its first weights, its augmentation and its batches.
        on_progress: called with the fraction done.

    Returns:
        One model per seed.
    """
    return fit([member_lesson(data, seed) for seed in seeds], seeds, on_progress=on_progress)


def untrained(seeds: Sequence[int], widths: Sequence[int] = WIDTHS) -> list[nn.Sequential]:
    """Members as `fit` begins with them, one per seed: the same first weights, and no training."""
    first = _first_weights(widths, [generator(seed, "fit") for seed in seeds])
    return [_unstack(index, widths, *first) for index in range(len(seeds))]


def train_member(data: Digits, seed: int) -> nn.Sequential:
    """Train one member or sibling; for several, `train_members` is far cheaper."""
    return train_members(data, [seed])[0]


def fit(
    lessons: Sequence[Lesson],
    seeds: Sequence[int],
    widths: Sequence[int] = WIDTHS,
    *,
    steps: int = STEPS,
    head_bias: bool = True,
    on_progress: Callable[[float], None] | None = None,
) -> list[nn.Sequential]:
    """Train one model per lesson by cross-entropy against the lesson's probabilities (AdamW).

    Args:
        lessons: what each model learns from.
        seeds: one per lesson: first weights and batches.
        widths: the hidden widths that all of them share.
        steps: how many updates.
        head_bias: False holds the head's bias at zero.
        on_progress: called with the fraction done.

    Returns:
        One model per lesson, in eval mode.
    """
    rngs = [generator(seed, "fit") for seed in seeds]
    weights, biases = _first_weights(widths, rngs)
    trained = [*weights, *(biases if head_bias else biases[:-1])]
    for parameter in trained:
        parameter.requires_grad_()
    # Fused: at this size the time goes into launching operations, not into arithmetic.
    optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    flat = [lesson.inputs.flatten(1) for lesson in lessons]
    for step in range(steps):
        rows = [
            torch.randint(len(inputs), (BATCH,), generator=rng)
            for inputs, rng in zip(flat, rngs, strict=True)
        ]
        batch = torch.stack([inputs[chosen] for inputs, chosen in zip(flat, rows, strict=True)])
        wanted = torch.stack(
            [lesson.probabilities[chosen] for lesson, chosen in zip(lessons, rows, strict=True)]
        )
        with torch.enable_grad():
            log_probabilities = _forward(batch, weights, biases).log_softmax(dim=2)
            # Summed over models: none of them feels how many others are trained beside it.
            loss = -(wanted * log_probabilities).sum(dim=(0, 2)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if on_progress is not None and step % 25 == 24:
            on_progress((step + 1) / steps)
    return [_unstack(index, widths, weights, biases) for index in range(len(lessons))]


def _first_weights(
    widths: Sequence[int], rngs: Sequence[torch.Generator]
) -> tuple[list[Tensor], list[Tensor]]:
    """Stacked weights (models, in, out) and zero biases (models, 1, out) of every layer."""
    sizes = (SIDE * SIDE, *widths, CLASSES)
    weights, biases = [], []
    for before, after in pairwise(sizes):
        # He et al. 2015, eq. 10.
        spread = (2.0 / before) ** 0.5
        drawn = [spread * torch.randn((before, after), generator=rng) for rng in rngs]
        weights.append(torch.stack(drawn))
        biases.append(torch.zeros(len(rngs), 1, after))
    return weights, biases


def _forward(batch: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Logits (models, rows, 10) of all models, each on its own rows (models, rows, 64)."""
    hidden = batch
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = torch.baddbmm(bias, hidden, weight).relu()
    return torch.baddbmm(biases[-1], hidden, weights[-1])


@torch.no_grad()
def _unstack(
    index: int, widths: Sequence[int], weights: list[Tensor], biases: list[Tensor]
) -> nn.Sequential:
    """One model out of the stack, as an ordinary module."""
    model = network(widths)
    for layer, weight, bias in zip(linears(model), weights, biases, strict=True):
        layer.weight.copy_(weight[index].T)
        layer.bias.copy_(bias[index, 0])
    return model
