"""Networks that several worlds build alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def mlp(
    inputs: int,
    widths: Sequence[int],
    outputs: int,
    *,
    start: Sequence[nn.Module] = (),
    head_bias: bool = True,
) -> nn.Module:
    """Linear and ReLU by turns after ``start``, and a linear head."""
    body = list(start)
    for before, after in zip((inputs, *widths), widths, strict=False):
        body += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*body), nn.Linear(widths[-1], outputs, bias=head_bias))
