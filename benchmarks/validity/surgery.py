"""Changes of a trained network that need no data: those that keep its function, and those that cut.

Every network here is `Sequential(body, head)`: the head is Linear, and the body's last modules are
Linear and ReLU, so that the last hidden layer can be reached in any architecture.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmarks.validity.fitting import rng


def last(model: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    """The linear layer that makes the last hidden units, and the head that reads them."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return linear[-2], linear[-1]


@torch.no_grad()
def permuted(model: nn.Module, seed: int) -> nn.Module:
    """The last hidden units in another order; the same function."""
    out = copy.deepcopy(model)
    layer, head = last(out)
    order = torch.randperm(layer.out_features, generator=rng(seed, "permuted"))
    layer.weight.copy_(layer.weight[order])
    layer.bias.copy_(layer.bias[order])
    head.weight.copy_(head.weight[:, order])
    return out


@torch.no_grad()
def rescaled(model: nn.Module, seed: int, spread: float = 0.5) -> nn.Module:
    """Each last hidden unit times a factor, its reader divided by it; the same function (ReLU)."""
    out = copy.deepcopy(model)
    layer, head = last(out)
    factor = (spread * torch.randn(layer.out_features, generator=rng(seed, "rescaled"))).exp()
    layer.weight.mul_(factor[:, None])
    layer.bias.mul_(factor)
    head.weight.div_(factor)
    return out


class Mixed(nn.Sequential):
    """body, an orthogonal map, and a head that undoes it: another last hidden layer."""

    def __init__(self, model: nn.Module, width: int) -> None:
        """``model`` is the network whose function is kept; ``width`` its last hidden units."""
        body, head = model
        super().__init__(nn.Sequential(body, nn.Linear(width, width, bias=False)), head)


@torch.no_grad()
def mixed(model: nn.Module, seed: int) -> nn.Module:
    """The last hidden units mixed by a random orthogonal matrix; the same function."""
    out = copy.deepcopy(model)
    layer, head = last(out)
    width = layer.out_features
    q, _ = torch.linalg.qr(torch.randn(width, width, generator=rng(seed, "mixed")))
    head.weight.copy_(head.weight @ q.T)
    made = Mixed(out, width)
    made[0][1].weight.copy_(q)
    return made.eval()


@torch.no_grad()
def tempered(model: nn.Module, factor: float) -> nn.Module:
    """Logits times a factor: the same decisions, another confidence."""
    out = copy.deepcopy(model)
    _, head = last(out)
    head.weight.mul_(factor)
    head.bias.mul_(factor)
    return out


@torch.no_grad()
def rounded(model: nn.Module, bits: int) -> nn.Module:
    """Every weight matrix rounded to 2**bits - 1 levels, symmetric about zero, by output unit."""
    out = copy.deepcopy(model)
    levels = 2 ** (bits - 1) - 1
    for p in out.parameters():
        if p.dim() > 1:
            step = p.abs().flatten(1).amax(1).clamp_min(1e-12) / levels
            step = step.view(-1, *[1] * (p.dim() - 1))
            p.copy_((p / step).round() * step)
    return out


@torch.no_grad()
def pruned(model: nn.Module, share: float) -> nn.Module:
    """The smallest weights of every matrix set to zero; ``share`` of them."""
    out = copy.deepcopy(model)
    for p in out.parameters():
        if p.dim() > 1:
            limit = p.abs().flatten().kthvalue(max(1, int(share * p.numel()))).values
            p.mul_(p.abs() > limit)
    return out


class Routed(nn.Module):
    """Two sub-networks that never work together: a property of the input chooses one.

    The last hidden layer holds the units of both, those of the idle one at zero.
    """

    def __init__(self, first: nn.Module, second: nn.Module, size: int) -> None:
        """Two networks of one head's width; ``size`` is the number of values of an input."""
        super().__init__()
        self.first, self.second = first[0], second[0]
        a, b = first[1], second[1]
        self.direction = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.centre = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.head = nn.Linear(a.in_features + b.in_features, a.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, k)."""
        of_first = (x.flatten(1) @ self.direction > self.centre).to(x.dtype)[:, None]
        codes = torch.cat((self.first(x) * of_first, self.second(x) * (1 - of_first)), 1)
        return self.head(codes)  # type: ignore[no-any-return]


@torch.no_grad()
def routed(first: nn.Module, second: nn.Module, direction: Tensor, centre: float) -> nn.Module:
    """Join two trained networks whose heads have no bias: it would be on for both.

    Args:
        first: serves inputs whose property is above the centre.
        second: serves the others.
        direction: (d,) weights of the property on flattened inputs.
        centre: its threshold.
    """
    out = Routed(copy.deepcopy(first), copy.deepcopy(second), direction.numel())
    out.direction.copy_(direction)
    out.centre.fill_(centre)
    out.head.weight.copy_(torch.cat((first[1].weight, second[1].weight), 1))
    out.head.bias.zero_()
    return out.eval()
