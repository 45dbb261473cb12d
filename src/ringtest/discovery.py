"""Which layers a model has, and which of them are read.

A few rows are run with hooks on every module. Of the modules that own parameters and on which the
output depends, the one *called last* is the head; its input, flattened, is the last hidden layer. A
second run with a row less tells which axis of a module's output counts the rows.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Final

import torch
from torch import Tensor, nn

from ringtest import disguise
from ringtest.capture import Axis, Layer, Layers, first_tensor, output_tensor, pooled, step_read
from ringtest.errors import SubjectError
from ringtest.trace import CHANNELS_LAST, Call, Run, depends, find_batch_axes, thawed, trace

MAX_LAYERS: Final = 12
SILENT: Final = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
"""Modules that change no representation in evaluation mode."""
_OPENED: Final = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def discover(
    subject: str,
    module: nn.Module,
    x: Tensor,
    wanted: str | list[str] = "auto",
    output_is_hidden: bool = False,
    run: Run | None = None,
    single: bool = False,
    graph: bool = True,
) -> Layers | None:
    """Find the layers of a model on a few rows.

    Args:
        subject: name for messages.
        module: the model, in evaluation mode.
        x: (b, ...) a few rows; b should not equal another axis.
        wanted: ``auto``, or names and globs of modules.
        output_is_hidden: the output itself is the last hidden layer (embedding models).
        run: how the module is called on the first rows of ``x``; None: on a copy.
        single: the user vouches that it is one model, whatever its heads look like.
        graph: False for a model that runs only without gradients: what depends on what is then
            told by order and values.

    Returns:
        The layers, or None if no module that owns parameters is called.

    Raises SubjectError for a model that is an ensemble in disguise (``single`` vouches that it is
    none). Patterns that match nothing are told in the result, since teacher and student may name
    their modules differently.
    """
    with thawed(module) if graph else torch.no_grad():
        calls, output = trace(module, x, run)
        out = output_tensor(output)
        owners = _owners(module, calls)
        if not owners:
            return None
        head = _head(owners, out)
        if not single:
            disguise.refuse(subject, head, owners, calls, out)
        find_batch_axes(module, x, calls, run)
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
        pool = _head_pool(head, output)
        last = Layer(
            f"input of {head.name or type(head.module).__name__}",
            head.name,
            "input",
            pool,
            _width(head.input, b, "features" if pool == "step" else pool, head.batch_in),
            "input of the last module that owns parameters"
            + (", at the step that is the output" if pool == "step" else ""),
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
        if output_is_hidden or last.pool == "step" or not _same_data(first_tensor(c.output), hidden)
    ]
    picked = [layer for layer in picked if layer.width > 0]
    return Layers((*picked, last), left_out, tuple(before), unmatched)


_WHY_OUTPUT: Final = "the embedding itself"


def _head(owners: list[Call], out: Tensor | None) -> Call:
    """The innermost owner of parameters that is called last on the way to the output."""
    leaves = [
        c
        for c in owners
        # With layers inside, one with a parameter of its own (class token, scale) is a container.
        if not any(o is not c and (not c.name or o.name.startswith(f"{c.name}.")) for o in owners)
    ]
    used = depends(out, [first_tensor(c.output) for c in leaves])
    return [c for c, counts in zip(leaves, used, strict=True) if counts or not any(used)][-1]


def _used_after(head: Call, owners: list[Call], out: Tensor | None) -> str:
    """Name of a container whose own weight matrix comes after its last layer; empty if none."""
    for c in owners:
        if c.order > head.order and (not c.name or head.name.startswith(f"{c.name}.")):
            own = [p for p in c.module.parameters(recurse=False) if p.ndim > 1 and p.numel() > 1]
            late = depends(out, list(own))
            early = depends(first_tensor(head.output), list(own))
            if any(a and not b for a, b in zip(late, early, strict=True)):
                return c.name or type(c.module).__name__
    return ""


def _owners(module: nn.Module, calls: list[Call]) -> list[Call]:
    """Calls of modules that own parameters, or use those of a submodule that is never called."""
    called, names = {c.name for c in calls}, set()
    for name, part in module.named_modules():
        if not _owns_parameters(part):
            continue
        owner = name
        while owner not in called and owner:
            owner = owner.rpartition(".")[0]
        # What is called nowhere inside may be unused; a whole model is no layer.
        if owner or not name:
            names.add(owner)
    return [c for c in calls if c.name in names]


def _owns_parameters(module: nn.Module) -> bool:
    if next(module.parameters(recurse=False), None) is not None:
        return True
    if hasattr(module, "parametrizations"):
        return True
    # Quantised modules keep packed weights outside of parameters(); a DeQuantize has none.
    return hasattr(module, "_packed_params") or hasattr(module, "_all_weight_values")


def _usable(value: Any, b: int, batch: int | None) -> bool:
    return pooled(value, b, "features", batch) is not None


def _width(value: Any, b: int, pool: Axis, batch: int | None) -> int:
    tensor = pooled(value, b, pool, batch)
    return 0 if tensor is None else int(tensor.shape[1])


def _head_pool(head: Call, output: Any) -> Axis:
    """The head's input is flattened; tokens are averaged, unless the output is one token's."""
    states = first_tensor(head.input)
    if states is not None and states.ndim == 3 and head.batch == head.batch_in:
        answers = first_tensor(head.output)
        steps = answers is not None and answers.shape[:2] == states.shape[:2]
        if steps and step_read(answers, output, head.batch) is not None:
            return "step"
    return "features" if isinstance(head.module, CHANNELS_LAST) else "flat"


def _same_data(a: Tensor | None, b: Tensor | None) -> bool:
    return (
        a is not None and b is not None and a.data_ptr() == b.data_ptr() and a.numel() == b.numel()
    )


def _is_stack(module: nn.Module) -> bool:
    """Whether a module is a container of layers: opened instead of read."""
    if isinstance(module, _OPENED):
        return True
    if type(module).__name__ == "OptimizedModule":  # torch.compile
        return _is_stack(module.get_submodule("_orig_mod"))
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
    module: nn.Module, before: dict[str, Call], head: str
) -> tuple[list[str], tuple[str, ...]]:
    """Top-level submodules, containers opened, at most MAX_LAYERS - 1 of them, evenly spread."""
    names: list[str] = []

    def visit(parent: nn.Module, prefix: str) -> None:
        for name, child in parent.named_children():
            path = f"{prefix}{name}"
            # What holds the head (the model inside a wrapper) is opened, too.
            if _is_stack(child) or head.startswith(f"{path}."):
                visit(child, f"{path}.")
            elif path in before and not isinstance(child, SILENT):
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


def _named(patterns: list[str], before: dict[str, Call]) -> list[str]:
    chosen = [n for n in before if any(fnmatchcase(n, p) for p in patterns)]
    return sorted(chosen, key=lambda n: before[n].order)
