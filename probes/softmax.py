"""Multinomial logistic regression for many layers and all folds at once.

The objective is that of scikit-learn's ``LogisticRegression`` over the number of rows: the mean
cross-entropy of the training rows and half of the penalty times the squared weights, of features
standardised on those rows, the intercept free. Two classes have one weight vector, the difference
of the two columns here, whose halves hold half of its square: their penalty counts double.

Solved by L-BFGS over all (layer, fold) problems side by side, each with its own step. Two things
make it fast. All folds of a layer share its rows, so a step is two products of the whole layer with
the weights of all folds; and it starts from the inverse curvature at weights 0, where a step is
Newton's. Most of the way is gone in float32, the end in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from ringtest.probes.training_rows import Scale

MEMORY: Final = 10
"""Steps that L-BFGS remembers."""
STEPS: Final = 1_000
"""Steps after which a problem counts as not solved; collinear, separable layers take about 100."""
DECREASE: Final = 1e-4
"""Share of the decrease that the slope promises which a step must bring (Armijo)."""
SINGLE: Final = 1e-5
"""Gradient at which float32 has done what it can."""
SINGLE_STEPS: Final = 100
"""Steps after which it has, too: rounding may keep it from getting there."""
_NEVER: Final = -1e30
"""Logit of a class without training rows; infinity would turn 0 * log 0 into NaN."""


@dataclass(frozen=True)
class Problems:
    """L layers of equal width d, each with F folds, K classes and m rows; all of one dtype."""

    rows: Tensor
    """(L, m, d + 1) features, with a column of ones."""
    weight: Tensor
    """(F, 1, m) weights of the training rows."""
    centre: Tensor
    """(L, F, 1, d)"""
    inverse: Tensor
    """(L, F, 1, d) 1 over the standard deviation on training rows, or 0."""
    onehot: Tensor
    """(K, m)"""
    codes: Tensor
    """(1, F, 1, m) class codes, to gather by."""
    absent: Tensor
    """(F, K, 1) 0, or what makes a class impossible."""
    penalty: Tensor
    """(F,) weight of half the squared weights, beside the mean loss."""
    start: Tensor
    """(L, d, d) inverse of the curvature at weights 0."""

    @classmethod
    def of(
        cls, layers: Tensor, codes: Tensor, count: int, scales: list[Scale], penalty: float
    ) -> Problems:
        """From (L, m, d) float64 layers, about standardised, and (m,) class codes below count."""
        size, m = layers.shape[:2]
        onehot = torch.nn.functional.one_hot(codes, count).T.double()
        weight = scales[0].weight
        share = weight @ onehot.T
        present = (share > 0).sum(1)
        penalties = penalty * torch.where(present == 2, 2.0, 1.0).double()
        curvature = layers.transpose(1, 2) @ layers / (m * count)
        curvature.diagonal(dim1=1, dim2=2).add_(penalty)
        return cls(
            torch.cat([layers, torch.ones(size, m, 1, dtype=torch.float64)], dim=2),
            weight[:, None],
            torch.stack([s.centre for s in scales])[:, :, None],
            torch.stack([s.inverse for s in scales])[:, :, None],
            onehot,
            codes.expand(1, weight.shape[0], 1, m),
            torch.where(share > 0, 0.0, _NEVER).double()[:, :, None],
            penalties,
            torch.cholesky_inverse(torch.linalg.cholesky(curvature)),
        )

    def single(self) -> Problems:
        """The same in float32."""
        return replace(
            self,
            **{k: v.float() for k, v in vars(self).items() if v.is_floating_point()},
        )

    def zero(self) -> Tensor:
        """(L, F, K, d + 1) weights 0, intercepts at the classes' frequencies."""
        share = (self.weight * self.onehot).sum(2)
        prior = torch.where(share > 0, share, torch.ones_like(share)).log()
        # Columns that sum to 0 stay so: gradients do, and so does the solution.
        prior = torch.where(share > 0, prior - prior.sum(1, True) / (share > 0).sum(1, True), 0)
        out = self.rows.new_zeros(self.rows.shape[0], *share.shape, self.rows.shape[2])
        out[..., -1] = prior
        return out

    def logits(self, theta: Tensor) -> Tensor:
        """(L, F, K, m) scores of all rows, training rows or not."""
        weights = theta[..., :-1] * self.inverse
        offset = theta[..., -1:] - (weights * self.centre).sum(3, keepdim=True)
        mapped = torch.cat([weights, offset], dim=3)
        flat = mapped.flatten(1, 2) @ self.rows.transpose(1, 2)
        scores: Tensor = flat.unflatten(1, theta.shape[1:3])
        return scores

    def loss(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(L, F) mean cross-entropy, and (L, F, K, m) probabilities."""
        logits = logits + self.absent
        logits -= logits.gather(2, self.codes.expand(logits.shape[0], -1, -1, -1))
        top = logits.amax(2, keepdim=True)
        shares = logits.sub_(top).exp_()
        total = shares.sum(2, keepdim=True)
        loss = ((total.log() + top) * self.weight).sum((2, 3))
        return loss, shares.div_(total)

    def gradient(self, probabilities: Tensor, theta: Tensor) -> Tensor:
        """(L, F, K, d + 1) gradient of the objective."""
        residual = (probabilities - self.onehot).mul_(self.weight)
        flat = residual.flatten(1, 2) @ self.rows
        raw = flat.unflatten(1, theta.shape[1:3])
        slope = (raw[..., :-1] - raw[..., -1:] * self.centre) * self.inverse
        slope += self.penalty[:, None, None] * theta[..., :-1]
        return torch.cat([slope, raw[..., -1:]], dim=3)

    def newton(self, gradient: Tensor) -> Tensor:
        """(L, F, K, d + 1) the gradient over the curvature at weights 0, equal classes."""
        flat = gradient[..., :-1].flatten(1, 2) @ self.start
        weights = flat.unflatten(1, gradient.shape[1:3])
        return torch.cat([weights, gradient[..., -1:] * gradient.shape[2]], dim=3)

    def squares(self, a: Tensor, b: Tensor) -> Tensor:
        """(L, F) penalty's share of the objective, for a product of weights."""
        return self.penalty / 2 * (a[..., :-1] * b[..., :-1]).sum((2, 3))


def solve(problems: Problems, tolerance: float) -> tuple[Tensor, bool]:
    """(L, F, K, m) logits of all rows, and whether all gradients came below the tolerance."""
    rough = _Search(problems.single())
    rough.run(max(tolerance, SINGLE), min(STEPS, SINGLE_STEPS))
    search = _Search(problems, rough.theta.double())
    # What was learnt of the curvature holds on.
    search.gamma = rough.gamma.double()
    search.pairs = [(s.double(), y.double(), b.double(), r.double()) for s, y, b, r in rough.pairs]
    search.run(tolerance, STEPS)
    return search.logits + problems.absent, not bool((search.size > tolerance).any())


class _Search:
    """One run of L-BFGS; every tensor of shape (L, F) speaks for one problem each."""

    def __init__(self, problems: Problems, theta: Tensor | None = None) -> None:
        self.problems = problems
        self.theta = problems.zero() if theta is None else theta
        self.logits = problems.logits(self.theta)
        loss, probabilities = problems.loss(self.logits)
        self.value = loss + problems.squares(self.theta, self.theta)
        self._differentiate(probabilities)
        self.pairs: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.gamma = torch.ones_like(self.value)
        self.stuck = torch.zeros_like(self.value, dtype=torch.bool)

    def _differentiate(self, probabilities: Tensor) -> None:
        self.gradient = self.problems.gradient(probabilities, self.theta)
        self.downhill = self.problems.newton(self.gradient)

    @property
    def size(self) -> Tensor:
        """(L, F) largest entry of each gradient."""
        return self.gradient.abs().amax((2, 3))

    def run(self, tolerance: float, steps: int) -> None:
        """Go until all gradients are small, or nothing moves."""
        for _ in range(steps):
            active = (self.size > tolerance) & ~self.stuck
            if not bool(active.any()):
                break
            self._step(active)

    def _step(self, active: Tensor) -> None:
        direction = -self._towards()
        slope = _dot(self.gradient, direction)
        # Rounding may turn a remembered curvature around; the first one is positive by itself.
        wrong = slope >= 0
        direction = torch.where(_wide(wrong), -self.downhill, direction)
        slope = torch.where(wrong, -_dot(self.gradient, self.downhill), slope)
        step, probabilities = self._line_search(direction, slope, active)
        before, newton = self.gradient, self.downhill
        move = _wide(step) * direction
        self.theta = self.theta + move
        self._differentiate(probabilities)
        self._remember(move, self.gradient - before, self.downhill - newton)

    def _towards(self) -> Tensor:
        """The gradient over the remembered curvature (Nocedal & Wright, algorithm 7.4)."""
        shares = []
        # The curvature at the start is linear: it is applied to differences as they are stored.
        rest, out = self.gradient, self.downhill
        for s, y, bent, rho in reversed(self.pairs):
            share = rho * _dot(s, rest)
            rest = rest - _wide(share) * y
            out = out - _wide(share) * bent
            shares.append(share)
        out = _wide(self.gamma) * out
        for (s, y, _, rho), share in zip(self.pairs, reversed(shares), strict=True):
            out = out + _wide(share - rho * _dot(y, out)) * s
        return out

    def _line_search(
        self, direction: Tensor, slope: Tensor, active: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(L, F) steps that bring each problem down, and the probabilities there."""
        problems = self.problems
        along = problems.logits(direction)
        cross = 2 * problems.squares(self.theta, direction)
        square = problems.squares(direction, direction)
        fixed = problems.squares(self.theta, self.theta)
        # What rounding makes of a value is no reason to turn back.
        slack = 8 * torch.finfo(slope.dtype).eps * self.value.abs()
        step = active.to(slope.dtype)
        for attempt in range(40):
            logits = torch.addcmul(self.logits, _wide(step), along)
            loss, probabilities = problems.loss(logits)
            value = loss + fixed + step * cross + step.square() * square
            bad = ~(value <= self.value + DECREASE * step * slope + slack) & (step > 0)
            if not bool(bad.any()):
                break
            # To the lowest point of a parabola, but neither nowhere nor nearly as far again.
            bend = value - self.value - step * slope
            shrink = (-slope * step / (2 * bend)).nan_to_num(0.1).clamp(0.1, 0.5)
            step = torch.where(bad, step * shrink if attempt < 38 else 0 * step, step)
        self.stuck |= active & (step == 0)
        self.logits, self.value = logits, value
        return step, probabilities

    def _remember(self, s: Tensor, y: Tensor, bent: Tensor) -> None:
        product, scale = _dot(s, y), _dot(y, bent)
        # A problem that stood still, or whose gradient moved by rounding alone, learns nothing.
        eps = torch.finfo(s.dtype).eps
        good = product > eps * (_dot(s, s) * _dot(y, y)).sqrt()
        good &= scale > 0
        one = torch.ones_like(product)
        rho = torch.where(good, 1 / torch.where(good, product, one), 0)
        self.gamma = torch.where(good, product / torch.where(good, scale, one), self.gamma)
        self.pairs = [*self.pairs, (s, y, bent, rho)][-MEMORY:]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(L, F) products over classes and features."""
    product: Tensor = (a * b).sum((2, 3))
    return product


def _wide(value: Tensor) -> Tensor:
    """(L, F) beside (L, F, K, d)."""
    return value[:, :, None, None]
