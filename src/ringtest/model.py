"""The one shape in which every model is used, and the state that it is left in."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ringtest.buffers import restored
from ringtest.capture import Layers, capturing, output_tensor, pooled
from ringtest.errors import RingtestError, SubjectError
from ringtest.rows.inputs import Form, Rows
from ringtest.tasks import AnyTask

if TYPE_CHECKING:
    from ringtest.sources.stored import Stored

Index = slice | Tensor
_SMALL: Final = (torch.uint8, torch.int8, torch.int16)
Role = Literal["member", "student", "reference", "control"]
"""``reference``: an honest model of the student's kind. ``control``: a student distilled in the
same way from a teacher that was never trained."""


@dataclass
class Model:
    """A model ready to be looked at: one shape for every way in which it was given."""

    name: str
    role: Role
    function: Callable[..., Any]
    """The module itself, or the callable."""
    task: AnyTask
    module: nn.Module | None = None
    layers: Layers | None = None
    """None: only outputs can be seen."""
    gradients: bool = False
    """Whether outputs can be differentiated with respect to inputs."""
    layer_gradients: bool = False
    """Whether outputs can be differentiated with respect to layers, which tokens have, too."""
    probabilities: bool = False
    """Whether a classifier's raw outputs are probabilities already."""
    parameters: int = 0
    weights_hash: str | None = None
    architecture: str | None = None
    """Digest of module types and parameter shapes; None for a plain callable."""
    form: Form = field(default_factory=Form)
    """How it takes a batch."""
    keywords: frozenset[str] | None = frozenset()
    """Keys of a dict that it takes by keyword; empty: the dict itself; None: all of them."""
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    """What goes along with the current block, unchanged, by keyword."""
    mask: Tensor | None = None
    """(b, length) true where a step of the current block counts."""
    stored: Stored | None = None
    """Evidence that was computed elsewhere, for a model that cannot be run here."""

    def at(self, rows: Rows, part: Index) -> None:
        """Begin a block: what goes along with its rows from now on."""
        self.beside = {name: value[part] for name, value in rows.beside.items()}
        self.mask = None if rows.mask is None else rows.mask[part]

    def run(self, x: Tensor, rows: Index | None = None) -> Any:
        """The model's own answer to inputs in the form that conditions change.

        Args:
            x: (b, ...) inputs of the current block.
            rows: which rows of the block these are; None: all of them, in order.
        """
        beside = {k: v if rows is None else v[rows] for k, v in self.beside.items()}
        if any(v.shape[0] != x.shape[0] for v in beside.values()):
            raise SubjectError(
                self.name, f"is given {x.shape[0]} rows of another block", "say which rows they are"
            )
        batch = self.form(self.placed(x), {k: self.placed(v) for k, v in beside.items()})
        if isinstance(batch, Tensor) or self.keywords == frozenset():
            return self.function(batch)
        return self.function(
            **{k: v for k, v in batch.items() if self.keywords is None or k in self.keywords}
        )

    def raw(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """The model's own output tensor; raises SubjectError in words if it gives none."""
        try:
            value = self.run(x, rows)
        except RingtestError:
            raise
        except (Exception, SystemExit) as error:
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
        x = x.clone(memory_format=torch.contiguous_format)
        if x.dtype in _SMALL:
            x = x.long()  # tokens are often kept small, and embeddings take none of these
        if first is None:
            return x
        floats = x.is_floating_point() and first.is_floating_point()
        return x.to(first.device, first.dtype if floats else x.dtype)

    @property
    def device(self) -> torch.device | None:
        """Where the module's parameters are; None if it has none."""
        first = None if self.module is None else next(self.module.parameters(), None)
        return None if first is None else first.device

    def outputs(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """(b, k) canonical outputs (see the task), with gradient if grad mode is on."""
        mask = self.mask if self.mask is None or rows is None else self.mask[rows]
        return self.canonical(self.raw(x, rows), mask)

    def canonical(self, raw: Tensor, mask: Tensor | None = None) -> Tensor:
        """(b, k) the model's own outputs in the task's form; steps averaged over the mask."""
        if mask is not None and raw.ndim == 3 and self.task.name == "embedding":
            over = pooled(raw, raw.shape[0], "features", 0, mask)
            raw = raw if over is None else over
        return self.task.canonical(raw, self.probabilities)

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

    def outputs(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """(b, k) canonical outputs of the mean member prediction."""
        return self.members[0].task.mean([m.outputs(x, rows) for m in self.members])

    logits = outputs


@contextmanager
def evaluating(models: Iterable[Model]) -> Iterator[None]:
    """Evaluation mode and private random state; afterwards everything is as it was found."""
    training = [(m, m.training) for model in models if model.module for m in model.module.modules()]
    torch_state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002 - saved and restored for the user's sake
        random.getstate(),
    )
    # Nested tensors have no shape that a layer could be read from.
    nested = [
        (m, m.use_nested_tensor)
        for m, _ in training
        # One that comes out of an exported program has only the name.
        if isinstance(m, nn.TransformerEncoder) and hasattr(m, "use_nested_tensor")
    ]
    dtype = torch.get_default_dtype()
    kept = ExitStack()
    try:
        kept.enter_context(restored(m for m, _ in training))
        kept.enter_context(_uncompiled(m for m, _ in training))
        # What we draw and keep must not depend on the caller's default.
        torch.set_default_dtype(torch.float32)
        for module, _ in training:
            module.training = False
        for encoder, _ in nested:
            encoder.use_nested_tensor = False
        # A caller's inference mode would take the gradients away without a word.
        with torch.inference_mode(False):
            yield
    finally:
        kept.close()
        torch.set_default_dtype(dtype)
        for encoder, use in nested:
            encoder.use_nested_tensor = use
        for module, mode in training:
            module.training = mode
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - see above
        random.setstate(python_state)


@contextmanager
def _uncompiled(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Run what torch.compile made eagerly: compiled code calls no hooks."""
    compiled = any(
        type(m).__name__ == "OptimizedModule" or getattr(m, "_compiled_call_impl", None) is not None
        for m in modules
    )
    if not compiled or not hasattr(torch.compiler, "set_stance"):
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using `torch.compile.* global hooks")
        yield


@contextmanager
def hooked(model: Model, names: Sequence[str]) -> Iterator[Any]:
    """Capture some of a model's layers; None if it has none or none is wanted."""
    if model.module is None or model.layers is None or not names:
        yield None
        return
    chosen = tuple(layer for layer in model.layers.picked if layer.name in names)
    with capturing(model.module, chosen) as capture:
        yield capture
