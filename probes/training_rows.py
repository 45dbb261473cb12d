"""What probes share that are fitted on the rows of all folds but one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RELATIVE = 1e-12
"""A unit whose variance on the training rows is less than this share of its mean square is constant
there: less is rounding."""


@dataclass(frozen=True)
class Scale:
    """How each fold's training rows standardise a layer."""

    weight: Tensor
    """(F, m) 1 over the number of training rows on those of the fold, else 0."""
    centre: Tensor
    """(F, d) means over the training rows."""
    inverse: Tensor
    """(F, d) 1 over their standard deviation; 0 for units that are constant there."""

    @property
    def live(self) -> Tensor:
        """(F, d) whether a unit varies on the training rows."""
        return self.inverse > 0


def training(fold: Tensor) -> Tensor:
    """(F, m) float64 weights of the rows that each fold's probe is fitted on; they sum to 1."""
    others = torch.stack([fold != f for f in range(int(fold.max()) + 1)]).double()
    return others / others.sum(1, keepdim=True)


def scale(x: Tensor, fold: Tensor) -> Scale:
    """Means and standard deviations of (m, d) float64 rows, without each fold in turn.

    The rows should be about standardised as a whole: offsets would leave rounding behind.
    """
    weight = training(fold)
    centre = weight @ x
    square = weight @ x.square()
    variance = square - centre.square()
    live = variance > RELATIVE * square
    inverse = torch.where(live, variance, torch.ones_like(variance)).rsqrt() * live
    return Scale(weight, centre, inverse)


def own(values: Tensor, fold: Tensor) -> Tensor:
    """(..., m, q) what each row's own fold says of it, from (..., F, q, m)."""
    rows = torch.arange(fold.shape[0])
    # Two index arrays with a slice between them come first: (m, ..., q).
    return values[..., fold, :, rows].movedim(0, -2)
