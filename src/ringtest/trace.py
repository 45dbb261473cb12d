"""A trial run of a few rows with hooks on every module: who is called, and what depends on what."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from ringtest.capture import Axis, first_tensor

_CHANNELS_FIRST: Final = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.Upsample,
)
CHANNELS_LAST: Final = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)

Run = Callable[[Tensor], Any]
"""Runs a model on the first rows of a block, with whatever goes along with them."""


@dataclass
class Call:
    """A module as it was called last."""

    name: str
    module: nn.Module
    output: Any
    input: Any
    pool: Axis
    order: int
    batch: int | None = 0
    """Axis of the output that counts the rows; None if there is none."""
    batch_in: int | None = 0
    """The same for the input."""


@contextmanager
def thawed(module: nn.Module) -> Iterator[None]:
    """Frozen parameters would leave no trace of what depends on what."""
    frozen = [p for p in module.parameters() if p.is_floating_point() and not p.requires_grad]
    if any(p.is_inference() for p in module.parameters()):
        # Made under inference mode, they can have no graph.
        with torch.no_grad():
            yield
        return
    try:
        for p in frozen:
            p.requires_grad_(True)
        with torch.enable_grad(), warnings.catch_warnings():
            # Quantised operations say that they have none; here it only means no graph.
            warnings.filterwarnings("ignore", ".*an autograd kernel was not registered")
            yield
    finally:
        for p in frozen:
            p.requires_grad_(False)


def trace(module: nn.Module, x: Tensor, run: Run | None = None) -> tuple[list[Call], Any]:
    """All modules in the order of their last calls, and the model's output.

    Args:
        module: the model.
        x: (b, ...) the first rows of a block.
        run: how it is called on them; None: on a copy.
    """
    calls: list[Call] = []
    pool: Axis = "features"
    width = 0

    def after(name: str) -> Any:
        def hook(m: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            nonlocal pool, width
            tensor = first_tensor(out)
            shape = () if tensor is None or tensor.is_nested else tuple(tensor.shape)
            typed: Axis | None = None
            if isinstance(m, _CHANNELS_FIRST):
                typed = "channels"
            elif isinstance(m, CHANNELS_LAST):
                typed = "features"
            if typed is not None and len(shape) > 1:
                pool, width = typed, shape[1 if typed == "channels" else -1]
            here = pool
            # A block that turns its axes (patches to tokens, a gate of Linear on channels) shows
            # the width of its last typed layer on the other axis.
            if typed is None and len(shape) > 2 and shape[1] != shape[-1]:
                if shape[1] == width:
                    here = "channels"
                elif shape[-1] == width:
                    here = "features"
            given = args if args else tuple(kwargs.values())
            calls.append(Call(name, m, out, given, here, len(calls)))

        return hook

    handles = [
        m.register_forward_hook(after(name), with_kwargs=True)
        for name, m in module.named_modules()
        # The inside of a weight norm and its like belongs to the layer that it shapes.
        if "parametrizations" not in name.split(".")
    ]
    try:
        output = module(x.clone()) if run is None else run(x)
    finally:
        for handle in handles:
            handle.remove()
    # A module called again counts where it was called last.
    final = {c.name: c for c in calls}
    return sorted(final.values(), key=lambda c: c.order), output


def find_batch_axes(
    module: nn.Module, x: Tensor, calls: list[Call], run: Run | None = None
) -> None:
    """Compare with a run of one row less; a single row is guessed to lie first."""
    b = int(x.shape[0])
    if b < 2:
        return
    less = {c.name: c for c in trace(module, x[:-1], run)[0]}
    for call in calls:
        if call.name in less:
            call.batch = _batch_axis(call.output, less[call.name].output, b)
            call.batch_in = _batch_axis(call.input, less[call.name].input, b)


def _batch_axis(value: Any, less: Any, b: int) -> int | None:
    """0 or 1: the axis that went from b to b - 1; 0 also from b * k to (b - 1) * k, in order."""
    a, c = first_tensor(value), first_tensor(less)
    if a is None or c is None or a.ndim != c.ndim or a.is_nested or c.is_nested:
        return None
    changed = [i for i in range(a.ndim) if a.shape[i] != c.shape[i]]
    if len(changed) != 1 or changed[0] > 1:
        return None
    axis = changed[0]
    if a.shape[axis] == b and c.shape[axis] == b - 1:
        return axis
    folded = axis == 0 and a.shape[0] % b == 0 and c.shape[0] == a.shape[0] // b * (b - 1)
    if folded and a.is_floating_point() and torch.allclose(a[: c.shape[0]], c, 1e-3, 1e-4):
        return 0
    return None


def depends(out: Tensor | None, on: list[Tensor | None]) -> list[bool]:
    """Which tensors the output depends on, by its graph; none if it has no graph."""
    asked = [t for t in on if t is not None and t.requires_grad]
    if out is None or not out.requires_grad or not asked:
        return [False] * len(on)
    try:
        grads = iter(torch.autograd.grad(out.sum(), asked, allow_unused=True, retain_graph=True))
    except RuntimeError:  # an operation without a derivative
        return [False] * len(on)
    return [t is not None and t.requires_grad and next(grads) is not None for t in on]
