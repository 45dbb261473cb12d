"""What the conditions of this area share: what data they fit, statistics, pools and draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Estimate
from ringtest.tasks import AnyTask

POOL_NUMBERS: Final = 2**26
"""A pool of rows holds at most this many numbers (256 MB), whatever the size of a row."""
POOL_LEAST: Final = 64
"""A pool has so many rows even if they are larger than that."""


def holds_targets(condition: Condition, task: AnyTask) -> bool:
    """Whether there are targets, and they are right for the rows that a condition shows."""
    return condition.keeps_targets and condition.keeps_rows and task.targets is not None


def of_rows(estimate: Estimate, n: int) -> Estimate:
    """The same, told to rest on ``n`` of the rows: the units of its error may be all of them."""
    return replace(estimate, n=n)


def is_numeric(data: AuditData) -> bool:
    """Whether the inputs are real numbers, of any modality."""
    return data.rows.main.is_floating_point()


def is_images(data: AuditData) -> bool:
    """Whether the inputs are (n, channels, height, width) real numbers."""
    return data.modality == "image" and data.inputs.ndim == 4 and is_numeric(data)


def is_table(data: AuditData) -> bool:
    """Whether the inputs are (n, columns) real numbers of a table."""
    return data.modality == "table" and data.inputs.ndim == 2 and is_numeric(data)


def is_tokens(data: AuditData) -> bool:
    """Whether the inputs are (n, length) integer tokens."""
    return data.modality == "tokens" and data.inputs.ndim == 2 and not is_numeric(data)


def value_range(data: AuditData) -> tuple[float, float]:
    """The data's bounds, or else the least and the largest value that they hold."""
    if data.bounds is not None:
        return data.bounds
    return float(data.inputs.min()), float(data.inputs.max())


def moments(data: AuditData) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each unit of the inputs.

    A unit is a column of a table, a channel of an image, a feature of a sequence (over all
    positions). A constant unit has standard deviation exactly 0, so that it stays untouched.

    Returns:
        Two float32 tensors of shape (1, ...) that broadcast against a batch.
    """
    x = data.inputs
    kept = {"table": set(range(1, x.ndim)), "image": {1} if x.ndim == 4 else set()}.get(
        data.modality or "", {x.ndim - 1}
    )
    over = tuple(d for d in range(x.ndim) if d not in kept)
    variance, mean = torch.var_mean(x.float(), dim=over, correction=0, keepdim=True)
    varies = x.amax(dim=over, keepdim=True) > x.amin(dim=over, keepdim=True)
    return mean, torch.where(varies, variance.sqrt(), 0.0)


def pool(inputs: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """At most ``most`` different rows, as float32 (m, d); fewer where rows are very large."""
    n, width = inputs.shape[0], inputs[0].numel()
    rows = min(n, most, max(POOL_LEAST, POOL_NUMBERS // width))
    if rows < n:
        chosen = torch.randperm(n, generator=rng, device=rng.device)[:rows].sort().values
        inputs = inputs[chosen.to(inputs.device)]
    return inputs.reshape(rows, width).float()


def inside(changed: Tensor, x: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    """The changed rows in the shape and type of ``x``, clipped to the bounds if there are any."""
    if bounds is not None:
        changed = changed.clamp(*bounds)
    return changed.reshape(x.shape).to(x.dtype)


def normal(shape: tuple[int, ...] | torch.Size, rng: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal draws on the device of ``like``.

    Drawn where the generator lives and moved, so that one seed gives one condition on any device.
    """
    return torch.randn(shape, generator=rng, device=rng.device).to(like.device)


def uniform(shape: tuple[int, ...] | torch.Size, rng: torch.Generator, like: Tensor) -> Tensor:
    """Draws from [0, 1) on the device of ``like``."""
    return torch.rand(shape, generator=rng, device=rng.device).to(like.device)


def integers(
    below: int, shape: tuple[int, ...] | torch.Size, rng: torch.Generator, like: Tensor
) -> Tensor:
    """Draws from 0 .. below - 1 on the device of ``like``."""
    return torch.randint(below, shape, generator=rng, device=rng.device).to(like.device)


def signs(rows: int, rng: torch.Generator, like: Tensor) -> Tensor:
    """(rows,) draws of -1.0 or 1.0."""
    return integers(2, (rows,), rng, like).float() * 2 - 1
