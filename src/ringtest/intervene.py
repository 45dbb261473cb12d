"""Interventions: what a layer shows is replaced while the rest of the model runs on as it is."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from ringtest.capture import Layer, _inside_fused, first_tensor, output_tensor
from ringtest.errors import SubjectError

Edit = Callable[[Tensor], Tensor]
"""From what a layer shows, rows first and features last, (b, ..., d), to what it is to show."""


@contextmanager
def editing(
    module: nn.Module,
    layer: Layer,
    edit: Edit,
    call: int | None = None,
    *,
    first: bool = False,
) -> Iterator[None]:
    """Replace what a layer shows for the duration; all hooks are gone afterwards.

    The edit is handed every position (step, patch, pixel) of the layer: an affine edit of the
    positions is the same edit of their mean, which is what a capture keeps. Gradients flow through
    it. What a module returns beside that tensor (states, attention) is handed on as it is.

    Args:
        module: the model.
        layer: where, as :func:`ringtest.discovery.discover` found it.
        edit: takes and gives (b, ..., d); d is the layer's width, and all else is one axis where
            the layer is flattened. Tokens that the model folds into rows stay folded, (b k, d).
        call: which call of the layer's module within a pass of the model, from 0, for a module
            that is called several times; None: every call. See :func:`calls`.
        first: edit before the hooks that were there already, so that a capture reads what the rest
            of the model is given; else it reads what the layer shows by itself.

    Raises SubjectError within a pass whose layer shows no floats of the layer's width.
    """
    target = module.get_submodule(layer.module)
    spot = _Spot(layer, edit, call)
    handles = []

    def begin(called: nn.Module, _args: Any) -> None:
        if called is module:
            spot.calls = 0

    def after(called: nn.Module, _args: Any, out: Any) -> Any:
        return spot.replaced(out) if called is target else None

    def before(_called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return spot.replaced(args), kwargs
        return args, spot.replaced(kwargs)

    try:
        # Hooks on a transformer layer itself would turn PyTorch's fused path off.
        handles.append(register_module_forward_pre_hook(begin))
        if layer.at == "input":
            handles.append(target.register_forward_pre_hook(before, with_kwargs=True))
        elif _inside_fused(module, layer.module):
            handles.append(target.register_forward_hook(after))
        else:
            handles.append(register_module_forward_hook(after))
        for handle in handles if first else ():
            hooks = handle.hooks_dict_ref()
            assert hooks is not None
            # As torch itself does where a hook of one module is to be prepended.
            hooks.move_to_end(handle.id, last=False)
        yield
    finally:
        for handle in handles:
            handle.remove()


def calls(module: nn.Module, layer: Layer, run: Callable[[], object]) -> int:
    """How often a pass of the model calls the layer's module; what it shows is its last call."""
    spot = _Spot(layer, lambda values: values, -1)
    target = module.get_submodule(layer.module)

    def after(called: nn.Module, _args: Any, _out: Any) -> None:
        spot.calls += called is target

    inside = layer.at == "output" and _inside_fused(module, layer.module)
    handle = target.register_forward_hook(after) if inside else register_module_forward_hook(after)
    try:
        run()
    finally:
        handle.remove()
    return spot.calls


@dataclass
class _Spot:
    """What happens at one layer."""

    layer: Layer
    edit: Edit
    call: int | None
    calls: int = 0
    """Calls of the layer's module so far in this pass."""

    def replaced(self, value: Any) -> Any:
        """A module's value, or its arguments, with the layer's tensor edited."""
        number, self.calls = self.calls, self.calls + 1
        if self.call is not None and number != self.call:
            return value
        whole = self.layer.at == "output" and not self.layer.module
        found = output_tensor(value) if whole else first_tensor(value)
        if found is None or found.is_nested or found.ndim < 2 or not found.is_floating_point():
            what = "no tensor" if found is None else f"a {found.dtype} tensor that cannot be edited"
            raise SubjectError(self.layer.name, f"shows {what}", "intervene at another layer")
        edited = self._edited(found)
        return _put(value, found, edited)

    def _edited(self, tensor: Tensor) -> Tensor:
        layer = self.layer
        rows = tensor.movedim(layer.batch, 0)
        shape = rows.shape
        if layer.pool == "flat":
            # Tokens folded into the rows belong to the width, too.
            rows = rows.reshape(-1, layer.width) if rows.numel() % layer.width == 0 else rows
        elif layer.pool == "channels":
            rows = rows.movedim(1, -1)
        if rows.shape[-1] != layer.width:
            raise SubjectError(
                layer.name,
                f"shows {tuple(tensor.shape)}, and its width was {layer.width}",
                "give inputs of the same shape as before",
            )
        out = self.edit(rows)
        if out.shape != rows.shape:
            raise SubjectError(
                layer.name, f"is to become {tuple(out.shape)}", f"edit to {tuple(rows.shape)}"
            )
        out = out.to(tensor.device, tensor.dtype)
        if layer.pool == "flat":
            out = out.reshape(shape)
        elif layer.pool == "channels":
            out = out.movedim(-1, 1)
        out = out.movedim(0, layer.batch)
        # Another layout in memory takes another kernel, with other last bits.
        return out.contiguous() if tensor.is_contiguous() else out


def _put(value: Any, old: Tensor, new: Tensor) -> Any:
    """The value with one of its tensors replaced, whatever holds it; the value itself is kept."""
    if value is old:
        return new
    if isinstance(value, dict):
        key = next(k for k, v in value.items() if _holds(v, old))
        out = copy.copy(value)
        out[key] = _put(value[key], old, new)
        return out
    if isinstance(value, tuple | list):
        place = next(i for i, v in enumerate(value) if _holds(v, old))
        items = [*value[:place], _put(value[place], old, new), *value[place + 1 :]]
        made: Any = type(value)
        return made._make(items) if hasattr(value, "_make") else made(items)
    name = next(k for k in ("logits", "sentence_embedding") if getattr(value, k, None) is old)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: new})
    out = copy.copy(value)
    setattr(out, name, new)
    return out


def _holds(value: Any, tensor: Tensor) -> bool:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return any(_holds(item, tensor) for item in value)
    return value is tensor
