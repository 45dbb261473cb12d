"""Attacks on what a layer holds, whatever the outputs say."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ringtest.capture import Layer, capturing
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import DataError, SubjectError
from ringtest.estimate import row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.model import Index, Model
from ringtest.perturb.ascent import Answering, Goal, Searched
from ringtest.perturb.attack import GradientAttack
from ringtest.tasks import AnyTask


class Inside:
    """A model seen at one of its layers: its ``logits`` are what the layer shows, with gradient."""

    def __init__(self, model: Model, layer: Layer) -> None:
        self.model, self.layer = model, layer

    def logits(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """(b, d) the layer, pooled as everywhere."""
        module, mask = self.model.module, self.model.mask
        assert module is not None
        with capturing(module, (self.layer,), attached=True) as capture:
            capture.rows = len(x)
            capture.mask = mask if mask is None or rows is None else mask[rows]
            self.model.run(x, rows)
        if self.layer.name not in capture.values:
            raise SubjectError(
                self.model.name,
                f"shows nothing in layer {self.layer.name} for some inputs",
                "leave it out of this attack",
            )
        return capture.values[self.layer.name]


class LayerAttack(GradientAttack):
    """Base: Linf attacks whose goal lies in a layer; steps that each example finds."""

    rate = 0.0
    depth: ClassVar[float] = 1.0
    """Relative depth of the layer, of those that are read: the nearest one is attacked."""

    def beyond(self, model: Model) -> str | None:
        """It has no layers."""
        return None if model.layers is not None else "shows only its outputs"

    def seen(self, model: Answering) -> Searched:
        """The layer."""
        return self.inside(model)

    def inside(self, model: Answering) -> Inside:
        """A model at its layer. Raises SubjectError if it has none."""
        assert isinstance(model, Model)
        if model.layers is None:
            raise SubjectError(
                model.name, "shows only its outputs", f"leave {self.kind} out for it"
            )
        layers = model.layers
        nearest = min(layers.picked, key=lambda layer: abs(layers.depth(layer.name) - self.depth))
        return Inside(model, nearest)


@condition
class Representation(LayerAttack):
    """Linf attack that moves the last hidden layer as far as possible; it needs no targets.

    Severity is eps: a share of the legal range if the data have bounds, else in standard deviations
    of each column, channel or feature. Climbed is the squared Euclidean distance of a row's code
    from its clean one, in 20 steps whose size each example finds, from two random starts: at the
    clean point that distance has no gradient, and a climb may end in a corner that is not the
    furthest. How far it moved, relative to how far clean rows lie from their mean, is
    ``representation.displacement``, which reads all layers.
    """

    kind = "attack.representation"
    about = "largest movement of the last hidden layer within eps in Linf; needs no targets"
    source = "after Sabour et al. 2016, arXiv:1511.05122; steps: arXiv:2003.01690"
    restarts = 2

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """The squared distance from the clean code."""

        def moved(codes: Tensor, origin: Tensor) -> Tensor:
            return (codes - origin).square().sum(1)

        return Goal(moved, (outputs.clone(),))


@condition
class MiddleRepresentation(Representation):
    """``attack.representation`` on the layer that lies nearest to relative depth .5.

    Severity and steps are the same. Which layer that is follows from the layers that are read.
    """

    kind = "attack.representation_middle"
    about = "largest movement of the middle layer within eps in Linf; needs no targets"
    depth = 0.5


@condition
class Guide(LayerAttack):
    """Linf attack that moves a row's code onto that of a row of another class.

    Severity is eps, as in ``attack.representation``. The guide of a row is drawn from the rows of
    its block with another target, the same for all models. Climbed is minus the distance of the
    last hidden layer from the guide's clean code, in 50 steps whose size each example finds, from
    the clean point. How near it came is ``representation.guided``. Classification with integer
    classes only; a block of one class alone is not measurable.
    """

    kind = "attack.guide"
    about = "the last hidden layer moved onto the code of a row of another class, within eps"
    source = "Sabour et al. 2016, arXiv:1511.05122; steps: arXiv:2003.01690"
    tasks = ("classification",)
    steps = 50
    random_start = False

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Real inputs with one integer class each."""
        y = data.targets
        classes = y is not None and y.ndim == 1 and y.dtype.kind in "iu"
        return super().applies(data) and bool(classes)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of eps; nobody has come near anything yet."""
        super().fit(subjects, data, rng)
        self.left: dict[str, list[Tensor]] = {}
        """Model -> for each block (b,) what is left of the distance to the guide, a share."""

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The rows whose codes came nearest to those of their guides."""
        assert isinstance(model, Model)
        if y is None:
            raise DataError("targets", f"are missing, and {self.key} needs them", "give classes")
        self._guides = guides(y, rng)
        found = super().batch(model, x, y, rng)
        codes = self.seen(model)
        with torch.no_grad():
            clean, moved = codes.logits(x).double(), codes.logits(found).double()
        before, after = (_distance(h, clean[self._guides]) for h in (clean, moved))
        # Where both codes are one there is no way to go: it is there.
        left = torch.where(before > 0, after / before, 0.0)
        self.left.setdefault(model.name, []).append(left.cpu())
        return found

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """Minus the distance from the guide's clean code, squared, over what it was."""
        aim = outputs[self._guides]
        unit = (outputs - aim).square().sum(1).clamp(min=torch.finfo(outputs.dtype).tiny)

        def nearness(codes: Tensor, aim: Tensor, unit: Tensor) -> Tensor:
            return -(codes - aim).square().sum(1) / unit

        return Goal(nearness, (aim, unit))


def guides(y: Tensor, rng: torch.Generator) -> Tensor:
    """(b,) a random row of another class for each of (b,) classes; NotMeasurable if one has none.

    A few rows of the block with a class of their own serve many others: draws are with replacement.
    """
    b = len(y)
    draws = torch.rand(b, b, generator=rng, device=rng.device).to(y.device)
    other = y[:, None] != y[None]
    if not bool(other.any(1).all()):
        raise NotMeasurable("has no guides in a block of one class; shuffle the rows")
    return torch.where(other, draws, -1.0).argmax(1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(a - b, dim=1)
    return length


@measure
class Guided(ModelMeasure):
    """What ``attack.guide`` left of the distance between a row's code and that of its guide.

    Mean over all rows of |h(x') - h(guide)| / |h(x) - h(guide)|, Euclidean, last hidden layer.
    Range [0, 1], higher is better: 0 the row's code was moved onto that of a row of another class
    within eps, 1 it could not be moved towards it at all. Context.

    Source: Sabour et al. 2016, section 4.
    """

    id = "representation.guided"
    about = "share of the distance to the code of another row that an attack could not close"
    direction = "higher"
    range = (0.0, 1.0)
    unit = "share"
    needs = frozenset({"condition"})
    on = ("context",)
    source = "Sabour et al. 2016, arXiv:1511.05122"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Only where there are guides."""
        return isinstance(condition, Guide)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        held = getattr(at.condition, "left", {}).get(evidence.subject, [])
        left = torch.cat(held).numpy() if held else np.zeros(0)
        if len(left) != at.data.n or not np.isfinite(left).all():
            raise NotMeasurable("not all of its rows were led to a guide")
        return [Reading(row_mean(left, at.units), "share left")]
