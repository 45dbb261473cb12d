"""What a model may be given as, and the one shape in which it is used."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ringtest import loading
from ringtest.capture import Layers, capturing, discover, output_tensor
from ringtest.data import AuditData
from ringtest.errors import ConfigError, RingtestError, SubjectError, close_to
from ringtest.tasks import AnyTask, Classification

Role = Literal["member", "student", "reference"]
_LATER: Final = ("hf", "exported")
_PROBE_ROWS: Final = 23
"""Rows of the trial run: prime, so that it is seldom the length of another axis."""


class Subject:
    """A model as a user names it: an object, or where to load it from.

    Args:
        model: nn.Module, callable on batches, or None if it is to be loaded.
        load: ``module:callable`` that gives a module (or, for a teacher, a list of them).
        factory: ``module:callable`` that gives a module without weights, with ``weights``.
        weights: safetensors file for the factory's module.
        hf: Hugging Face checkpoint folder or id (comes with a later version).
        exported: torch.export program (comes with a later version).
        where: folder beside which modules and files are looked up.

    Raises ConfigError unless exactly one way is named.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        load: str | None = None,
        factory: str | None = None,
        weights: str | Path | None = None,
        hf: str | None = None,
        exported: str | Path | None = None,
        where: str | Path | None = None,
    ) -> None:
        ways = {"model": model, "load": load, "factory": factory, "hf": hf, "exported": exported}
        given = [k for k, v in ways.items() if v is not None]
        if len(given) != 1:
            raise ConfigError(
                "subject",
                f"names {' and '.join(given) or 'no model'}",
                "give one of load, factory (with weights), hf, exported",
            )
        for way in _LATER:
            if ways[way] is not None:
                raise ConfigError(f"subject.{way}", "comes with a later version", "use load")
        if weights is not None and factory is None:
            raise ConfigError(
                "subject.weights", "needs a factory", "add factory = 'module:callable'"
            )
        if factory is not None and weights is None:
            raise ConfigError("subject.factory", "needs weights", "add weights, or use load")
        self._model, self._load, self._factory, self._weights = model, load, factory, weights
        self._where = None if where is None else Path(where)

    def resolve(self, field: str) -> Any:
        """The object itself: module, list of modules, or callable."""
        if self._load is not None:
            return loading.call(f"{field}.load", self._load, self._where)
        if self._factory is not None:
            assert self._weights is not None
            module = loading.call(f"{field}.factory", self._factory, self._where)
            if not isinstance(module, nn.Module):
                raise SubjectError(
                    f"{field}.factory", f"gave a {type(module).__name__}", "return an nn.Module"
                )
            path = Path(self._weights)
            if self._where is not None and not path.is_absolute():
                path = self._where / path
            return loading.load_weights(f"{field}.weights", module, path)
        return self._model


@dataclass
class Model:
    """A model ready to be looked at: one shape for every way in which it was given."""

    name: str
    role: Role
    function: Callable[[Tensor], Any]
    """The module itself, or the callable."""
    task: AnyTask
    module: nn.Module | None = None
    layers: Layers | None = None
    """None: only outputs can be seen."""
    gradients: bool = False
    """Whether outputs can be differentiated with respect to inputs."""
    probabilities: bool = False
    """Whether a classifier's raw outputs are probabilities already."""
    parameters: int = 0
    weights_hash: str | None = None
    architecture: str | None = None
    """Digest of module types and parameter shapes; None for a plain callable."""

    def raw(self, x: Tensor) -> Tensor:
        """The model's own output tensor; raises SubjectError in words if it gives none."""
        try:
            value = self.function(self.placed(x))
        except RingtestError:
            raise
        except Exception as error:
            raise SubjectError(
                self.name,
                f"raised {type(error).__name__} on inputs of shape {tuple(x.shape)}: {error}",
                "give a model that runs on a batch of the data's inputs",
            ) from error
        tensor = torch.tensor(value) if isinstance(value, np.ndarray) else output_tensor(value)
        if not isinstance(tensor, Tensor) or tensor.ndim < 1 or tensor.shape[0] != x.shape[0]:
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(value).__name__
            raise SubjectError(
                self.name, f"gave {shape} for {x.shape[0]} rows", "return one output a row"
            )
        return tensor.to(x.device).float() if tensor.is_floating_point() else tensor.to(x.device)

    def placed(self, x: Tensor) -> Tensor:
        """A copy (a model may work in place) where the module is, in its kind of floats."""
        first = None if self.module is None else next(self.module.parameters(), None)
        x = x.clone()
        if first is None:
            return x
        floats = x.is_floating_point() and first.is_floating_point()
        return x.to(first.device, first.dtype if floats else x.dtype)

    @property
    def device(self) -> torch.device | None:
        """Where the module's parameters are; None if it has none."""
        first = None if self.module is None else next(self.module.parameters(), None)
        return None if first is None else first.device

    def outputs(self, x: Tensor) -> Tensor:
        """(b, k) canonical outputs (see the task), with gradient if grad mode is on."""
        return self.task.canonical(self.raw(x), self.probabilities)

    logits = outputs
    """For attacks: log-probabilities are logits."""

    @property
    def capabilities(self) -> list[str]:
        """What the model can be asked for."""
        out = ["outputs"]
        return out + (["layers"] if self.layers else []) + (["gradients"] if self.gradients else [])

    def describe(self) -> dict[str, Any]:
        """The entry in ``report.json``'s ``subjects``."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "weights_hash": self.weights_hash,
            "architecture": self.architecture,
            "capabilities": self.capabilities,
            "layers": list(self.layers.names) if self.layers else [],
        }


class Ensemble:
    """Several members as one model: mean probability (or value), with the gradient through it."""

    def __init__(self, members: Sequence[Model]) -> None:
        """Take at least one member."""
        self.members = list(members)
        self.gradients = all(m.gradients for m in self.members)

    def outputs(self, x: Tensor) -> Tensor:
        """(b, k) canonical outputs of the mean member prediction."""
        return self.members[0].task.mean([m.outputs(x) for m in self.members])

    logits = outputs


def teacher(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> list[Model]:
    """The members of a teacher: one model, or a list of them."""
    given = _resolved("teacher", given)
    if isinstance(given, nn.ModuleList):
        given = list(given)
    if isinstance(given, list | tuple):
        if not given:
            raise SubjectError("teacher", "is an empty list", "give at least one member")
        named = [(f"teacher[{i}]", _resolved(f"teacher[{i}]", m)) for i, m in enumerate(given)]
    else:
        named = [("teacher", given)]
    return [prepare(name, "member", m, task, data, layers) for name, m in named]


def students(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> dict[str, Model]:
    """The students by name; a single one is called ``student``."""
    given = _resolved("student", given)
    if given is None:
        raise SubjectError("student", "is missing", "give the model that is to be shipped")
    if isinstance(given, list | tuple | nn.ModuleList):
        raise SubjectError("student", "is a list", "give one model, or a dict name -> student")
    if isinstance(given, dict):
        if not given:
            raise SubjectError("student", "is an empty dict", "give at least one student")
        return {
            str(name): prepare(
                f"student {name!r}",
                "student",
                _resolved(f"student {name!r}", m),
                task,
                data,
                layers,
            )
            for name, m in given.items()
        }
    return {"student": prepare("student", "student", given, task, data, layers)}


def references(given: Any, task: AnyTask, data: AuditData, layers: Any = "auto") -> list[Model]:
    """Independently trained, honest models of the student's kind; none for None."""
    if given is None:
        return []
    if isinstance(given, str):
        if given == "auto":
            raise ConfigError(
                "references",
                "'auto' waits until the validity bench has found the recipe of reference copies",
                "give a list of honest models of the student's kind, or leave it out",
            )
        raise ConfigError("references", f"is {given!r}", "give a list of models")
    if not isinstance(given, list | tuple | nn.ModuleList):
        given = [given]
    return [
        prepare(f"reference[{i}]", "reference", _resolved(f"reference[{i}]", m), task, data, layers)
        for i, m in enumerate(given)
    ]


def check_layers(wanted: Any, models: Sequence[Model]) -> None:
    """Raise SubjectError for a pattern that matches in no model at all."""
    if wanted == "auto":
        return
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        with_layers = [m for m in models if m.layers is not None]
        if all(m.layers is not None and pattern in m.layers.unmatched for m in with_layers):
            known = dict.fromkeys(n for m in with_layers if m.layers for n in m.layers.known)
            raise SubjectError(
                "layers", f"{pattern!r} is no module before the head", close_to(pattern, known)
            )


def _resolved(field: str, given: Any) -> Any:
    return given.resolve(field) if isinstance(given, Subject) else given


def prepare(
    name: str, role: Role, given: Any, task: AnyTask, data: AuditData, layers: Any = "auto"
) -> Model:
    """Check a model on a few rows and learn what it can be asked for.

    Raises SubjectError for an object that is no model, raises, gives NaN or the wrong number of
    columns, answers the same input differently twice, or lets a row depend on the rest of its
    batch.
    """
    if given is None:
        raise SubjectError(name, "is missing", "give a model")
    if isinstance(given, type) or not callable(given):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise SubjectError(
            name, f"is {what}, no model", "give an nn.Module or a callable on batches"
        )
    module = given if isinstance(given, nn.Module) else None
    model = Model(name, role, given, task, module)
    x = data.inputs[:_PROBE_ROWS]
    with evaluating([model]):
        _trial(model, x)
        if module is not None:
            model.layers = _layers(model, module, x, layers)
            model.parameters = sum(p.numel() for p in module.parameters())
            model.weights_hash = _weights_hash(module)
            model.architecture = _architecture(module)
        model.gradients = _has_gradient(model, x)
    return model


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
        few = model.raw(x[: max(1, x.shape[0] // 3)].clone())
        flipped = model.raw(x.flip(0)).flip(0)
        if _differ(raw[: few.shape[0]], few, scale) or _differ(raw, flipped, scale):
            raise SubjectError(
                model.name,
                "the answer to a row depends on the other rows of its batch",
                "use running statistics (batch norm in eval mode), no batch-wise normalisation",
            )


def _precision(model: Model) -> float:
    """Spacing of the module's floats at 1."""
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
    return discover(model.name, module, model.placed(x), wanted, output_is_hidden=embedding)


def _has_gradient(model: Model, x: Tensor) -> bool:
    if not x.is_floating_point():
        return False
    probe = x[:2].clone().requires_grad_(True)
    try:
        with torch.enable_grad():
            out = model.outputs(probe)
            if not out.requires_grad:
                return False
            (grad,) = torch.autograd.grad(out.square().sum(), probe)
    except (RuntimeError, SubjectError):
        return False
    return bool(torch.isfinite(grad).all())


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
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@contextmanager
def evaluating(models: Iterable[Model]) -> Iterator[None]:
    """Evaluation mode and private random state; afterwards everything is as it was found."""
    training = [(m, m.training) for model in models if model.module for m in model.module.modules()]
    torch_state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002 - saved and restored for the user's sake
        random.getstate(),
    )
    # Its nested tensors have no shape to read a layer from, and no gradient goes through it.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for module, _ in training:
            module.training = False
        # A caller's inference mode would take the gradients away without a word.
        with torch.inference_mode(False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, mode in training:
            module.training = mode
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - see above
        random.setstate(python_state)


@contextmanager
def hooked(model: Model, names: Sequence[str]) -> Iterator[Any]:
    """Capture some of a model's layers; None if it has none or none is wanted."""
    if model.module is None or model.layers is None or not names:
        yield None
        return
    chosen = tuple(layer for layer in model.layers.picked if layer.name in names)
    with capturing(model.module, chosen) as capture:
        yield capture
