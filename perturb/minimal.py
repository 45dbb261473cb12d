"""How far each example is from an error: the smallest eps that breaks it, and what follows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ringtest import blocks, rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Array, median, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.model import Model
from ringtest.perturb.ascent import Search
from ringtest.perturb.attack import MisleadingGradient
from ringtest.perturb.geometry import L2, Ball, Linf, by_row
from ringtest.tasks import AnyTask


class Nearest(MisleadingGradient):
    """Attack that looks for the breaking point nearest to each row; severity: how far at most.

    Bisection over eps, all rows at once and each with its own: a row that breaks is tried again
    nearer, one that does not farther away. A point that breaks does so at its own distance, which
    is less than the eps that was tried, and less still where the way to it first meets an error.
    The run of the first loss starts from the nearest point so far, others anywhere in the ball.
    """

    kind = "attack.nearest"  # registered nowhere: asked is how far, not what is seen there
    rounds: ClassVar[int] = 10
    """Bisections over eps."""
    halvings: ClassVar[int] = 20
    """Bisections on the way to a point, which need no gradients."""
    steps = 10
    rate = 0.0

    def search(
        self, search: Search, outputs: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> None:
        """Leave the nearest breaking points; the clean ones where none was found."""
        whole, goal = search.ball, search.goal
        nearest = torch.where(search.worst > 0, 0.0, torch.inf).to(whole.centre)
        failed, eps = torch.zeros_like(nearest), torch.full_like(nearest, self.eps)
        for _ in range(self.rounds):
            ball = type(whole)(whole.centre, whole.unit, eps, whole.bounds)
            inner = Search(search.model, ball, search.dtype, outputs, goal)
            for number, (loss, aims) in enumerate(self.runs(goal, outputs)):
                # The nearest point so far may lie in a valley that leads no nearer.
                start = ball.start(rng) if number else ball.project(search.found)
                inner.climb(loss, aims, start, self.schedule())
            found, broken = self._first_errors(inner), inner.worst > 0
            distance = torch.where(broken, ball.distance(found), torch.inf)
            better = distance < nearest
            search.found = torch.where(by_row(better, found), found, search.found)
            nearest = torch.where(better, distance, nearest)
            failed = torch.where(broken, failed, eps).clamp(max=nearest)
            # What never broke is tried at the largest eps again.
            eps = torch.where(nearest.isfinite(), (failed + nearest) / 2, eps)

    def _first_errors(self, search: Search) -> Tensor:
        """(b, ...) points that still break, on the straight ways to those that the search found."""
        centre, way = search.ball.centre, search.found - search.ball.centre
        near, far = torch.zeros_like(search.worst), torch.ones_like(search.worst)
        for _ in range(self.halvings):
            middle = (near + far) / 2
            breaks = search.damage(centre + by_row(middle, way) * way) > 0
            near, far = torch.where(breaks, near, middle), torch.where(breaks, middle, far)
        # The end itself as it was found: adding the way to the centre would round it.
        return torch.where(by_row(far < 1, way), centre + by_row(far, way) * way, search.found)


class Minimal(ModelMeasure):
    """Base: minimal eps of each row, in one norm."""

    direction = "higher"
    range = (0.0, np.inf)
    unit = "eps"
    needs = frozenset({"gradients"})
    on = ("clean",)
    default = False
    rows: ClassVar[int] = 512
    """Sampled rows that are looked at, at most."""
    ball: ClassVar[type[Ball]]
    """The norm."""
    top: ClassVar[float]
    """Largest eps that is looked at."""
    levels: ClassVar[tuple[float, ...]] = (1 / 30, 1 / 10, 1 / 3, 2 / 3, 1.0)
    """Where the curve is read, in shares of the largest eps."""

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Real inputs as they are, with one class each."""
        return condition.role == "clean" and task.name == "classification" and Nearest.applies(data)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Restricted mean, median, and the curve of robust accuracy."""
        model, (some, _) = rerun.runnable(evidence), rerun.few(at, self.rows)
        eps, units = self.distances(model, some), some.sample_units
        mean = row_mean(np.minimum(eps, self.top), units)
        middle, statistic = median(eps, units), f"median, searched up to {self.top:g}"
        reason = ""
        if not np.isfinite(middle.value):
            share = float(np.isinf(eps).mean())
            reason = (
                f"{evidence.subject}: {share:.0%} of rows do not break up to an eps of "
                f"{self.top:g}, and the median or its interval lies beyond"
            )
        curve = [
            Reading(row_mean(eps > e, units), f"accuracy at eps {e:.3g}", unit="share")
            for e in (self.top * level for level in self.levels)
        ]
        return [
            Reading(mean, f"mean up to {self.top:g} = area under accuracy over eps"),
            Reading(middle, statistic, reason=reason),
            *curve,
        ]

    def distances(self, model: Model, at: Setting) -> Array:
        """(m,) smallest eps found of each row: 0 where it is wrong as it is, inf where none is."""
        assert at.task.targets is not None
        attack = Nearest(severity=self.top).but(ball=self.ball)
        attack.fit([], at.data, blocks.generator(at.seed, self.id, "fit"))
        targets = at.task.targets[torch.from_numpy(at.rows)]
        out = np.empty(len(at.rows))
        for part, x in rerun.sampled(model, at):
            y = targets[part]
            found = attack.batch(model, x, y, blocks.generator(at.seed, self.id, part.start))
            with torch.no_grad():
                outputs = model.outputs(x)
            rerun.finite(model, outputs)
            distance = attack.around(model, x).distance(found).double().cpu()
            # Only what broke was moved.
            distance = torch.where(distance > 0, distance, torch.inf)
            right = outputs.argmax(1).cpu() == y
            out[part] = torch.where(right, distance, 0.0).numpy()
        return out


@measure
class MinimalLinf(Minimal):
    """Smallest eps in Linf that breaks a row: restricted mean, median, accuracy over eps.

    Eps is in the unit of ``attack.pgd``, a share of the legal range or standard deviations of each
    column. Bisection over eps with projected gradient descent inside, worst case over cross-entropy
    and DLR, up to 0.3, on at most 512 rows. The smallest eps found is an upper bound of the true
    one, as any attack's result.

    A row that is wrong as it is counts 0; one that does not break up to the largest eps is
    censored. So the mean is that of min(eps, 0.3), which is exactly the area under the curve of
    accuracy over eps up to there; the median has no number where it, or its interval, lies beyond;
    the last point of the curve, accuracy at 0.3, is the censored share. Higher is better; all rows
    are compared with the mean member's, row by row.

    Source: Carlini & Wagner 2017, arXiv:1608.04644 (the question); Madry et al. 2018,
    arXiv:1706.06083 (the attack inside).
    """

    id = "attack.minimal"
    about = "smallest eps in Linf that breaks a row, and accuracy over eps"
    source = "Carlini & Wagner 2017, arXiv:1608.04644; Madry et al. 2018, arXiv:1706.06083"
    ball = Linf
    top = 0.3


@measure
class MinimalL2(Minimal):
    """Smallest eps in L2 that breaks a row, up to 3; else as ``attack.minimal``."""

    id = "attack.minimal_l2"
    about = "smallest eps in L2 that breaks a row, and accuracy over eps"
    source = MinimalLinf.source
    ball = L2
    top = 3.0
