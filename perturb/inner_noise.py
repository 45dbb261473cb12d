"""Noise inside a model: on its weights, or on what its layers show."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest import blocks
from ringtest.capture import Layer
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.intervene import Edit, editing
from ringtest.measure import NotMeasurable
from ringtest.perturb import weight_norm
from ringtest.perturb.disturbance import Disturbance, edited, reweighted

if TYPE_CHECKING:
    from ringtest.model import Model

Strengths = Callable[[float], "Model"]
"""From a strength to the model with that much noise; the draws are the same for all strengths."""


class Noise(Disturbance):
    """Base: Gaussian noise of some strength, in units of what it disturbs."""

    @abstractmethod
    def noisy(self, model: Model) -> Strengths:
        """The model at any strength; NotMeasurable if there is nothing to disturb."""

    def changed(self, model: Model) -> Model:
        """The model at the severity."""
        return self.noisy(model)(self.strength)


@condition
class WeightNoise(Noise):
    """Gaussian noise on every weight matrix, filter by filter: one draw for the whole condition.

    Severity: expected length of the noise on a filter (a row of the matrix: all that feeds one
    unit), over the length of the filter. So a unit that is made larger, and is read by smaller
    weights, is disturbed as before. Biases and the gains of normalisations stay as they are, and so
    does a filter of zeros. Under ``weight_norm`` the weight is disturbed that its two parts make.
    Models of one architecture get the same draws.

    It is no measure of quality: of two networks with one and the same output the one with the worse
    code may bear more. See ``noise.weight_matched``.
    """

    kind = "noise.weight"
    about = "Gaussian noise on weights, relative to the norm of each filter"
    source = "Li et al. 2018, arXiv:1712.09913 (relative to each filter)"
    usual = (0.1, 0.3)

    def beyond(self, model: Model) -> str | None:
        """Its weights cannot be reached, or only in part."""
        if model.module is None:
            return "is a plain callable, whose weights cannot be reached"
        if isinstance(model.module, torch.jit.ScriptModule):
            return "is a TorchScript module, whose weights cannot be replaced"
        if any(".quantized" in type(m).__module__ for m in model.module.modules()):
            return "holds packed weights, which cannot be given noise"
        return None if matrices(model) else "has no weight matrix"

    def noisy(self, model: Model) -> Strengths:
        """Noise of strength 1 is drawn once, and added in any strength."""
        assert model.module is not None
        found, lengths = matrices(model), weight_norm.lengths(model.module)
        held = {name: p.detach() for name, p in model.module.named_parameters()}
        moves = {
            name: _filter_noise(weight, blocks.generator(self._seed, number))
            for number, (name, weight) in enumerate(found.items())
        }

        def at(strength: float) -> Model:
            new = {name: w.detach() + strength * moves[name] for name, w in found.items()}
            for name, length in lengths.items():
                new[name], new[length] = weight_norm.split(new[name], held[name], held[length])
            return reweighted(model, new)

        return at


@condition
class ActivationNoise(Noise):
    """Gaussian noise on what every layer that is read shows, at every position.

    Severity: standard deviation of the noise, over that of each unit on clean rows; a unit that is
    constant there stays as it is. Every layer is disturbed that the audit reads, and the noise of
    one reaches the next. What is read there is what it was changed to. So a layer lies further from
    its clean self than the severity alone would put it, and nearer where positions are averaged.
    Models of one architecture get the same draws.
    """

    kind = "noise.activation"
    about = "Gaussian noise on all layers that are read, relative to each unit's SD"
    usual = (0.1, 0.3)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the data; until a block begins, its seed is that of the condition."""
        super().fit(subjects, data, rng)
        self._block = self._seed

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The inputs as they are; the noise of this block is drawn from here on."""
        self._block = blocks.seed_from(rng)
        return x

    def clean(self, model: Model) -> Iterator[Tensor]:
        """As ever, with noise of its own for each block."""
        for number, x in enumerate(super().clean(model)):
            self._block = blocks.derive(self._seed, number)
            yield x

    def noisy(self, model: Model) -> Strengths:
        """Spreads are measured once, on clean rows."""
        assert model.layers is not None
        spreads = self._spreads(model)
        if not any(bool((sd > 0).any()) for sd in spreads.values()):
            raise NotMeasurable("has no unit that varies")

        def edits(strength: float) -> Iterator[tuple[Layer, Edit]]:
            for number, (layer, sd) in enumerate(spreads.items()):
                rng = blocks.generator(self._block, number)
                yield layer, partial(_add_noise, sd=strength * sd, rng=rng)

        return lambda strength: edited(model, partial(edits, strength))

    def _spreads(self, model: Model) -> dict[Layer, Tensor]:
        """(d,) standard deviation of each layer's units over rows and positions."""
        assert model.layers is not None
        assert model.module is not None
        found = {layer: _Spread() for layer in model.layers.picked}
        for x in self.clean(model):
            with torch.no_grad(), ExitStack() as stack:
                for layer, spread in found.items():
                    stack.enter_context(editing(model.module, layer, spread.see))
                model.run(x)
        out = {layer: spread.value() for layer, spread in found.items()}
        for layer, sd in out.items():
            if not bool(torch.isfinite(sd).all()):
                raise NotMeasurable(f"shows NaN or infinity in layer {layer.name}")
        return out


def matrices(model: Model) -> dict[str, Tensor]:
    """Weight matrices and kernels of a model by name, in their order; copies of one count once.

    One under ``weight_norm`` stands under the name of its direction.
    """
    assert model.module is not None
    held = dict(model.module.named_parameters())
    lengths = weight_norm.lengths(model.module)
    parts = set(lengths.values())
    return {
        name: weight_norm.joined(p, held[lengths[name]]) if name in lengths else p
        for name, p in held.items()
        if name not in parts and p.ndim > 1 and p.is_floating_point()
    }


def _filter_noise(weight: Tensor, rng: torch.Generator) -> Tensor:
    """Noise whose expected squared length on each filter is that of the filter."""
    draws = torch.randn(weight.shape, generator=rng).to(weight.device)
    filters = weight.detach().float().flatten(1)
    scale = filters.square().mean(1).sqrt()
    return (draws * scale.view(-1, *[1] * (weight.ndim - 1))).to(weight.dtype)


def _add_noise(values: Tensor, sd: Tensor, rng: torch.Generator) -> Tensor:
    draws = torch.randn(values.shape, generator=rng).to(values.device)
    return values + (sd * draws).to(values.dtype)


class _Spread:
    """Standard deviation of units, merged block by block around the first mean."""

    def __init__(self) -> None:
        self._n = 0
        self._mean = self._squares = torch.zeros(())

    def see(self, values: Tensor) -> Tensor:
        """Take (b, ..., d) values, and hand them on."""
        flat = values.detach().double().reshape(-1, values.shape[-1])
        m, mean = len(flat), flat.mean(0)
        apart, total = mean - self._mean.to(mean), self._n + m
        squares = (flat - mean).square().sum(0)
        self._squares = self._squares.to(mean) + squares + apart.square() * (self._n * m / total)
        self._mean = mean - apart * (self._n / total)
        self._n = total
        return values

    def value(self) -> Tensor:
        """(d,) in float32; exactly 0 for what is constant but for rounding."""
        sd = (self._squares / max(self._n, 1)).sqrt()
        tiny = 4 * torch.finfo(torch.float32).eps * self._mean.abs()
        return torch.where(sd > tiny, sd, torch.where(sd.isnan(), sd, 0.0)).float()
