"""What a model's outputs can be differentiated with respect to, on a few rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from ringtest.errors import SubjectError
from ringtest.intervene import calls, editing
from ringtest.model import Model


def of_inputs(model: Model, x: Tensor) -> bool:
    """Whether outputs have a true gradient, not all zero, with respect to inputs."""
    if not x.is_floating_point() or _passes_straight_through(model.module):
        return False
    few = slice(0, 2)
    probe = x[few].clone().requires_grad_(True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*an autograd kernel was not registered")
            out = model.outputs(probe, few)
            if not out.requires_grad:
                return False
            (grad,) = torch.autograd.grad(out.square().sum(), probe)
    except (RuntimeError, SubjectError):
        return False
    # All zero: something inside rounds, and an attack would climb nowhere.
    return bool(torch.isfinite(grad).all()) and bool((grad != 0).any())


def of_layers(model: Model, x: Tensor) -> bool:
    """Whether the outputs on tokens have a true gradient, not all zero, with respect to layers.

    The last hidden layer must have one. Another may have none, if no way leads from it, but an all
    zero one says that something on the way rounds.
    """
    if model.module is None or model.layers is None or x.is_floating_point():
        return False
    if _passes_straight_through(model.module) or _quantised(model.module):
        return False
    few = slice(0, 2)
    x = x[few]
    seen: dict[str, Tensor] = {}
    try:
        with torch.enable_grad(), ExitStack() as stack:
            for layer in model.layers.picked:
                times = calls(model.module, layer, lambda: model.run(x, few))
                keep = partial(_kept, seen, layer.name)
                stack.enter_context(editing(model.module, layer, keep, times - 1))
            out = model.outputs(x, few)
            if not out.requires_grad or model.layers.names[-1] not in seen:
                return False
            grads: Sequence[Tensor | None] = torch.autograd.grad(
                out.square().sum(), list(seen.values()), allow_unused=True
            )
    except (RuntimeError, SubjectError):
        return False
    found = dict(zip(seen, grads, strict=True))
    return found[model.layers.names[-1]] is not None and all(
        bool(torch.isfinite(grad).all()) and bool((grad != 0).any())
        for grad in grads
        if grad is not None
    )


def _quantised(module: nn.Module) -> bool:
    """Layers that round what they show give no gradient, or a false one, to what is before them."""
    return any(".quantized" in type(m).__module__ for m in module.modules())


def _kept(seen: dict[str, Tensor], name: str, values: Tensor) -> Tensor:
    values = values if values.requires_grad else values.detach().requires_grad_(True)
    seen[name] = values
    return values.clone()  # what comes next may work in place


def _passes_straight_through(module: nn.Module | None) -> bool:
    """Fake quantisation hands gradients on that are not those of the function it computes."""
    return module is not None and any(
        base.__name__ == "FakeQuantizeBase" for m in module.modules() for base in type(m).__mro__
    )
