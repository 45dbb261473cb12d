"""What attacks climb: (b, classes) logits and (b,) classes -> (b,) losses, larger is worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Logit of the true class over the best other one; negative where the model is wrong.

    >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """
    true = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return true[:, 0] - others.amax(dim=1)


def deficit(logits: Tensor, y: Tensor) -> Tensor:
    """Minus the margin: above 0 where the model is wrong. Carlini & Wagner 2017, f_6."""
    return -margin(logits, y)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each row. Its gradient vanishes where logits are large."""
    return functional.cross_entropy(logits, y, reduction="none")


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: minus the margin over (largest - third largest logit).

    Neither a shift nor a scale of the logits changes it, so a temperature cannot mask it. With two
    classes there is no third logit, and it is minus the margin, whose gradient has the sign that
    counts. Croce & Hein 2020 (arXiv:2003.01690), section 4.
    """
    loss = -margin(logits, y)
    if logits.shape[1] < 3:
        return loss
    top = logits.topk(3, dim=1).values
    return loss / (top[:, 0] - top[:, 2]).clamp(min=torch.finfo(logits.dtype).tiny)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Difference of logits ratio towards one class: -(z_y - z_t) / (z_1 - (z_3 + z_4) / 2).

    Args:
        logits: (b, classes); z_1, z_3 and z_4 are the largest, third and fourth of a row.
        y: (b,) true classes.
        target: (b,) classes to reach.

    With fewer than four classes it is the difference alone, whose gradient has the sign that
    counts. Croce & Hein 2020 (arXiv:2003.01690), equation 7.
    """
    pair = logits.gather(1, torch.stack([y, target], dim=1))
    loss = pair[:, 1] - pair[:, 0]
    if logits.shape[1] < 4:
        return loss
    top = logits.topk(4, dim=1).values
    spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return loss / spread.clamp(min=torch.finfo(logits.dtype).tiny)


LOSSES: Final[Mapping[str, Loss]] = {"ce": cross_entropy, "dlr": dlr}
"""The losses of which an attack takes, for each example, the worst case."""
