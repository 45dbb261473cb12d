"""What a model is left with when a part of its last hidden layer says nothing any more."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest import blocks
from ringtest.condition import condition
from ringtest.intervene import Edit
from ringtest.measure import NotMeasurable
from ringtest.model import hooked
from ringtest.perturb.disturbance import Disturbance, edited

if TYPE_CHECKING:
    from ringtest.model import Model

_STILL = 1e-10
"""Share of a unit's variance under which what is left of it is rounding, which a probe that
standardises would read."""


class Ablation(Disturbance):
    """Base: something of the last hidden layer is set to its mean over clean rows.

    Not measurable where no unit of that layer varies.
    """

    def changed(self, model: Model) -> Model:
        """The model with the edit at its last hidden layer."""
        assert model.layers is not None
        last = model.layers.last
        rows = self._rows(model)
        if not bool(torch.isfinite(rows).all()):
            raise NotMeasurable(f"shows NaN or infinity in layer {last.name}")
        # What is constant but for rounding has nothing to lose, and would seem to bear the loss.
        tiny = 4 * torch.finfo(torch.float32).eps * rows.mean(0).abs()
        if not bool((rows.std(0, correction=0) > tiny).any()):
            raise NotMeasurable(f"has no unit in layer {last.name} that varies")
        edit = self.edit(rows)
        return edited(model, lambda: [(last, edit)])

    @abstractmethod
    def edit(self, rows: Tensor) -> Edit:
        """What is done at every position, learnt from (m, d) float64 clean rows of the layer."""

    def _rows(self, model: Model) -> Tensor:
        assert model.layers is not None
        name, found = model.layers.last.name, []
        with hooked(model, [name]) as capture, torch.no_grad():
            for x in self.clean(model):
                capture.values, capture.rows, capture.mask = {}, len(x), model.mask
                model.run(x)
                if name not in capture.values:
                    raise NotMeasurable(f"shows nothing in layer {name}")
                found.append(capture.values[name].double())
        return torch.cat(found)


@condition
class Units(Ablation):
    """Units of the last hidden layer set to their means, at random.

    Severity: the share of its units, in (0, 1]; at least one. Layers of one width lose the same
    units. One draw says whether these units mattered: look at several seeds.
    """

    kind = "ablate.units"
    about = "a share of the last hidden layer's units set to their means, at random"
    source = "Morcos et al. 2018, arXiv:1803.06959"
    usual = (0.1, 0.5)
    rule = "give a share of the units in (0, 1]"

    @classmethod
    def allows(cls, severity: float) -> bool:
        """A share."""
        return severity <= 1

    def edit(self, rows: Tensor) -> Edit:
        """A fixed choice of units."""
        mean, width = rows.mean(0), rows.shape[1]
        order = torch.randperm(width, generator=blocks.generator(self._seed))
        gone = torch.zeros(width, dtype=torch.bool)
        gone[order[: max(1, round(self.strength * width))]] = True
        return lambda values: torch.where(gone.to(values.device), mean.to(values), values)


class Directions(Ablation):
    """Base: directions of the last hidden layer projected out, around its mean.

    Severity: how many. If the clean rows vary in no more directions, the layer becomes constant.
    """

    rule = "give a whole number of directions"

    @classmethod
    def allows(cls, severity: float) -> bool:
        """A number of directions."""
        return severity == round(severity)

    @abstractmethod
    def directions(self, axes: Tensor) -> Tensor:
        """(k, d) orthonormal rows, of the (rank, d) principal axes, the largest first."""

    def edit(self, rows: Tensor) -> Edit:
        """A projection; units of which nothing is left but rounding become constant."""
        mean = rows.mean(0)
        centred = rows - mean
        _, values, axes = torch.linalg.svd(centred, full_matrices=False)
        # A layer wider than what feeds it has directions that only its rounding has.
        axes = axes[values > values[0] * 8 * torch.finfo(torch.float32).eps]
        if self.strength >= len(axes):
            return lambda values: mean.to(values).expand_as(values).clone()
        gone = self.directions(axes)
        before = centred.square().sum(0)
        left = (centred - (centred @ gone.T) @ gone).square().sum(0)
        still = (before == 0) | (left <= _STILL * before)

        def edit(values: Tensor) -> Tensor:
            centre, out = mean.to(values.device), gone.to(values.device)
            moved = values.double() - centre
            kept = values.double() - (moved @ out.T) @ out
            return torch.where(still.to(values.device), centre, kept).to(values.dtype)

        return edit


@condition
class PrincipalDirections(Directions):
    """The directions of largest variance of the last hidden layer removed.

    Severity: how many. ``ablate.subspace`` with the same severity is its control.
    """

    kind = "ablate.directions"
    about = "the principal directions of the last hidden layer removed"
    usual = (1.0, 4.0)

    def directions(self, axes: Tensor) -> Tensor:
        """The first of them."""
        return axes[: int(self.strength)]


@condition
class RandomSubspace(Directions):
    """A random subspace of the last hidden layer removed, of those in which it varies.

    Severity: its dimension. Uniform over the subspaces of the span of clean rows, whatever their
    variance: the control of ``ablate.directions``. One draw.
    """

    kind = "ablate.subspace"
    about = "a random subspace of the last hidden layer removed, the control of principal ones"
    usual = (1.0, 4.0)

    def directions(self, axes: Tensor) -> Tensor:
        """An orthonormal basis of the span of Gaussian draws along the axes."""
        rng = blocks.generator(self._seed)
        draws = torch.randn(len(axes), int(self.strength), generator=rng, dtype=axes.dtype)
        basis: Tensor = torch.linalg.qr(draws).Q
        return basis.T @ axes
