"""Certificates by randomised smoothing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor
from torch.nn import functional

from ringtest import blocks, rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Array, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.model import Model
from ringtest.perturb.scale import counted, eps_unit
from ringtest.tasks import AnyTask


@measure
class Smoothing(ModelMeasure):
    """Radius in L2 within which the model, smoothed by Gaussian noise, provably keeps its answer.

    The certificates are of the smoothed model, which answers what the model says most often under
    Gaussian noise of SD 0.25 on the inputs; they say nothing of the model itself, and are no lower
    bound of what attacks on it find. Unit: that of eps under ``attack.pgd_l2``, a share of the
    legal range or standard deviations of each column. Noisy inputs are clipped to the bounds, which
    is part of what is smoothed; constant columns and padding get no noise and are not certified.

    100 draws choose the class, 1,000 more bound its probability p from below (Clopper-Pearson,
    alpha .001 for each row); the radius is 0.25 Phi^-1(p), at most 0.62 with so many draws. Where
    that bound is .5 or less the model abstains. Readings: the mean radius of rows, a wrong or
    abstaining one counting 0; the share that is right and certified at some radii; the share that
    does not abstain. At most 256 rows; the same noise for every model. Higher is better.

    Source: Cohen et al. 2019, arXiv:1902.02918, section 3.2.
    """

    id = "certify.smoothing"
    about = "L2 radius in which the model under Gaussian noise provably keeps its answer"
    direction = "higher"
    range = (0.0, np.inf)
    unit = "certified eps"
    needs = frozenset({"model"})
    on = ("clean",)
    default = False
    source = "Cohen et al. 2019, arXiv:1902.02918"
    rows: ClassVar[int] = 256
    sigma: ClassVar[float] = 0.25
    """SD of the noise, in the unit of eps."""
    choosing: ClassVar[int] = 100
    """Draws that choose the class."""
    draws: ClassVar[int] = 1000
    """Draws that bound its probability."""
    alpha: ClassVar[float] = 0.001
    """Probability with which a row's radius may be too large."""
    radii: ClassVar[tuple[float, ...]] = (0.5, 1.0, 2.0)
    """Where accuracy is read, in SDs of the noise."""

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Real inputs as they are, with classes."""
        real = data.inputs.is_floating_point()
        return condition.role == "clean" and task.name == "classification" and real

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Mean radius, accuracy at some radii, share decided."""
        model, (some, _) = rerun.runnable(evidence), rerun.few(at, self.rows)
        assert at.task.targets is not None
        classes, radius = self.certify(model, some)
        right = classes == at.task.targets[torch.from_numpy(some.rows)].numpy()
        certified, units = np.where(right, radius, 0.0), some.sample_units
        return [
            Reading(row_mean(certified, units), f"mean radius, noise of {self.sigma:g}"),
            *(
                Reading(
                    row_mean(certified >= r, units), f"accuracy certified at {r:g}", unit="share"
                )
                for r in (self.sigma * factor for factor in self.radii)
            ),
            Reading(row_mean(radius > 0, units), "share not abstaining", unit="share"),
        ]

    def certify(self, model: Model, at: Setting) -> tuple[NDArray[np.int64], Array]:
        """(m,) classes of the smoothed model and their radii, 0 where it abstains."""
        classes, lower = np.empty(len(at.rows), np.int64), np.empty(len(at.rows))
        for part, x in rerun.sampled(model, at):
            rng = blocks.generator(at.seed, self.id, part.start)
            unit = self.sigma * counted(eps_unit(at.data), x, model.mask)
            top = _votes(model, x, unit, at.data.bounds, self.choosing, rng).argmax(1, keepdim=True)
            votes = _votes(model, x, unit, at.data.bounds, self.draws, rng).gather(1, top)
            classes[part] = top[:, 0].numpy()
            lower[part] = lower_bound(votes[:, 0].numpy(), self.draws, self.alpha)
        return classes, self.sigma * special.ndtri(np.maximum(lower, 0.5))


def _votes(
    model: Model,
    x: Tensor,
    unit: Tensor,
    bounds: tuple[float, float] | None,
    draws: int,
    rng: torch.Generator,
) -> Tensor:
    """(b, classes) how often each class is the answer to (b, ...) rows under noise."""
    total: Tensor | None = None
    for _ in range(draws):
        noise = torch.randn(x.shape, generator=rng, device=rng.device).to(x.device)
        noisy = x + unit * noise
        noisy = noisy if bounds is None else noisy.clamp(*bounds)
        with torch.no_grad():
            outputs = model.outputs(noisy.to(x.dtype)).cpu()
        rerun.finite(model, outputs)
        votes = functional.one_hot(outputs.argmax(1), outputs.shape[1])
        total = votes if total is None else total + votes
    assert total is not None
    return total


def lower_bound(hits: NDArray[np.int64], draws: int, alpha: float) -> Array:
    """(m,) one-sided Clopper-Pearson bound of a probability at confidence 1 - alpha.

    >>> lower_bound(np.array([0, 1000]), 1000, 0.001).round(4)
    array([0.    , 0.9931])
    """
    hits = np.asarray(hits)
    bound = special.betaincinv(np.maximum(hits, 1), draws - hits + 1, alpha)
    return np.where(hits > 0, bound, 0.0)
