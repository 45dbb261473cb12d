"""Projected gradient descent on the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import DataError, SubjectError
from ringtest.perturb import losses
from ringtest.perturb.scale import spread

if TYPE_CHECKING:
    from ringtest.model import Model


@condition
class PGD(Condition):
    """Linf attack in 20 steps from a random start, the worst case over two losses.

    Severity is eps: a share of the legal range if the data have bounds, else in standard deviations
    of each column, channel (images) or feature (sequences). Each loss has a run of its own. An
    example that is broken leaves the batch; of all points seen (the clean one, too) the one with
    the smallest margin is kept. Classification with integer classes only.
    """

    kind = "attack.pgd"
    about = "projected gradient descent in Linf, worst case over cross-entropy and DLR"
    source = "Madry et al. 2018, arXiv:1706.06083; DLR: Croce & Hein 2020, arXiv:2003.01690"
    scope = "own"
    tasks = ("classification",)
    steps: ClassVar[int] = 20
    """Steps of 2.5 eps / steps for each loss."""
    losses: ClassVar[Mapping[str, losses.Loss]] = losses.LOSSES
    """What is climbed, in this order."""

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """Eps .03 and .1 for real inputs with one integer class each."""
        classes = data.targets is not None and data.targets.ndim == 1
        if not (classes and data.targets.dtype.kind in "iu" and data.inputs.is_floating_point()):
            return ()
        return [cls(severity=eps) for eps in (0.03, 0.1)]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of eps."""
        self._bounds = data.bounds
        if data.bounds is None:
            self._unit = spread(data)
        else:
            self._unit = torch.tensor(data.bounds[1] - data.bounds[0])

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The worst inputs found within eps and the bounds.

        Raises DataError without targets, SubjectError for a model without gradients.
        """
        if y is None:
            raise DataError("targets", f"are missing, and {self.key} needs them", "give classes")
        if not model.gradients:
            raise SubjectError("model", "gives no gradients", f"leave {self.kind} out for it")
        # Drawn for the whole block before any example leaves: the same start for every model.
        shape = (len(self.losses), *x.shape)
        starts = 2 * torch.rand(shape, generator=rng, device=rng.device).to(x.device) - 1
        # Under inference mode enable_grad alone has no effect, and tensors made there take no part
        # in a gradient, hence the copies.
        with torch.inference_mode(False), torch.enable_grad():
            x, y, starts = x.detach().clone(), y.detach().clone().long(), starts.clone()
            found = self._worst(model, x, y, starts)
        return found.to(x.dtype)

    def _worst(self, model: Model, x: Tensor, y: Tensor, starts: Tensor) -> Tensor:
        """(b, ...) worst points over all losses, the clean ones included."""
        clean = x.float()
        eps = (0.03 if self.severity is None else self.severity) * self._unit.to(x.device)
        low, high = clean - eps, clean + eps
        if self._bounds is not None:
            low, high = low.clamp(*self._bounds), high.clamp(*self._bounds)
        found = clean.clone()
        with torch.no_grad():
            lowest = losses.margin(model.logits(x).float(), y)
        for loss, start in zip(self.losses.values(), starts, strict=True):
            rows = (~(lowest < 0)).nonzero()[:, 0]
            if len(rows) == 0:
                break
            begin = (clean + eps * start)[rows].clamp(low[rows], high[rows])
            run = _Run(model, loss, rows, y[rows], low[rows], high[rows], x.dtype)
            points, margins = run.climb(begin, self.steps, eps)
            better = margins < lowest[rows]
            lowest[rows[better]] = margins[better]
            found[rows[better]] = points[better]
        return found


class _Run:
    """One run of one loss over examples that are not yet broken."""

    def __init__(
        self,
        model: Model,
        loss: losses.Loss,
        block: Tensor,
        y: Tensor,
        low: Tensor,
        high: Tensor,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.loss, self.y = model, loss, y
        self.block = block  # rows of the block that the examples are
        self.low, self.high, self.dtype = low, high, dtype

    def climb(self, point: Tensor, steps: int, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The points (b, ...) with the smallest margins seen, and these margins (b,)."""
        best, lowest = point.clone(), torch.full_like(point.flatten(1)[:, 0], torch.inf)
        rows = torch.arange(len(point), device=point.device)
        for step in range(steps + 1):
            last = step == steps
            margins, gradient = self._look(point, rows, last)
            better = margins < lowest[rows]
            lowest[rows[better]], best[rows[better]] = margins[better], point[better]
            alive = ~(margins < 0)
            if last or gradient is None or not bool(alive.any()):
                break
            rows = rows[alive]
            moved = point[alive] + 2.5 / steps * eps * gradient[alive].sign()
            point = moved.clamp(self.low[rows], self.high[rows])
        return best, lowest

    def _look(self, point: Tensor, rows: Tensor, last: bool) -> tuple[Tensor, Tensor | None]:
        """Margins (b,) at the points and, but for the last look, the gradient of the loss there."""
        y = self.y[rows]
        with torch.set_grad_enabled(not last):
            leaf = point.detach().requires_grad_(not last)
            logits = self.model.logits(leaf.to(self.dtype), self.block[rows]).float()
        margins = losses.margin(logits.detach(), y)
        if last:
            return margins, None
        if not logits.requires_grad:
            # Going on with zeros would pass for robustness.
            raise SubjectError(
                "model", "its outputs do not depend on its inputs by any gradient", "detach nothing"
            )
        # A sum: a mean would scale gradients with the number of examples left. Only the gradient of
        # the inputs is asked for, so that of the parameters stays as the user left it.
        (gradient,) = torch.autograd.grad(
            self.loss(logits, y).sum(), leaf, allow_unused=True, materialize_grads=True
        )
        # One NaN (logits of -inf) would otherwise move its example to NaN.
        return margins, gradient.nan_to_num(0.0, 0.0, 0.0)
