"""The trial of a model on a few rows: what is refused, and what it can be asked for."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any, Final

import torch
from torch import Tensor, nn

from ringtest.capture import Layer, Layers
from ringtest.data import AuditData
from ringtest.discovery import discover
from ringtest.errors import SubjectError
from ringtest.model import Model, Role, evaluating
from ringtest.rows.inputs import Rows
from ringtest.sources.stored import Stored
from ringtest.tasks import AnyTask, Classification

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
) -> Model:
    """Check a model on a few rows and learn what it can be asked for.

    Raises SubjectError for an object that is no model, raises, gives NaN or the wrong number of
    columns, answers the same input differently twice, or lets a row depend on the rest of its
    batch.
    """
    if given is None:
        raise SubjectError(name, "is missing", "give a model")
    if isinstance(given, Stored):
        return _remembered(name, role, given, task, data)
    if isinstance(given, type) or not callable(given):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise SubjectError(
            name, f"is {what}, no model", "give an nn.Module or a callable on batches"
        )
    module = given if isinstance(given, nn.Module) else None
    model = Model(name, role, given, task, module, form=data.form)
    x = data.inputs[:_PROBE_ROWS]
    model.keywords = _keywords(given, data.rows)
    model.at(data.rows, slice(0, _PROBE_ROWS))
    with evaluating([model]):
        _trial(model, x)
        if module is not None:
            model.layers = _layers(model, module, x, layers)
            model.parameters = sum(p.numel() for p in module.parameters())
            model.weights_hash = _weights_hash(module)
            model.architecture = _architecture(module)
        else:
            model.weights_hash = version
        model.gradients = gradients and _has_gradient(model, x)
    return model


def _remembered(name: str, role: Role, stored: Stored, task: AnyTask, data: AuditData) -> Model:
    """A model of which only evidence is here: nothing of it can be tried, so its form is."""
    for condition, rows in {"clean": data.rows, **_named(data)}.items():
        outputs = stored.outputs(condition)
        if outputs is not None and not rows.fits(len(outputs)):
            raise SubjectError(
                name,
                f"holds {len(outputs)} rows under {condition}, the data have {len(rows)}",
                "compute its evidence on these data, in their order",
            )
    raw = stored.outputs()
    assert raw is not None
    few = raw[torch.from_numpy(data.rows.numbers[:_PROBE_ROWS])]
    model = Model(name, role, _cannot_run, task, stored=stored, weights_hash=stored.digest)
    model.probabilities = isinstance(task, Classification) and _are_probabilities(few)
    task.check_columns(name, int(model.canonical(few).shape[1]))
    layers = stored.layers()
    if layers:
        model.layers = Layers(
            tuple(Layer(k, k, "output", "flat", int(v.shape[1]), _WHY) for k, v in layers.items())
        )
    return model


_WHY: Final = "stored evidence"


def _named(data: AuditData) -> dict[str, Rows]:
    return {f"shift.unlabelled.{name}": rows for name, rows in data.elsewhere.items()}


def _cannot_run(*_args: Any, **_kwargs: Any) -> Any:
    raise SubjectError("stored evidence", "cannot be run", "leave this condition out for it")


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
            model.probabilities = _are_probabilities(raw)
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


def _are_probabilities(raw: Tensor) -> bool:
    rows = raw.double()
    return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())


def _layers(model: Model, module: nn.Module, x: Tensor, wanted: Any) -> Layers | None:
    if isinstance(module, torch.jit.ScriptModule):
        return None  # takes no hooks: outputs only
    embedding = model.task.name == "embedding"

    def run(rows: Tensor) -> Any:
        return model.run(rows, slice(0, rows.shape[0]))

    return discover(model.name, module, x, wanted, output_is_hidden=embedding, run=run)


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


def _has_gradient(model: Model, x: Tensor) -> bool:
    """Whether outputs have a true gradient, not all zero, with respect to inputs."""
    if not x.is_floating_point() or _passes_straight_through(model.module):
        return False
    few = slice(0, 2)
    probe = x[few].clone().requires_grad_(True)
    try:
        with torch.enable_grad():
            out = model.outputs(probe, few)
            if not out.requires_grad:
                return False
            (grad,) = torch.autograd.grad(out.square().sum(), probe)
    except (RuntimeError, SubjectError):
        return False
    # All zero: something inside rounds, and an attack would climb nowhere.
    return bool(torch.isfinite(grad).all()) and bool((grad != 0).any())


def _passes_straight_through(module: nn.Module | None) -> bool:
    """Fake quantisation hands gradients on that are not those of the function it computes."""
    return module is not None and any(
        base.__name__ == "FakeQuantizeBase" for m in module.modules() for base in type(m).__mro__
    )


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
