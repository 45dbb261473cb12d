"""Forward hooks: which layers a model has, and what they show, block by block.

Discovery runs a few rows once with hooks on every module. The module that owns parameters and is
*called last* is the head; its input, flattened, is the last hidden layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from ringtest.errors import SubjectError

MAX_LAYERS: Final = 12
Axis = Literal["features", "channels", "flat"]
"""How a layer's output is pooled: mean over all axes between batch and the last (``features``),
mean over all axes after the second (``channels``), or not at all (``flat``)."""

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
_CHANNELS_LAST: Final = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
_SILENT: Final = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
"""Modules that change no representation in evaluation mode."""
_OPENED: Final = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Layer:
    """One place where a representation is read."""

    name: str
    """Module's name; the last hidden layer is ``input of HEAD``."""
    module: str
    """Name of the module that carries the hook."""
    at: Literal["output", "input"]
    pool: Axis
    width: int
    """Features after pooling."""
    why: str
    """Why it was picked."""


@dataclass(frozen=True)
class Layers:
    """The layers of one model, in the order in which they are called; the last is the last hidden."""

    picked: tuple[Layer, ...]
    left_out: tuple[str, ...] = ()
    """Names that ``auto`` passed over, with the reason."""
    known: tuple[str, ...] = ()
    """Modules before the head that could be asked for."""
    unmatched: tuple[str, ...] = ()
    """Patterns that were asked for and match nothing here."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names in call order."""
        return tuple(layer.name for layer in self.picked)

    @property
    def last(self) -> Layer:
        """The last hidden layer."""
        return self.picked[-1]

    def depth(self, name: str) -> float:
        """Relative depth in [0, 1]; the last hidden layer is at 1."""
        return relative_depth(self.names, name)


def relative_depth(names: tuple[str, ...], name: str) -> float:
    """Place of a layer among the layers read, in [0, 1]; a lone one is the last hidden layer."""
    return names.index(name) / (len(names) - 1) if len(names) > 1 else 1.0


@dataclass
class _Call:
    name: str
    module: nn.Module
    output: Any
    input: Any
    pool: Axis
    order: int


def discover(
    subject: str,
    module: nn.Module,
    x: Tensor,
    wanted: str | list[str] = "auto",
    output_is_hidden: bool = False,
) -> Layers | None:
    """Find the layers of a model on a few rows.

    Args:
        subject: name for messages.
        module: the model, in evaluation mode.
        x: (b, ...) a few rows; b should not equal another axis.
        wanted: ``auto``, or names and globs of modules.
        output_is_hidden: the output itself is the last hidden layer (embedding models).

    Returns:
        The layers, or None if no module that owns parameters is called.

    Raises SubjectError for a model that is an ensemble in disguise. Patterns that match nothing are
    told in the result, since teacher and student may name their modules differently.
    """
    calls, output = _trace(module, x)
    owners = [c for c in calls if _owns_parameters(c.module)]
    if not owners:
        return None
    head = owners[-1]
    _refuse_disguised_ensemble(subject, head, owners, output)
    b = int(x.shape[0])
    if output_is_hidden:
        last = Layer("output", "", "output", "features", _width(output, b, "features"), _WHY_OUTPUT)
    else:
        pool = _head_pool(head)
        last = Layer(
            f"input of {head.name or type(head.module).__name__}",
            head.name,
            "input",
            pool,
            _width(head.input, b, pool),
            "input of the last module that owns parameters",
        )
    before = {c.name: c for c in calls if c.order < head.order and _usable(c.output, b)}
    if output_is_hidden:
        before = {c.name: c for c in calls if c is not head and _usable(c.output, b)}
    before.pop("", None)
    if wanted == "auto":
        names, left_out = _auto(module, before)
        unmatched: tuple[str, ...] = ()
        why = "output of a top-level submodule, containers opened"
    else:
        patterns = [wanted] if isinstance(wanted, str) else list(wanted)
        names, left_out = _named(patterns, before), ()
        unmatched = tuple(p for p in patterns if not any(fnmatchcase(n, p) for n in before))
        why = "asked for"
    hidden = first_tensor(head.input)
    picked = [
        Layer(n, n, "output", c.pool, _width(c.output, b, c.pool), why)
        for n in names
        for c in [before[n]]
        # What feeds the head directly is the last hidden layer itself.
        if output_is_hidden or not _same_data(first_tensor(c.output), hidden)
    ]
    picked = [layer for layer in picked if layer.width > 0]
    return Layers((*picked, last), left_out, tuple(before), unmatched)


_WHY_OUTPUT: Final = "the embedding itself"


def _trace(module: nn.Module, x: Tensor) -> tuple[list[_Call], Any]:
    calls: list[_Call] = []
    pool: Axis = "features"

    def after(name: str) -> Any:
        def hook(m: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            nonlocal pool
            if isinstance(m, _CHANNELS_FIRST):
                pool = "channels"
            elif isinstance(m, _CHANNELS_LAST):
                pool = "features"
            given = args if args else tuple(kwargs.values())
            calls.append(_Call(name, m, out, given, pool, len(calls)))

        return hook

    handles = [
        m.register_forward_hook(after(name), with_kwargs=True) for name, m in module.named_modules()
    ]
    try:
        with torch.enable_grad():
            output = module(x)
    finally:
        for handle in handles:
            handle.remove()
    # A module called again counts where it was called last.
    final = {c.name: c for c in calls}
    return sorted(final.values(), key=lambda c: c.order), output


def _owns_parameters(module: nn.Module) -> bool:
    if next(module.parameters(recurse=False), None) is not None:
        return True
    # Quantised modules keep packed weights outside of parameters().
    return type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.nn.quantized"))


def _refuse_disguised_ensemble(
    subject: str, head: _Call, owners: list[_Call], output: Any
) -> None:
    """Several heads of one shape, none fed by another, are members that should be a list."""
    out = first_tensor(output)
    shapes = [tuple(p.shape) for p in head.module.parameters()]
    here = first_tensor(head.output)
    if out is None or here is None or here.shape != out.shape or not shapes:
        return
    twins = []
    for call in owners:
        tensor = first_tensor(call.output)
        same = [tuple(p.shape) for p in call.module.parameters()] == shapes
        if call is not head and same and tensor is not None and tensor.shape == out.shape:
            twins.append((call, tensor))
    fed = first_tensor(head.input)
    for call, tensor in twins:
        if not tensor.requires_grad or fed is None:
            continue
        upstream = fed.requires_grad and (
            torch.autograd.grad(fed.sum(), tensor, allow_unused=True, retain_graph=True)[0] is not None
        )
        if not upstream:
            raise SubjectError(
                subject,
                f"has several heads of one shape ({call.name}, {head.name}): an ensemble in one module",
                "pass a list of its members as the teacher; a student needs one head",
            )


def first_tensor(value: Any) -> Tensor | None:
    """The tensor that stands for a module's value: itself, or the first in a tuple, list or dict."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            found = first_tensor(item)
            if found is not None:
                return found
    return None


def _batch_first(tensor: Tensor, b: int) -> Tensor | None:
    """The tensor with the batch axis first, or None if it has none."""
    if tensor.ndim >= 1 and tensor.shape[0] == b:
        return tensor
    if tensor.ndim >= 3 and tensor.shape[1] == b:
        return tensor.transpose(0, 1)
    return None


def pooled(value: Any, b: int, pool: Axis) -> Tensor | None:
    """A module's value as (b, features) floats; None if it does not hold one row per input."""
    tensor = first_tensor(value)
    tensor = None if tensor is None else _batch_first(tensor, b)
    if tensor is None or tensor.ndim < 2 or not (tensor.is_floating_point() or tensor.is_quantized):
        return None
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    if tensor.ndim == 2 or pool == "flat":
        return tensor.reshape(b, -1)
    axes = range(1, tensor.ndim - 1) if pool == "features" else range(2, tensor.ndim)
    return tensor.mean(dim=tuple(axes))


def _usable(value: Any, b: int) -> bool:
    return pooled(value, b, "features") is not None


def _width(value: Any, b: int, pool: Axis) -> int:
    tensor = pooled(value, b, pool)
    return 0 if tensor is None else int(tensor.shape[1])


def _head_pool(head: _Call) -> Axis:
    """The head's input is flattened; tokens are averaged."""
    return "features" if isinstance(head.module, _CHANNELS_LAST) else "flat"


def _same_data(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.data_ptr() == b.data_ptr() and a.numel() == b.numel()


def _is_stack(module: nn.Module) -> bool:
    """Whether a module is a container of layers: opened instead of read."""
    if isinstance(module, _OPENED):
        return True
    if next(module.parameters(recurse=False), None) is not None:
        return False
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len(child) > 1:
            return True
        if isinstance(child, nn.Sequential):
            kinds = [type(c) for c in child if any(True for _ in c.parameters())]
            if len(kinds) > 1 and len(set(kinds)) == 1 and kinds[0] not in (nn.Linear, nn.Conv2d):
                return True
        elif not isinstance(child, nn.ModuleList) and _is_stack(child):
            return True
    return False


def _auto(module: nn.Module, before: dict[str, _Call]) -> tuple[list[str], tuple[str, ...]]:
    """Top-level submodules, containers opened, at most MAX_LAYERS - 1 of them, evenly spread."""
    names: list[str] = []

    def visit(parent: nn.Module, prefix: str) -> None:
        for name, child in parent.named_children():
            path = f"{prefix}{name}"
            if _is_stack(child):
                visit(child, f"{path}.")
            elif path in before and not isinstance(child, _SILENT):
                names.append(path)

    visit(module, "")
    children = [n for n, _ in module.named_children()]
    if not names and len(children) == 1:
        # A wrapper around one model: look inside.
        inner = module.get_submodule(children[0])
        visit(inner, f"{children[0]}.")
    names.sort(key=lambda n: before[n].order)
    limit = MAX_LAYERS - 1
    if len(names) <= limit:
        return names, ()
    keep = {round(i * (len(names) - 1) / (limit - 1)) for i in range(limit)}
    chosen = [n for i, n in enumerate(names) if i in keep]
    passed = tuple(f"{n}: more than {MAX_LAYERS} layers" for i, n in enumerate(names) if i not in keep)
    return chosen, passed


def _named(patterns: list[str], before: dict[str, _Call]) -> list[str]:
    chosen = [n for n in before if any(fnmatchcase(n, p) for p in patterns)]
    return sorted(chosen, key=lambda n: before[n].order)


@dataclass
class Capture:
    """Representations of the current block by layer name, filled by hooks."""

    layers: tuple[Layer, ...]
    rows: int = 0
    """Rows of the current block; set before each forward pass."""
    values: dict[str, Tensor] = field(default_factory=dict)
    """name -> (b, d) float tensors."""

    def store(self, layer: Layer, value: Any) -> None:
        """Keep a module's value, pooled."""
        tensor = pooled(value, self.rows, layer.pool)
        if tensor is not None:
            self.values[layer.name] = tensor.detach().float().cpu()


@contextmanager
def capturing(module: nn.Module, layers: tuple[Layer, ...]) -> Iterator[Capture]:
    """Hook some layers for the duration; all hooks are gone afterwards."""
    capture = Capture(layers)
    handles = []
    for layer in layers:
        target = module.get_submodule(layer.module)
        if layer.at == "output":

            def after(_m: nn.Module, _args: Any, out: Any, layer: Layer = layer) -> None:
                capture.store(layer, out)

            handles.append(target.register_forward_hook(after))
        else:

            def before(
                _m: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], layer: Layer = layer
            ) -> None:
                capture.store(layer, args if args else tuple(kwargs.values()))

            handles.append(target.register_forward_pre_hook(before, with_kwargs=True))
    try:
        yield capture
    finally:
        for handle in handles:
            handle.remove()
