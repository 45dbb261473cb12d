"""Integrated gradients of a model's answer, for all measures of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from ringtest import blocks, rerun
from ringtest.measure import NotMeasurable, Setting
from ringtest.model import Model
from ringtest.probes.twin_spread import MEAN_OUTPUTS

STEPS: Final = 32
"""Points of the Gauss-Legendre rule along the way from the baseline."""
_NUMBERS: Final = 2**24
"""Attributions that are kept of one model; beyond that fewer rows are looked at."""
_LEAST: Final = 32
Answering = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From (b, ...) inputs or states, (b,) rows of the block and (b,) columns to (b,) answers."""


@dataclass(frozen=True)
class Asked:
    """Which answers are explained: the same rows, answers and baseline for every model."""

    at: Setting
    """Its rows are looked at."""
    target: Tensor
    """(m,) the column of the output that is explained for each row."""
    baseline: Tensor
    """(1, ...) the mean of all sampled inputs."""
    x: Tensor
    """(m, ...) the inputs of the rows."""
    spread: Tensor
    """(1, ...) standard deviation of each number of the inputs over all sampled rows."""


def asked(at: Setting, rows: int) -> Asked:
    """What is asked on at most so many of the sampled rows.

    The explained answer is the class that the members' mean output predicts, or the column in which
    that output is farthest from its mean. NotMeasurable for inputs that have no gradient.
    """
    whole = at.condition.inputs(at.data)
    if not whole.is_floating_point():
        raise NotMeasurable("inputs are integer tokens, along which there is no way")
    size = max(1, whole[0].numel())
    if size < 2:
        raise NotMeasurable("inputs are one number each: there is nothing to choose between")
    some, chosen = rerun.few(at, min(rows, max(_LEAST, _NUMBERS // size)))
    target = explained_column(at)[torch.from_numpy(chosen)]
    baseline, spread = _moments(whole, at)
    x = _floats(whole[torch.from_numpy(some.rows)])
    return Asked(some, target, baseline.to(x.dtype), x, spread.to(x.dtype))


def explained_column(at: Setting) -> Tensor:
    """(m,) column of the output that is explained for each sampled row, the same for every model.

    NotMeasurable where the outputs of the members are not known.
    """
    if MEAN_OUTPUTS not in at.shared:
        raise NotMeasurable("what the members answer is not known")
    outputs: Tensor = at.shared[MEAN_OUTPUTS]
    if at.task.name != "classification":
        outputs = (outputs - outputs.mean(0)).abs()
    return outputs.argmax(1)


def _moments(whole: Tensor, at: Setting) -> tuple[Tensor, Tensor]:
    """Mean and SD of each number of the inputs, computed once, a block of rows at a time."""
    key = "input moments"
    if key not in at.shared:
        first = whole[int(at.rows[0])].double()
        total, squares = torch.zeros_like(first), torch.zeros_like(first)
        for part in blocks.parts(len(at.rows)):
            moved = whole[torch.from_numpy(at.rows[part])].double() - first
            total, squares = total + moved.sum(0), squares + moved.square().sum(0)
        mean = total / len(at.rows)
        sd = (squares / len(at.rows) - mean.square()).clamp_min(0).sqrt()
        at.shared[key] = ((first + mean)[None], sd[None])
    found: tuple[Tensor, Tensor] = at.shared[key]
    return found


def _floats(x: Tensor) -> Tensor:
    x = x if x.dtype in (torch.float32, torch.float64) else x.float()
    return x.contiguous()  # captum takes views


def answer(model: Model, x: Tensor, rows: Tensor, target: Tensor) -> Tensor:
    """(b,) the explained answer: a logit over the mean of all logits, or a value.

    Args:
        model: told of a block by :func:`block`.
        x: (b, ...) inputs.
        rows: (b,) which rows of the block they belong to.
        target: (b,) column of the output.

    Log-probabilities over their mean are logits over theirs: scale the logits, and the answer and
    all that is explained of it scale alike.
    """
    outputs = model.outputs(x, rows)
    if model.task.name == "classification":
        outputs = outputs - outputs.mean(1, keepdim=True)
    target = target.to(outputs.device)
    return outputs.gather(1, target[:, None])[:, 0]


def block(model: Model, asked: Asked, part: slice) -> None:
    """Begin a block of the rows that are asked about."""
    rerun.inputs(model, asked.at, asked.at.rows[part])


def explain(
    answering: Answering, x: Tensor, rows: Tensor, target: Tensor, baseline: Tensor
) -> Tensor:
    """(b, ...) integrated gradients of the answers at (b, ...) inputs or states, by captum.

    At most BLOCK of them run at a time. NotMeasurable if the answer does not depend on them by any
    gradient.
    """
    from captum.attr import IntegratedGradients  # takes 2 s

    _check(answering, x[:1], rows[:1], target[:1])
    found = []
    for part in blocks.parts(len(x), max(1, blocks.BLOCK // STEPS)):
        at, wanted = rows[part], target[part]

        def forward(z: Tensor, at: Tensor = at, wanted: Tensor = wanted) -> Tensor:
            times = len(z) // len(at)  # captum lays whole copies of the rows behind each other
            return answering(z, at.repeat(times), wanted.repeat(times))

        gradients: Any = IntegratedGradients(forward)
        gradients.gradient_func = _gradients
        with torch.inference_mode(False):
            found.append(
                gradients.attribute(
                    x[part].detach().clone(),
                    baselines=baseline.clone(),
                    n_steps=STEPS,
                    method="gausslegendre",
                ).detach()
            )
    return torch.cat(found)


def _gradients(forward_fn: Any, inputs: Any, **_targets: Any) -> Any:
    """For captum: of the sum, since rows are independent. It asks for each row by itself."""
    with torch.enable_grad():
        return torch.autograd.grad(forward_fn(*inputs).sum(), inputs)


def _check(answering: Answering, x: Tensor, rows: Tensor, target: Tensor) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_(True)
        found = answering(leaf, rows, target)
        gradient = None
        if found.requires_grad:
            (gradient,) = torch.autograd.grad(found.sum(), leaf, allow_unused=True)
    if gradient is None:
        raise NotMeasurable("its answers do not depend on its inputs by any gradient")


def attributions(model: Model, asked: Asked) -> Tensor:
    """(m, ...) integrated gradients of what is asked; NotMeasurable if they say nothing."""
    found = []
    for part in blocks.parts(len(asked.x)):
        block(model, asked, part)
        x, target = asked.x[part], asked.target[part]
        found.append(
            explain(partial(answer, model), x, torch.arange(len(x)), target, asked.baseline)
        )
    return sane(torch.cat(found))


def sane(out: Tensor) -> Tensor:
    """The attributions; NotMeasurable if they say nothing."""
    if not bool(torch.isfinite(out).all()):
        raise NotMeasurable("its attributions hold NaN or infinity")
    if not bool((out != 0).any()):
        raise NotMeasurable("its answers do not change from the mean to any row")
    return out
