"""Multinomial logistic regression for all folds of a layer at once.

The objective is that of scikit-learn's ``LogisticRegression`` over the number of rows: the mean
cross-entropy of the training rows and half of the penalty times the squared weights, of features
standardised on those rows, the intercept free. Two classes have one weight vector, the difference
of the two columns here, whose halves hold half of its square: their penalty counts double.

Solved by L-BFGS over all folds side by side, each with its own step. Two things make it fast. Folds
share the rows of the layer, so a step is two products of it with the weights of all folds; and it
starts from the inverse curvature at weights 0, where a step is Newton's. Most of the way is gone in
float32, the end in float64.
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
    """F problems that share m rows of d features and K classes; all of one dtype."""

    rows: Tensor
    """(m, d) features."""
    weight: Tensor
    """(F, 1, m) weights of the training rows."""
    centre: Tensor
    """(F, 1, d)"""
    inverse: Tensor
    """(F, 1, d) 1 over the standard deviation on training rows, or 0."""
    onehot: Tensor
    """(K, m)"""
    codes: Tensor
    """(F, 1, m) class codes, to gather by."""
    penalty: Tensor
    """(F, 1, 1) weight of half the squared weights, beside the mean loss."""
    start: Tensor
    """(d, d) inverse of the curvature at weights 0."""

    @classmethod
    def of(cls, rows: Tensor, codes: Tensor, count: int, scale: Scale, penalty: float) -> Problems:
        """From (m, d) float64 rows, about standardised, and (m,) class codes below count."""
        onehot = torch.nn.functional.one_hot(codes, count).T.double()
        present = (scale.weight @ onehot.T > 0).sum(1)
        penalties = penalty * torch.where(present == 2, 2.0, 1.0).double()
        # A start need not be exact: float32 takes half the time.
        single = rows.float()
        curvature = single.T @ single / (rows.shape[0] * count)
        curvature.diagonal().add_(penalty)
        return cls(
            rows,
            scale.weight[:, None],
            scale.centre[:, None],
            scale.inverse[:, None],
            onehot,
            codes.expand(scale.weight.shape[0], 1, -1),
            penalties[:, None, None],
            torch.cholesky_inverse(torch.linalg.cholesky(curvature)).double(),
        )

    def single(self) -> Problems:
        """The same in float32."""
        return replace(
            self,
            **{k: v.float() for k, v in vars(self).items() if v.is_floating_point()},
        )

    def zero(self) -> Tensor:
        """(F, K, d + 1) weights 0, intercepts at the classes' frequencies."""
        share = (self.weight * self.onehot).sum(2)
        prior = torch.where(share > 0, share, torch.ones_like(share)).log()
        # Columns that sum to 0 stay so: gradients do, and so does the solution.
        prior = prior - prior.sum(1, True) / (share > 0).sum(1, True)
        out = self.rows.new_zeros(*share.shape, self.rows.shape[1] + 1)
        out[..., -1] = torch.where(share > 0, prior, _NEVER)
        return out

    def logits(self, theta: Tensor) -> Tensor:
        """(F, K, m) scores of all rows, training rows or not."""
        weights = theta[..., :-1] * self.inverse
        offset = theta[..., -1:] - (weights * self.centre).sum(2, keepdim=True)
        flat = torch.addmm(offset.flatten(0, 1), weights.flatten(0, 1), self.rows.T)
        scores: Tensor = flat.unflatten(0, theta.shape[:2])
        return scores

    def loss(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(F,) mean cross-entropy, and (F, K, m) probabilities."""
        told = logits.log_softmax(1)
        loss = -(told.gather(1, self.codes) * self.weight).sum((1, 2))
        return loss, told.exp_()

    def gradient(self, probabilities: Tensor, theta: Tensor) -> Tensor:
        """(F, K, d + 1) gradient of the objective; probabilities are used up."""
        residual = probabilities.sub_(self.onehot).mul_(self.weight)
        raw = (residual.flatten(0, 1) @ self.rows).unflatten(0, theta.shape[:2])
        total = residual.sum(2, keepdim=True)
        slope = (raw - total * self.centre).mul_(self.inverse)
        return torch.cat([slope.addcmul_(self.penalty, theta[..., :-1]), total], dim=2)

    def newton(self, gradient: Tensor) -> Tensor:
        """(F, K, d + 1) the gradient over the curvature at weights 0, equal classes."""
        weights = gradient[..., :-1] @ self.start
        return torch.cat([weights, gradient[..., -1:] * gradient.shape[1]], dim=2)

    def squares(self, a: Tensor, b: Tensor) -> Tensor:
        """(F,) penalty's share of the objective, for a product of weights."""
        return (self.penalty / 2 * a[..., :-1] * b[..., :-1]).sum((1, 2))


def solve(problems: Problems, tolerance: float) -> tuple[Tensor, bool]:
    """(F, K, d + 1) weights and intercepts, and whether all gradients came below the tolerance."""
    rough = _Search(problems.single())
    rough.run(max(tolerance, SINGLE), min(STEPS, SINGLE_STEPS))
    search = _Search(problems, rough.theta.double())
    # What was learnt of the curvature holds on.
    search.gamma, search.learnt = rough.gamma.double(), rough.learnt.double()
    search.run(tolerance, STEPS)
    return search.theta, not bool((search.size > tolerance).any())


class _Search:
    """One run of L-BFGS; every tensor of shape (F,) speaks for one problem each."""

    def __init__(self, problems: Problems, theta: Tensor | None = None) -> None:
        self.problems = problems
        self.theta = problems.zero() if theta is None else theta
        self.logits = problems.logits(self.theta)
        loss, probabilities = problems.loss(self.logits)
        self.value = loss + problems.squares(self.theta, self.theta)
        self._differentiate(probabilities)
        shape = (3, self.theta.shape[0], 0, self.theta[0].numel())
        self.learnt = self.theta.new_zeros(shape)
        """Steps, what each did to the gradient, and that over the curvature at the start."""
        self.gamma = torch.ones_like(self.value)
        self.stuck = torch.zeros_like(self.value, dtype=torch.bool)

    def _differentiate(self, probabilities: Tensor) -> None:
        self.gradient = self.problems.gradient(probabilities, self.theta)
        self.downhill = self.problems.newton(self.gradient)

    @property
    def size(self) -> Tensor:
        """(F,) largest entry of each gradient."""
        return self.gradient.abs().amax((1, 2))

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
        wrong = ~(slope < 0)
        if bool(wrong.any()):
            direction = torch.where(_wide(wrong), -self.downhill, direction)
            slope = _dot(self.gradient, direction)
        step, probabilities = self._line_search(direction, slope, active)
        before = self.gradient, self.downhill
        move = _wide(step) * direction
        self.theta = self.theta + move
        self._differentiate(probabilities)
        self._learn(torch.stack([move, self.gradient - before[0], self.downhill - before[1]]))

    def _towards(self) -> Tensor:
        """The gradient over the remembered curvature (Byrd, Nocedal & Schnabel 1994, eq. 3.1)."""
        if not self.learnt.shape[2]:
            return self.downhill
        gamma = _wide(self.gamma)
        sy, bend = self.learnt[:2] @ self.learnt[1:].mT
        size = sy.diagonal(dim1=1, dim2=2)
        bend = (gamma * bend).add_(torch.diag_embed(size))
        # A step that taught nothing is all 0.
        upper = sy.triu().add_(torch.diag_embed((size == 0).to(sy.dtype)))
        # Sums of products: torch's batched product with a vector takes five times as long.
        ends = self.learnt[::2]
        seen, bent = (ends * self.gradient.flatten(1)[:, None]).sum(3, keepdim=True)
        inner = torch.linalg.solve_triangular(upper, seen, upper=True)
        outer = (bend @ inner).sub_(gamma * bent)
        outer = torch.linalg.solve_triangular(upper.mT, outer, upper=False)
        found = (ends * torch.stack([outer, -gamma * inner])).sum((0, 2))
        return torch.addcmul(found.view_as(self.gradient), gamma, self.downhill)

    def _line_search(
        self, direction: Tensor, slope: Tensor, active: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(F,) steps that bring each problem down, and the probabilities there."""
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
            value = loss + fixed + step * (cross + step * square)
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

    def _learn(self, new: Tensor) -> None:
        new = new.flatten(2)
        (ss, sy), (_, yy) = (new[:2, None] * new[None, :2]).sum(3)
        scale = (new[1] * new[2]).sum(1)
        # A problem that stood still, or whose gradient moved by rounding alone, learns nothing.
        good = (sy > torch.finfo(sy.dtype).eps * (ss * yy).sqrt()) & (scale > 0)
        self.gamma = torch.where(good, sy / scale, self.gamma)
        new = torch.where(good[:, None], new, 0)[:, :, None]
        self.learnt = torch.cat([self.learnt[:, :, 1 - MEMORY :], new], 2)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(F,) products over classes and features."""
    product: Tensor = (a * b).sum((1, 2))
    return product


def _wide(value: Tensor) -> Tensor:
    """(F,) beside (F, K, d)."""
    return value[:, None, None]
