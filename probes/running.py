"""What all measures of use share: a model run again on a few rows, with a layer changed or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ringtest.capture import Layer
from ringtest.intervene import Edit, calls, editing
from ringtest.measure import NotMeasurable, Setting
from ringtest.model import Model
from ringtest.rerun import inputs, sampled
from ringtest.tasks import AnyTask


@dataclass(frozen=True)
class Site:
    """One layer of a model that can be run."""

    model: Model
    module: nn.Module
    layer: Layer
    call: int
    """Which call of the layer's module is what the layer shows: the last one of a pass."""

    @classmethod
    def of(cls, model: Model, name: str, at: Setting) -> Site:
        """The layer of a name; NotMeasurable if the model has none that can be changed."""
        if model.module is None or model.layers is None:
            raise NotMeasurable("it shows only its outputs")
        layer = next((found for found in model.layers.picked if found.name == name), None)
        if layer is None:
            raise NotMeasurable(f"it has no layer {name}")
        x = inputs(model, at, at.rows[:2])
        with torch.no_grad():
            times = calls(model.module, layer, lambda: model.run(x))
        if times == 0:
            raise NotMeasurable(f"its layer {name} is not called")
        return cls(model, model.module, layer, times - 1)

    def editing(self, edit: Edit) -> AbstractContextManager[None]:
        """The layer changed for the duration."""
        return editing(self.module, self.layer, edit, self.call)

    def states(self, x: Tensor) -> Tensor:
        """(b, ..., d) what the layer shows on inputs of the current block, a copy."""
        found: list[Tensor] = []

        def keep(values: Tensor) -> Tensor:
            found.append(values.detach().clone())  # what comes next may work in place
            return values

        with torch.no_grad(), self.editing(keep):
            self.model.run(x)
        if len(found) != 1:
            raise NotMeasurable(f"its layer {self.layer.name} is not called for every input")
        return found[0]


def outputs(
    model: Model, at: Setting, changes: Sequence[Callable[[], AbstractContextManager[None]]]
) -> list[Tensor]:
    """(m, k) canonical outputs of the sampled rows under each change, block by block.

    Args:
        model: to be run.
        at: its rows are run.
        changes: each makes the context within which the model is run; :func:`untouched` for none.
    """
    found: list[list[Tensor]] = [[] for _ in changes]
    for _, x in sampled(model, at):
        for change, kept in zip(changes, found, strict=True):
            with torch.no_grad(), change():
                kept.append(model.outputs(x).double().cpu())
    return [torch.cat(kept) for kept in found]


def untouched() -> AbstractContextManager[None]:
    """No change."""
    return nullcontext()


def movement(task: AnyTask, before: Tensor, after: Tensor) -> Tensor:
    """(m,) how far outputs moved: total variation of probabilities, or squared distance of points.

    Args:
        task: says what outputs mean.
        before: (m, k) canonical outputs.
        after: (m, k) the same, changed.
    """
    apart = task.points(after.double()) - task.points(before.double())
    if task.name == "classification":
        return apart.abs().sum(1) / 2
    return apart.square().sum(1)


def spread(task: AnyTask, outputs: Tensor) -> float:
    """What a movement is measured in: 1 for probabilities, else the variance of all outputs."""
    if task.name == "classification":
        return 1.0
    return float(task.points(outputs.double()).var(dim=0, unbiased=False).sum())
