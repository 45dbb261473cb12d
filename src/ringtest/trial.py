"""The trial of a model on a few rows: what is refused, and what it can be asked for."""

from __future__ import annotations

import hashlib
import inspect
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from ringtest import gradients as gradients_
from ringtest.capture import Layers
from ringtest.data import AuditData
from ringtest.discovery import discover
from ringtest.errors import RingtestError, SubjectError
from ringtest.model import Model, Role, evaluating
from ringtest.recall import recall
from ringtest.rows.inputs import Rows
from ringtest.sources.loading import first_line
from ringtest.sources.stored import Stored
from ringtest.tasks import AnyTask, Classification, are_probabilities

_PROBE_ROWS: Final = 23
"""Rows of the trial run: prime, so that it is seldom the length of another axis."""


def prepare(
    name: str,
    role: Role,
    given: Any,
    task: AnyTask,
    data: AuditData,
    layers: Any = "auto",
    *,
    gradients: bool = True,
    version: str | None = None,
    single: bool = False,
) -> Model:
    """Check a model on a few rows and learn what it can be asked for.

    Wrappers that only run a model elsewhere (torch.compile, DataParallel) are taken off.

    Raises SubjectError for an object that is no model, raises, gives NaN or the wrong number of
    columns, answers the same input differently twice, or lets a row depend on the rest of its
    batch.
    """
    if given is None:
        raise SubjectError(name, "is missing", "give a model")
    if isinstance(given, Stored):
        return recall(name, role, given, task, data)
    if isinstance(given, type) or not callable(given):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise SubjectError(
            name, f"is {what}, no model", "give an nn.Module or a callable on batches"
        )
    given = _unwrapped(given)
    module = given if isinstance(given, nn.Module) else None
    if module is not None:
        _check_filled(name, module)
    model = Model(name, role, given, task, module, form=data.form)
    x = data.inputs[:_PROBE_ROWS]
    model.keywords = _keywords(given, data.rows)
    model.at(data.rows, slice(0, _PROBE_ROWS))
    with evaluating([model]):
        _trial(model, x)
        if module is not None:
            model.layers = _layers(model, module, x, layers, single)
        model.gradients = gradients and gradients_.of_inputs(model, x)
        # Numbers that are inputs lead to the layers; tokens do not.
        model.layer_gradients = model.layers is not None and (
            model.gradients or (gradients and gradients_.of_layers(model, x))
        )
    if module is not None:
        model.parameters = sum(p.numel() for p in module.parameters())
        model.weights_hash = _weights_hash(module)
        model.architecture = _architecture(module)
    else:
        model.weights_hash = version
    return model


def _unwrapped(given: Any) -> Any:
    """The module that is run, without what runs it."""
    while isinstance(given, nn.Module):
        if isinstance(given, nn.DataParallel | nn.parallel.DistributedDataParallel):
            given = given.module
        elif type(given).__name__ == "OptimizedModule":  # torch.compile
            given = given._orig_mod
        else:
            break
    return given


def _check_filled(name: str, module: nn.Module) -> None:
    """Raise SubjectError for weights that are not there."""
    for key, value in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(value):
            raise SubjectError(name, f"has no numbers in {key} yet", "run it once, and train it")
        if value.is_meta:
            raise SubjectError(
                name, f"has {key} on the meta device, which holds no numbers", "load its weights"
            )


def _trial(model: Model, x: Tensor) -> None:
    with torch.no_grad():
        raw = model.raw(x)
        if raw.is_floating_point() and not bool(torch.isfinite(raw).all()):
            raise SubjectError(model.name, "gives NaN or infinity on the data", "mend the model")
        if not raw.is_floating_point():
            raise SubjectError(model.name, f"gives {raw.dtype}", "return float outputs")
        if isinstance(model.task, Classification):
            if raw.ndim != 2:
                raise SubjectError(
                    model.name, f"gives shape {tuple(raw.shape)}", "return logits (n, classes)"
                )
            model.probabilities = are_probabilities(raw)
        model.task.check_columns(model.name, int(model.task.canonical(raw, False).shape[1]))
        # Beyond what another order of additions explains, in the model's own precision.
        scale = (float(raw.abs().max()) + 1e-12) * max(1e-4, 4 * _precision(model))
        again = model.raw(x)
        if _differ(raw, again, scale):
            raise SubjectError(
                model.name,
                "answers the same inputs differently twice",
                "switch off what is random at inference (dropout, sampling) or seed it inside",
            )
        # The same rows in a batch of another size and company.
        third = slice(0, max(1, x.shape[0] // 3))
        few = model.raw(x[third], third)
        flipped = model.raw(x.flip(0), torch.arange(x.shape[0]).flip(0)).flip(0)
        if _differ(raw[: few.shape[0]], few, scale) or _differ(raw, flipped, scale):
            raise SubjectError(
                model.name,
                "the answer to a row depends on the other rows of its batch",
                "use running statistics (batch norm in eval mode), no batch-wise normalisation",
            )


def _precision(model: Model) -> float:
    """Spacing of the module's floats at 1; of eight bits where a batch decides how they round."""
    if model.module is not None and any(
        type(m).__module__.startswith("torch.ao.nn.quantized.dynamic")
        for m in model.module.modules()
    ):
        # The largest value of a batch sets the step for all its rows. Blocks being fixed, the
        # answers are, too.
        return 2.0**-7
    first = None if model.module is None else next(model.module.parameters(), None)
    floats = first is not None and first.is_floating_point()
    return torch.finfo(first.dtype if first is not None and floats else torch.float32).eps


def _differ(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return a.shape != b.shape or bool((a - b).abs().max() > tolerance)


def _layers(model: Model, module: nn.Module, x: Tensor, wanted: Any, single: bool) -> Layers | None:
    if isinstance(module, torch.jit.ScriptModule):
        return None  # takes no hooks: outputs only
    embedding = model.task.name == "embedding"

    def run(rows: Tensor) -> Any:
        return model.run(rows, slice(0, rows.shape[0]))

    look = partial(discover, model.name, module, x, wanted, embedding, run, single)
    try:
        return look()
    except RingtestError:
        raise
    except (Exception, SystemExit):
        pass  # some run only without gradients
    try:
        return look(graph=False)
    except RingtestError:
        raise
    except (Exception, SystemExit) as error:
        b = x.shape[0]
        raise SubjectError(
            model.name,
            f"raised {type(error).__name__} on {b} rows with hooks, or on {b - 1} rows"
            f" ({first_line(error)})",
            "give a model that takes batches of any size",
        ) from error


def _keywords(given: Any, rows: Rows) -> frozenset[str] | None:
    """Which keys of a dict a model takes by keyword; none: it takes the dict itself."""
    if rows.key is None:
        return frozenset()
    try:
        function = given.forward if isinstance(given, nn.Module) else given
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return frozenset()
    kinds = {p.kind for p in parameters.values()}
    # A forward(*args, **inputs) has no place that a dict could be meant for.
    named = kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    if inspect.Parameter.VAR_KEYWORD in kinds and (rows.key in parameters or not named):
        return None
    if rows.key not in parameters:
        return frozenset()
    return frozenset(parameters) & {rows.key, *rows.beside}


def _weights_hash(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items(), key=lambda item: item[0]):
        digest.update(name.encode())
        if isinstance(value, Tensor):
            value = value.dequantize() if value.is_quantized else value
            value = value.detach().cpu().contiguous()
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _architecture(module: nn.Module) -> str:
    parts = [
        (type(m).__qualname__, [tuple(p.shape) for p in m.parameters(recurse=False)])
        for m in module.modules()
        # A wrapper without parameters of its own is no other architecture.
        if next(m.children(), None) is None or next(m.parameters(recurse=False), None) is not None
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
