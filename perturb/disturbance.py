"""What all conditions share that change a model inside: the copy, the severity, the clean rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import torch
from torch import Tensor
from torch.func import functional_call

from ringtest import blocks, rerun
from ringtest.capture import Layer
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.intervene import Edit, editing
from ringtest.measure import NotMeasurable
from ringtest.perturb.scale import is_positive

if TYPE_CHECKING:
    from ringtest.model import Model

ROWS: Final = 512
"""Clean rows, of least hash, on which a model's layers are measured and strengths matched."""


class Disturbance(Condition):
    """Base: each model is looked at changed inside, on inputs as they are.

    The model itself is never written to: weights are replaced for the duration of a call, layers
    are changed by hooks. What is read of a layer is what the rest of the model is given.
    Stored evidence is looked at as it was stored.

    Raises ConfigError, when made, for a severity that means nothing.
    """

    usual: ClassVar[tuple[float, ...]]
    """Severities where none is asked for; the first is that of an instance without one."""
    rule: ClassVar[str] = "give a number above 0"
    """What a severity must be."""

    def __init__(self, name: str | None = None, severity: float | None = None) -> None:
        if severity is not None and not (is_positive(severity) and self.allows(float(severity))):
            fix = f"{self.rule}, such as {self.kind}@{self.usual[0]:g}"
            raise ConfigError(f"severity of {self.kind}", f"is {severity!r}", fix)
        super().__init__(name, severity)

    @classmethod
    def allows(cls, severity: float) -> bool:  # noqa: ARG003 - protocol
        """Whether a positive number is a severity."""
        return True

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Self]:  # noqa: ARG003 - protocol
        """What a cell that names it means: the usual severities, or the one that it says."""
        return [cls(severity=s) for s in (cls.usual if severity is None else (severity,))]

    @property
    def strength(self) -> float:
        """The severity in force."""
        return float(self.usual[0] if self.severity is None else self.severity)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the data, and the seed of what is drawn once for all models."""
        self._data = data
        self._seed = blocks.seed_from(rng)

    def beyond(self, model: Model) -> str | None:
        """It has no layers that could be changed."""
        return None if model.layers is not None else "shows only its outputs"

    def subject(self, model: Model) -> Model:
        """The changed model; NotMeasurable where it cannot be changed in this way."""
        if model.stored is not None:
            return model
        if why := self.beyond(model):
            raise NotMeasurable(why)
        return self.changed(model)

    @abstractmethod
    def changed(self, model: Model) -> Model:
        """The changed model."""

    def clean(self, model: Model) -> Iterator[Tensor]:
        """(b, ...) clean inputs, at most ROWS, block by block; the model is told of each."""
        rows = blocks.sample_rows(self._data.n, ROWS)
        for part in blocks.parts(len(rows)):
            yield rerun.taken(model, self._data.rows, rows[part])


def reweighted(model: Model, weights: Mapping[str, Tensor]) -> Model:
    """The model with other values for some of its parameters, by name."""
    module, held = model.module, dict(weights)
    assert module is not None

    def run(*args: Any, **kwargs: Any) -> Any:
        return functional_call(module, held, args, kwargs)

    return replace(model, function=run)


def edited(model: Model, edits: Callable[[], Iterable[tuple[Layer, Edit]]]) -> Model:
    """The model with layers changed; ``edits`` is asked anew in every pass."""
    module = model.module
    assert module is not None

    def run(*args: Any, **kwargs: Any) -> Any:
        with ExitStack() as stack:
            for layer, edit in edits():
                stack.enter_context(editing(module, layer, edit, first=True))
            return module(*args, **kwargs)

    return replace(model, function=run)
