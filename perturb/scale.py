"""Units in which perturbations of inputs are counted."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ringtest.data import AuditData


def eps_unit(data: AuditData) -> Tensor:
    """What an eps of 1 is: the legal range, or without bounds the :func:`spread`.

    Returns:
        Float32 that broadcasts against a batch; 0 for what must not move.
    """
    return spread(data) if data.bounds is None else torch.tensor(data.bounds[1] - data.bounds[0])


def counted(unit: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """The unit on the device of (b, ...) rows, 0 where a (b, length) mask says padding."""
    unit = unit.to(x.device)
    if mask is None:
        return unit
    return unit * mask.to(unit).view(*mask.shape, *[1] * (x.ndim - mask.ndim))


def spread(data: AuditData) -> Tensor:
    """Standard deviation of each column of a table, channel of an image, feature of a sequence.

    Returns:
        Float32 of shape (1, ...) that broadcasts against a batch; 0 for what is constant.
    """
    x = data.inputs
    kept = {"table": set(range(1, x.ndim)), "image": {1} if x.ndim == 4 else set()}.get(
        data.modality or "", {x.ndim - 1}
    )
    over = tuple(d for d in range(x.ndim) if d not in kept)
    sd = torch.std(x.float(), dim=over, correction=0, keepdim=True)
    return torch.where(x.amax(dim=over, keepdim=True) > x.amin(dim=over, keepdim=True), sd, 0.0)


def is_positive(value: Any) -> bool:
    """Whether a severity is a finite number above 0."""
    try:
        return not isinstance(value, str) and 0 < float(value) < math.inf
    except (TypeError, ValueError):
        return False
