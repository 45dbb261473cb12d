"""Forward hooks: what the layers of a model show, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.hooks import RemovableHandle

Axis = Literal["features", "channels", "flat", "step"]
"""How a layer's output is pooled: mean over all axes between batch and the last (``features``),
mean over all axes after the second (``channels``), not at all (``flat``), or, for the input of a
head that answers every step, only the step whose answer is the model's output (``step``)."""


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
    """The tensor that is a model's output.

    It is the value itself, its ``logits``, its ``sentence_embedding`` (sentence-transformers), or
    the first tensor that it holds.
    """
    if isinstance(value, Tensor):
        return value
    for name in ("logits", "sentence_embedding"):
        found = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        if isinstance(found, Tensor):
            return found
    return first_tensor(value)


def step_read(answers: Any, out: Any, batch: int | None) -> Tensor | None:
    """Which step of a head's answers is the model's output, for each row.

    Args:
        answers: (b, steps, k) what the head gave, rows on axis ``batch``.
        out: (b, k) what the model gave.
        batch: axis of ``answers`` that counts the rows.

    Returns:
        (b,) numbers of steps; None if the output is not one of several steps.
    """
    a, o = first_tensor(answers), output_tensor(out)
    if a is None or o is None or batch is None or a.ndim != 3 or o.ndim != 2:
        return None
    a = a.movedim(batch, 0)
    if a.shape[1] < 2 or (a.shape[0], a.shape[2]) != tuple(o.shape):
        return None
    o = o[:, None]
    same = ((a == o) | (a.isnan() & o.isnan())).all(-1)
    return same.int().argmax(1) if bool(same.any(1).all()) else None


def pooled(
    value: Any, b: int, pool: Axis, batch: int | None = 0, mask: Tensor | None = None
) -> Tensor | None:
    """A module's value as (b, features) floats; None if it does not hold one row per input.

    Steps of sequences are averaged over the (b, length) mask, where there is one of their length.
    """
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
    steps = mask is not None and tensor.ndim == 3 and tensor.shape[1] == mask.shape[1]
    if mask is not None and steps and pool == "features":
        weights = mask.to(tensor.device, tensor.dtype)
        return (weights[:, :, None] * tensor).sum(1) / weights.sum(1, keepdim=True)
    axes = range(1, tensor.ndim - 1) if pool == "features" else range(2, tensor.ndim)
    return tensor.mean(dim=tuple(axes))


@dataclass
class Capture:
    """Representations of the current block by layer name, filled by hooks."""

    layers: tuple[Layer, ...]
    rows: int = 0
    """Rows of the current block; set before each forward pass."""
    mask: Tensor | None = None
    """(rows, length) steps that count, where the data say so."""
    values: dict[str, Tensor] = field(default_factory=dict)
    """name -> (b, d) float tensors."""
    attached: bool = False
    """Whether values stay in the graph, where they were made; else they are plain, on the CPU."""

    def store(self, layer: Layer, value: Any) -> None:
        """Keep a module's value, pooled."""
        tensor = pooled(value, self.rows, layer.pool, layer.batch, self.mask)
        if tensor is not None:
            self.keep(layer, tensor)

    def keep(self, layer: Layer, rows: Tensor) -> None:
        """Keep (b, d) rows: a copy, since what comes next may work in place."""
        self.values[layer.name] = (
            rows.to(torch.float32, copy=True)
            if self.attached
            else rows.detach().to("cpu", torch.float32, copy=True)
        )


@contextmanager
def capturing(
    module: nn.Module, layers: tuple[Layer, ...], *, attached: bool = False
) -> Iterator[Capture]:
    """Hook some layers for the duration; all hooks are gone afterwards.

    What is ``attached`` can be differentiated.
    """
    capture = Capture(layers, attached=attached)
    handles = []
    everywhere: dict[nn.Module, Layer] = {}
    try:
        for layer in layers:
            target = module.get_submodule(layer.module)
            if layer.pool == "step":
                handles.extend(_Step(capture, layer).hooks(module, target))
            elif layer.at == "input":
                hook = _before(capture, layer)
                handles.append(target.register_forward_pre_hook(hook, with_kwargs=True))
            elif _inside_fused(module, layer.module) or target in everywhere:
                handles.append(target.register_forward_hook(_after(capture, {target: layer})))
            else:
                everywhere[target] = layer
        if everywhere:
            # A hook on a transformer layer itself would turn PyTorch's fused path off.
            hook_all = _after(capture, everywhere)
            handles.append(register_module_forward_hook(hook_all))
        yield capture
    finally:
        for handle in handles:
            handle.remove()


class _Step:
    """Reads the input of a head at the step that becomes the output, which only the end tells."""

    def __init__(self, capture: Capture, layer: Layer) -> None:
        self.capture, self.layer = capture, layer
        self.states: Tensor | None = None
        self.answers: Any = None

    def hooks(self, module: nn.Module, head: nn.Module) -> list[RemovableHandle]:
        """Before and after the head, and after the whole model."""
        return [
            head.register_forward_pre_hook(self._before, with_kwargs=True),
            head.register_forward_hook(self._after),
            module.register_forward_hook(self._end),
        ]

    def _before(self, _head: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states = first_tensor(args if args else tuple(kwargs.values()))
        states = states if states is None or self.capture.attached else states.detach()
        self.states = None if states is None else states.clone()

    def _after(self, _head: nn.Module, _args: Any, out: Any) -> None:
        self.answers = out

    def _end(self, _module: nn.Module, _args: Any, out: Any) -> None:
        step = step_read(self.answers, out, self.layer.batch)
        if step is not None and self.states is not None:
            states = self.states.movedim(self.layer.batch, 0)
            rows = torch.arange(states.shape[0], device=states.device)
            self.capture.keep(self.layer, states[rows, step])
        self.states = self.answers = None


def _after(capture: Capture, layers: dict[nn.Module, Layer]) -> Callable[..., None]:
    def hook(module: nn.Module, _args: Any, out: Any) -> None:
        layer = layers.get(module)
        if layer is not None:
            capture.store(layer, out if layer.module else output_tensor(out))

    return hook


def _before(capture: Capture, layer: Layer) -> Callable[..., None]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        capture.store(layer, args if args else tuple(kwargs.values()))

    return hook


def _inside_fused(module: nn.Module, name: str) -> bool:
    """Whether a submodule lies within a layer whose fused path would never call it."""
    parents = name.split(".")[:-1]
    return any(
        isinstance(module.get_submodule(".".join(parents[: i + 1])), nn.TransformerEncoderLayer)
        for i in range(len(parents))
    )
