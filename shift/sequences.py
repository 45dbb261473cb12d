"""Changes along the steps of a sequence (b, length, features); edges repeat their last value."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(x: Tensor, steps: int) -> Tensor:
    """Everything ``steps`` later (earlier if negative)."""
    at = torch.arange(x.shape[1], device=x.device) - steps
    return x[:, at.clamp(0, x.shape[1] - 1)]


def stretched(x: Tensor, factor: float) -> Tensor:
    """Slower about the middle by a factor above 1, faster below it; linear interpolation."""
    last = x.shape[1] - 1
    at = (torch.arange(x.shape[1], device=x.device) - last / 2) / factor + last / 2
    at = at.clamp(0, last)
    low = at.floor().long().clamp_max(max(last - 1, 0))
    share = (at - low)[:, None].to(x.dtype)
    return (1 - share) * x[:, low] + share * x[:, (low + 1).clamp_max(last)]


def trended(x: Tensor, rise: Tensor) -> Tensor:
    """A straight line added, from -rise at the first step to +rise at the last.

    Args:
        x: (b, length, features).
        rise: (features,) in the unit of each.
    """
    line = torch.linspace(-1, 1, x.shape[1], dtype=x.dtype, device=x.device)
    return x + line[:, None] * rise.to(x)


def smoothed(x: Tensor) -> Tensor:
    """Each step averaged with its two neighbours, the middle one weighing half."""
    return 0.5 * x + 0.25 * (moved(x, 1) + moved(x, -1))
