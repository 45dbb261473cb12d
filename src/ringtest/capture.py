"""Forward hooks: which layers a model has, and what they show, block by block.

Discovery runs a few rows with hooks on every module. Of the modules that own parameters and on
which the output depends, the one *called last* is the head; its input, flattened, is the last
hidden layer. A second run with a row less tells which axis of a module's output counts the rows.
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
    batch: int = 0
    """Axis that counts the rows; 1 for recurrent layers that are not ``batch_first``."""


@dataclass(frozen=True)
class Layers:
    """The layers of one model in the order of their calls; the last is the last hidden one."""

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
    batch: int | None = 0
    """Axis of the output that counts the rows; None if there is none."""
    batch_in: int | None = 0
    """The same for the input."""


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
    with _thawed(module):
        calls, output = _trace(module, x)
        out = output_tensor(output)
        owners = [c for c in calls if _owns_parameters(c.module)]
        if not owners:
            return None
        head = _head(owners, out)
        _refuse_disguised_ensemble(subject, head, owners, out)
        _find_batch_axes(module, x, calls)
        used = "" if output_is_hidden else _used_after(head, owners, out)
    b = int(x.shape[0])
    if output_is_hidden:
        width = _width(out, b, "features", 0)
        last = Layer("output", "", "output", "features", width, _WHY_OUTPUT)
    elif used:
        last = Layer(
            f"output of {head.name}",
            head.name,
            "output",
            head.pool,
            _width(head.output, b, head.pool, head.batch),
            f"last module before the own parameters of {used}",
            head.batch or 0,
        )
    else:
        pool = _head_pool(head)
        last = Layer(
            f"input of {head.name or type(head.module).__name__}",
            head.name,
            "input",
            pool,
            _width(head.input, b, pool, head.batch_in),
            "input of the last module that owns parameters",
            head.batch_in or 0,
        )
    if last.width == 0:
        raise SubjectError(
            subject,
            f"the {last.name} has no axis that counts the {b} rows of its inputs",
            "give a model that keeps its rows apart, or a callable (outputs only)",
        )
    before = {c.name: c for c in calls if c.order < head.order and _usable(c.output, b, c.batch)}
    if output_is_hidden:
        before = {c.name: c for c in calls if c is not head and _usable(c.output, b, c.batch)}
    before.pop("", None)
    if wanted == "auto":
        names, left_out = _auto(module, before, "" if output_is_hidden else head.name)
        unmatched: tuple[str, ...] = ()
        why = "output of a top-level submodule, containers opened"
    else:
        patterns = [wanted] if isinstance(wanted, str) else list(wanted)
        names, left_out = _named(patterns, before), ()
        unmatched = tuple(p for p in patterns if not any(fnmatchcase(n, p) for n in before))
        why = "asked for"
    hidden = first_tensor(head.output if last.at == "output" else head.input)
    picked = [
        Layer(n, n, "output", c.pool, _width(c.output, b, c.pool, c.batch), why, c.batch or 0)
        for n in names
        for c in [before[n]]
        # What feeds the head directly is the last hidden layer itself.
        if output_is_hidden or not _same_data(first_tensor(c.output), hidden)
    ]
    picked = [layer for layer in picked if layer.width > 0]
    return Layers((*picked, last), left_out, tuple(before), unmatched)


_WHY_OUTPUT: Final = "the embedding itself"


@contextmanager
def _thawed(module: nn.Module) -> Iterator[None]:
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
        with torch.enable_grad():
            yield
    finally:
        for p in frozen:
            p.requires_grad_(False)


def _trace(module: nn.Module, x: Tensor) -> tuple[list[_Call], Any]:
    calls: list[_Call] = []
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
            elif isinstance(m, _CHANNELS_LAST):
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
            calls.append(_Call(name, m, out, given, here, len(calls)))

        return hook

    handles = [
        m.register_forward_hook(after(name), with_kwargs=True)
        for name, m in module.named_modules()
        # The inside of a weight norm and its like belongs to the layer that it shapes.
        if "parametrizations" not in name.split(".")
    ]
    try:
        output = module(x.clone())
    finally:
        for handle in handles:
            handle.remove()
    # A module called again counts where it was called last.
    final = {c.name: c for c in calls}
    return sorted(final.values(), key=lambda c: c.order), output


def _find_batch_axes(module: nn.Module, x: Tensor, calls: list[_Call]) -> None:
    """Compare with a run of one row less; a single row is guessed to lie first."""
    b = int(x.shape[0])
    if b < 2:
        return
    less = {c.name: c for c in _trace(module, x[:-1])[0]}
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


def _depends(out: Tensor | None, on: list[Tensor | None]) -> list[bool]:
    """Which tensors the output depends on, by its graph; none if it has no graph."""
    asked = [t for t in on if t is not None and t.requires_grad]
    if out is None or not out.requires_grad or not asked:
        return [False] * len(on)
    try:
        grads = iter(torch.autograd.grad(out.sum(), asked, allow_unused=True, retain_graph=True))
    except RuntimeError:  # an operation without a derivative
        return [False] * len(on)
    return [t is not None and t.requires_grad and next(grads) is not None for t in on]


def _head(owners: list[_Call], out: Tensor | None) -> _Call:
    """The innermost owner of parameters that is called last on the way to the output."""
    leaves = [
        c
        for c in owners
        # With layers inside, one with a parameter of its own (class token, scale) is a container.
        if not any(o is not c and (not c.name or o.name.startswith(f"{c.name}.")) for o in owners)
    ]
    used = _depends(out, [first_tensor(c.output) for c in leaves])
    return [c for c, counts in zip(leaves, used, strict=True) if counts or not any(used)][-1]


def _used_after(head: _Call, owners: list[_Call], out: Tensor | None) -> str:
    """Name of a container whose own weight matrix comes after its last layer; empty if none."""
    for c in owners:
        if c.order > head.order and (not c.name or head.name.startswith(f"{c.name}.")):
            own = [p for p in c.module.parameters(recurse=False) if p.ndim > 1 and p.numel() > 1]
            late = _depends(out, list(own))
            early = _depends(first_tensor(head.output), list(own))
            if any(a and not b for a, b in zip(late, early, strict=True)):
                return c.name or type(c.module).__name__
    return ""


def _owns_parameters(module: nn.Module) -> bool:
    if next(module.parameters(recurse=False), None) is not None:
        return True
    if hasattr(module, "parametrizations"):
        return True
    # Quantised modules keep packed weights outside of parameters().
    return type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.nn.quantized"))


def _refuse_disguised_ensemble(
    subject: str, head: _Call, owners: list[_Call], out: Tensor | None
) -> None:
    """Several heads of one shape, none fed by another, are members that should be a list."""
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
    upstream = _depends(first_tensor(head.input), [t for _, t in twins])
    # An auxiliary head that has no part in the output makes no ensemble.
    counts = _depends(out, [t for _, t in twins])
    for (call, _), feeds, counted in zip(twins, upstream, counts, strict=True):
        if counted and not feeds:
            raise SubjectError(
                subject,
                f"has heads of one shape ({call.name}, {head.name}): an ensemble in disguise",
                "pass a list of its members as the teacher; a student needs one head",
            )


def first_tensor(value: Any) -> Tensor | None:
    """The tensor that stands for a module's value: itself, or the first in a container."""
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


def output_tensor(value: Any) -> Tensor | None:
    """The tensor that is a model's output: itself, its ``logits``, or the first that it holds."""
    if isinstance(value, Tensor):
        return value
    logits = value.get("logits") if isinstance(value, dict) else getattr(value, "logits", None)
    return logits if isinstance(logits, Tensor) else first_tensor(value)


def pooled(value: Any, b: int, pool: Axis, batch: int | None = 0) -> Tensor | None:
    """A module's value as (b, features) floats; None if it does not hold one row per input."""
    tensor = first_tensor(value)
    if tensor is None or batch is None or tensor.is_nested or tensor.ndim < 2:
        return None
    if not (tensor.is_floating_point() or tensor.is_quantized):
        return None
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    tensor = tensor.movedim(batch, 0)
    if tensor.shape[0] != b:
        # Tokens folded into the rows, (b * k, d); discovery has checked their order.
        if b == 0 or tensor.shape[0] % b:
            return None
        tensor = tensor.unflatten(0, (b, -1))
    if tensor.ndim == 2 or pool == "flat":
        return tensor.reshape(b, -1)
    axes = range(1, tensor.ndim - 1) if pool == "features" else range(2, tensor.ndim)
    return tensor.mean(dim=tuple(axes))


def _usable(value: Any, b: int, batch: int | None) -> bool:
    return pooled(value, b, "features", batch) is not None


def _width(value: Any, b: int, pool: Axis, batch: int | None) -> int:
    tensor = pooled(value, b, pool, batch)
    return 0 if tensor is None else int(tensor.shape[1])


def _head_pool(head: _Call) -> Axis:
    """The head's input is flattened; tokens are averaged."""
    return "features" if isinstance(head.module, _CHANNELS_LAST) else "flat"


def _same_data(a: Tensor | None, b: Tensor | None) -> bool:
    return (
        a is not None and b is not None and a.data_ptr() == b.data_ptr() and a.numel() == b.numel()
    )


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


def _auto(
    module: nn.Module, before: dict[str, _Call], head: str
) -> tuple[list[str], tuple[str, ...]]:
    """Top-level submodules, containers opened, at most MAX_LAYERS - 1 of them, evenly spread."""
    names: list[str] = []

    def visit(parent: nn.Module, prefix: str) -> None:
        for name, child in parent.named_children():
            path = f"{prefix}{name}"
            # What holds the head (the model inside a wrapper) is opened, too.
            if _is_stack(child) or head.startswith(f"{path}."):
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
    passed = tuple(
        f"{n}: more than {MAX_LAYERS} layers" for i, n in enumerate(names) if i not in keep
    )
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
        tensor = pooled(value, self.rows, layer.pool, layer.batch)
        if tensor is not None:
            # A copy: what comes next may work in place.
            self.values[layer.name] = tensor.detach().to("cpu", torch.float32, copy=True)


@contextmanager
def capturing(module: nn.Module, layers: tuple[Layer, ...]) -> Iterator[Capture]:
    """Hook some layers for the duration; all hooks are gone afterwards."""
    capture = Capture(layers)
    handles = []
    for layer in layers:
        target = module.get_submodule(layer.module)
        if layer.at == "output":

            def after(_m: nn.Module, _args: Any, out: Any, layer: Layer = layer) -> None:
                capture.store(layer, out if layer.module else output_tensor(out))

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
