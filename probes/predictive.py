"""Probes that answer with probabilities: L2-logistic for classes, Gaussian ridge for values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ringtest import margins
from ringtest.measure import NotMeasurable

_STEPS = 60
"""Newton steps before a fit is given up: what converges does so in about ten."""
_FLAT = 1e-10
"""Norm of the gradient, per row, at which a fit is done."""
_LEAST_VARIANCE = 1e-12
"""Share of a value's variance that stays unexplained: 20 bits are the most that a code can save."""


@dataclass(frozen=True)
class Axes:
    """Standardised features of the rows that a probe is fitted on, by their principal axes."""

    centre: Tensor
    """(d,) means."""
    scale: Tensor
    """(d,) standard deviations; infinity for units that say nothing on these rows."""
    basis: Tensor
    """(d, r) orthonormal axes of the standardised rows; r is at most the number of rows."""
    variance: Tensor
    """(r,) variance along each."""

    @classmethod
    def of(cls, rows: Tensor) -> Axes:
        """From (n, d) float64 rows. r is 0 where no unit varies."""
        centre = rows.mean(0)
        sd = (rows - centre).square().mean(0).sqrt()
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
    weights: Tensor
    """(r, s)"""
    offset: Tensor
    """(s,)"""
    shown: Tensor
    """(s,) codes of the classes among the rows it was fitted on."""
    classes: int

    def __call__(self, rows: Tensor) -> Tensor:
        """(b, d) rows to (b, classes) log-probabilities (natural), -inf for classes not shown."""
        out = torch.full((rows.shape[0], self.classes), -torch.inf, dtype=torch.float64)
        out[:, self.shown] = (self.axes(rows) @ self.weights + self.offset).log_softmax(1)
        return out


def fit_classes(
    rows: Tensor, codes: Tensor, classes: int, penalty: float = margins.PROBE_RIDGE
) -> ClassProbe:
    """L2-logistic probe on standardised features, the intercept free, converged to rounding.

    Args:
        rows: (n, d) float64 features of any width.
        codes: (n,) class codes in [0, classes).
        classes: number of classes K.
        penalty: weight of half the squared coefficients against the mean loss of a row. As in
            scikit-learn (C = 1 / (penalty n)) two classes have one vector of coefficients, more
            have one each.

    Raises NotMeasurable if the fit does not converge.
    """
    axes = Axes.of(rows)
    shown, y = torch.unique(codes, return_inverse=True)
    # Two classes, each with half of the one vector w, would pay for w^2 / 4 twice: half as much.
    strength = penalty * (2.0 if len(shown) == 2 else 1.0)
    # In these units the curvature is about 1 in every direction, and Newton's steps are cheap.
    unit = (0.25 * axes.variance + strength).rsqrt()
    hot = torch.nn.functional.one_hot(y, len(shown)).double()
    weights, offset = _newton(axes(rows) * unit, hot, strength * unit.square())
    return ClassProbe(axes, unit[:, None] * weights, offset, shown, classes)


def _newton(z: Tensor, y: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """(r, s) weights and (s,) offsets that minimise the mean loss of softmax regression.

    Args:
        z: (n, r) features.
        y: (n, s) one-hot classes, each of which occurs.
        penalty: (r,) of each feature's squared weights, halved.
    """
    z = torch.cat([z, torch.ones_like(z[:, :1])], 1) if z.shape[1] else torch.ones_like(y[:, :1])
    penalty = torch.cat([penalty, penalty.new_zeros(1)])[:, None]
    w = torch.zeros(z.shape[1], y.shape[1], dtype=torch.float64)
    w[-1] = y.mean(0).log()

    def loss(w: Tensor) -> tuple[float, Tensor]:
        log_p = (z @ w).log_softmax(1)
        return float(-(log_p * y).sum() / len(z) + 0.5 * (penalty * w.square()).sum()), log_p

    value, log_p = loss(w)
    for _ in range(_STEPS):
        p = log_p.exp()
        gradient = z.T @ (p - y) / len(z) + penalty * w
        if float(gradient.norm()) <= _FLAT:
            return w[:-1], w[-1]
        step = -_solved(z, p, penalty, gradient)
        slope, length = float((gradient * step).sum()), 1.0
        while True:
            new, log_p = loss(w + length * step)
            # Near the end the loss falls by less than its own rounding.
            if new <= value + 1e-4 * length * slope + 1e-13 * (1 + abs(value)) or length < 1e-9:
                break
            length /= 2
        w, value = w + length * step, new
    raise NotMeasurable("a logistic probe did not converge")


def _solved(z: Tensor, p: Tensor, penalty: Tensor, gradient: Tensor) -> Tensor:
    """Hessian^-1 gradient by conjugate gradients, as exact as Newton's convergence asks for."""
    # Probes that are sure of most rows bend the loss unevenly: steps are scaled by the diagonal.
    diagonal = (z.square().T @ (p * (1 - p)) / len(z) + penalty).clamp_min(1e-12)
    found, left = torch.zeros_like(gradient), gradient
    way = left / diagonal
    size, norm = float((left * way).sum()), float(gradient.norm())
    goal = min(0.5, norm**0.5) * norm
    for _ in range(500):
        moved = z @ way
        turned = p * (moved - (p * moved).sum(1, keepdim=True))
        bent = z.T @ turned / len(z) + penalty * way
        curvature = float((way * bent).sum())
        if not curvature > 0:
            break
        found = found + size / curvature * way
        left = left - size / curvature * bent
        if float(left.norm()) <= goal:
            break
        scaled = left / diagonal
        size, before = float((left * scaled).sum()), size
        way = scaled + size / before * way
    return found if bool((found != 0).any()) else gradient


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


def fit_values(rows: Tensor, values: Tensor, penalty: float = margins.PROBE_RIDGE) -> ValueProbe:
    """Ridge on standardised features, the variance of its error from exact leave-one-out.

    The error of the rows fitted on would be too small by far in wide layers: there a probe passes
    through every one of its own rows.

    Args:
        rows: (n, d) float64 features of any width.
        values: (n, q) targets.
        penalty: of the squared coefficients, per row.
    """
    axes = Axes.of(rows)
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
