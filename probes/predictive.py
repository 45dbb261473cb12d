"""Probes that answer with probabilities: L2-logistic for classes, Gaussian ridge for values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ringtest import margins
from ringtest.measure import NotMeasurable
from ringtest.probes.softmax import Problems, solve
from ringtest.probes.training_rows import Scale

_FLAT = 1e-9
"""Largest entry of the gradient of the mean loss at which a fit is done: what it says is told in
bits, and they are read one by one."""
_LEAST_VARIANCE = 1e-12
"""Share of a value's variance that stays unexplained: 20 bits are the most that a code can save."""


@dataclass(frozen=True)
class Axes:
    """Features of the rows that a probe is fitted on, at a scale, by their principal axes.

    The scale is that of all rows, which takes no look at an answer: a unit that next to no row of
    the fit moves, scaled up by what these say, would send the rows that do out of all bounds.
    """

    centre: Tensor
    """(d,) means of the rows of the fit."""
    scale: Tensor
    """(d,) what units are divided by; infinity for those that say nothing on these rows."""
    basis: Tensor
    """(d, r) orthonormal axes of the scaled rows; r is at most the number of rows."""
    variance: Tensor
    """(r,) variance along each."""

    @classmethod
    def of(cls, rows: Tensor, sd: Tensor | None = None) -> Axes:
        """From (n, d) float64 rows and (d,) scales, or their own; r is 0 where no unit varies."""
        centre = rows.mean(0)
        sd = spread(rows) if sd is None else sd
        alive = (rows != rows[0]).any(0) & (sd > 1e-9 * sd.max())
        scale = torch.where(alive, sd, torch.full_like(sd, torch.inf))
        z = ((rows - centre) / scale)[:, alive]
        found, variance = _principal(z)
        basis = torch.zeros(rows.shape[1], found.shape[1], dtype=rows.dtype)
        basis[alive] = found
        return cls(centre, scale, basis, variance)

    def __call__(self, rows: Tensor) -> Tensor:
        """(b, d) rows to (b, r)."""
        return ((rows - self.centre) / self.scale) @ self.basis


def spread(rows: Tensor) -> Tensor:
    """(d,) standard deviations of (n, d) rows."""
    return (rows - rows.mean(0)).square().mean(0).sqrt()


def _principal(z: Tensor) -> tuple[Tensor, Tensor]:
    """(d, r) axes and (r,) variances of centred (n, d) rows, by the smaller of their two Grams."""
    n, d = z.shape
    if d == 0:
        return z.new_zeros(0, 0), z.new_zeros(0)
    wide = d > n
    values, vectors = torch.linalg.eigh((z @ z.T if wide else z.T @ z) / n)
    keep = values > values[-1] * 1e-12
    values, vectors = values[keep], vectors[:, keep]
    return (z.T @ vectors / (n * values).sqrt() if wide else vectors), values


@dataclass(frozen=True)
class ClassProbe:
    """A fitted logistic probe. Classes that it was not shown have probability 0."""

    axes: Axes
    theta: Tensor
    """(classes, r + 1) weights and intercepts."""

    def __call__(self, rows: Tensor) -> Tensor:
        """(b, d) rows to (b, classes) log-probabilities (natural), -1e30 for classes not shown."""
        logits = torch.addmm(self.theta[:, -1], self.axes(rows), self.theta[:, :-1].T)
        return logits.log_softmax(1)


def fit_classes(
    rows: Tensor,
    codes: Tensor,
    classes: int,
    penalty: float = margins.PROBE_RIDGE,
    sd: Tensor | None = None,
) -> ClassProbe:
    """L2-logistic probe on standardised features, the intercept free, converged almost to rounding.

    Args:
        rows: (n, d) float64 features of any width.
        codes: (n,) class codes in [0, classes).
        classes: number of classes K.
        penalty: weight of half the squared coefficients against the mean loss of a row. As in
            scikit-learn (C = 1 / (penalty n)) two classes have one vector of coefficients, more
            have one each.
        sd: (d,) scales that features are divided by; None: those of the rows.

    Raises NotMeasurable if the fit does not converge.
    """
    axes = Axes.of(rows, sd)
    z = axes(rows)
    weight = torch.full((1, len(z)), 1 / len(z), dtype=torch.float64)
    plain = Scale(weight, z.new_zeros(1, z.shape[1]), z.new_ones(1, z.shape[1]))
    theta, solved = solve(Problems.of(z, codes, classes, plain, penalty), _FLAT)
    if not solved:
        raise NotMeasurable("a logistic probe did not converge")
    return ClassProbe(axes, theta[0])


@dataclass(frozen=True)
class ValueProbe:
    """A fitted Gaussian ridge probe."""

    axes: Axes
    weights: Tensor
    """(r, q)"""
    offset: Tensor
    """(q,)"""
    variance: Tensor
    """(q,) mean squared error of a row that was left out of the fit."""

    def __call__(self, rows: Tensor, values: Tensor) -> Tensor:
        """(b, q) log-densities (natural) of values (b, q) given rows (b, d)."""
        return log_density(values, self.axes(rows) @ self.weights + self.offset, self.variance)


def fit_values(
    rows: Tensor,
    values: Tensor,
    penalty: float = margins.PROBE_RIDGE,
    sd: Tensor | None = None,
) -> ValueProbe:
    """Ridge on standardised features, the variance of its error from exact leave-one-out.

    The error of the rows fitted on would be too small by far in wide layers: there a probe passes
    through every one of its own rows.

    Args:
        rows: (n, d) float64 features of any width.
        values: (n, q) targets.
        penalty: of the squared coefficients, per row.
        sd: (d,) scales that features are divided by; None: those of the rows.
    """
    axes = Axes.of(rows, sd)
    z, n = axes(rows), rows.shape[0]
    offset = values.mean(0)
    weights = z.T @ (values - offset) / (n * (axes.variance + penalty))[:, None]
    leverage = (z.square() / (n * (axes.variance + penalty))).sum(1) + 1.0 / n
    error = (values - offset - z @ weights) / (1.0 - leverage)[:, None]
    least = _LEAST_VARIANCE * values.var(0, unbiased=False)
    return ValueProbe(axes, weights, offset, torch.maximum(error.square().mean(0), least))


def log_density(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Natural logarithm of the normal density, element by element."""
    return -0.5 * ((values - mean).square() / variance + (2 * torch.pi * variance).log())
