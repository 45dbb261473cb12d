"""Perturbations of the user's own: any callable on inputs, or on a model and its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ringtest.callables import changed, without_gradients
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, SubjectError

if TYPE_CHECKING:
    from ringtest.model import Model

Forward = Callable[[Tensor], Tensor]
"""(b, ...) inputs of the current block -> (b, k) logits or values, with their gradient."""


class _Given(Condition):
    """Base: holds a callable; made by the user and handed to ``audit(..., conditions=[...])``."""

    def __init__(
        self, function: Callable[..., Any], name: str | None = None, severity: float | None = None
    ) -> None:
        if isinstance(function, type) or not callable(function):
            what = getattr(function, "__name__", type(function).__name__)
            raise ConfigError(f"function of {self.kind}", f"is {what}", "give a callable on inputs")
        given = getattr(function, "__name__", type(function).__name__)
        super().__init__(given.strip("<>") if name is None else name, severity)
        self.function = function

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the bounds."""
        self._bounds = data.bounds

    @property
    def _strength(self) -> tuple[float, ...]:
        """What the callable is given last: the severity, if there is one."""
        return () if self.severity is None else (self.severity,)

    def _inside(self, x: Tensor) -> Tensor:
        return x if self._bounds is None else x.clamp(*self._bounds)


@condition
class Changed(_Given):
    """Inputs as a callable changes them, the same for all models: ``perturb.callable.NAME``.

    ``audit(..., conditions=[Changed(blur, "blur"), Changed(fade, "fade", severity=0.5)])`` calls
    ``blur(x)`` and ``fade(x, 0.5)`` on (b, ...) inputs of a block. It may draw from the
    global random states of torch, numpy and Python, which are seeded for each block and put back.
    What it gives is moved into the data's bounds. A ``captum.robust.Perturbation`` that needs no
    model will do, too. Targets must still hold; where they do not, give a subclass with
    ``keeps_targets = False``.

    Raises DataError if the callable fails, changes shape or type, or gives NaN or infinity.
    """

    kind = "perturb.callable"
    about = "inputs as a callable of the user's changes them"

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The changed inputs."""
        with torch.no_grad():
            found = changed(
                lambda z: self.function(z, *self._strength), x, rng, f"function of {self.key}"
            )
        return self._inside(found)


@condition
class Against(_Given):
    """Inputs as a callable changes them against one model, each its own: ``attack.callable.NAME``.

    ``function(forward, x, y)``, and the severity last if there is one, gives (b, ...) inputs;
    ``forward`` is the model under attack, from (b, ...) inputs to (b, k) outputs, with gradients,
    and takes all rows of the block in their order. So any library's attack fits:
    ``Against(lambda forward, x, y: MyAttack(forward).perturb(x, target=y), "mine")``. Every model
    sees the same random numbers. What comes out is moved into the data's bounds; a budget is the
    callable's own to keep. It may call ``backward()``: gradients of parameters are put back.

    Raises DataError as ``perturb.callable`` does, and for rows without targets; SubjectError for a
    model without gradients, unless a subclass says ``gradients = False``.
    """

    kind = "attack.callable"
    about = "inputs as a callable of the user's changes them against each model"
    scope = "own"

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The changed inputs."""
        if y is None:
            raise DataError("targets", f"are missing, and {self.key} needs them", "give targets")
        if self.asks_gradients and not model.gradients:
            raise SubjectError("model", "gives no gradients", f"leave {self.kind} out for it")
        # Under inference mode there are no gradients; tensors made there take no part in one.
        with torch.inference_mode(False), torch.enable_grad(), without_gradients(model):
            x, y = x.detach().clone(), y.detach().clone()
            found = changed(lambda z: self.against(model, z, y, rng), x, rng, self._field)
        return self._inside(found)

    def against(self, model: Model, x: Tensor, y: Tensor, rng: torch.Generator) -> Any:
        """What the callable gives; subclasses may need more than a forward function."""
        return self.function(model.logits, x, y, *self._strength)

    @property
    def _field(self) -> str:
        return f"function of {self.key}"
