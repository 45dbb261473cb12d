"""The strongest form of each transformation that the teacher itself still vouches for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from ringtest import blocks, margins, rerun
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, close_to
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.shift import common
from ringtest.shift.graded import Graded, transformations
from ringtest.tasks import AnyTask

if TYPE_CHECKING:
    from ringtest.model import Model

ROWS: Final = 256
"""Clean rows, of least hash, on which the members are asked."""
DOUBLINGS: Final = 5
"""The first strength that is tried is the largest one halved so often."""
HALVINGS: Final = 3
"""Bisections between the strongest that passed and the weakest that did not."""
SLACK: Final = 0.02
"""By how much the members must keep more than a certified transformation asks: other rows than
these decide there."""


@condition
class Strongest(Condition):
    """One transformation, ``shift.strongest.NAME``, as strong as the members bear it.

    In fit the members are run on at most 256 clean rows under the transformation at rising
    strengths: doubled from 1/32 of the largest, and three bisections where they first fail. What
    they must keep is what a certified transformation asks (``margins.CERTIFIED_SHARE`` of their
    predictions, or of the movement of other outputs) and .02 more. So all weaker strengths that
    were tried pass, too. ``shift.strongest_strength`` tells what was found, in the unit of the
    transformation; where the members do not bear the weakest one there is nothing to look at.

    In every audit, as context: ``outputs.consistency`` is read there, and a cell may ask for more.
    """

    kind = "shift.strongest"
    about = "a transformation as strong as the teacher's own outputs still keep to it"
    keeps_targets = False
    reads = ("outputs.consistency",)

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """All transformations of the data's modality."""
        return [cls(name) for name in transformations(data)]

    def check(self, data: AuditData) -> None:
        """Raise ConfigError for an unknown transformation, and for a severity."""
        self._known(data)

    def _known(self, data: AuditData) -> Graded:
        """Its transformation; ConfigError as :meth:`check` says."""
        known = transformations(data)
        if self.name not in known:
            problem = f"is no transformation of {data.modality} inputs"
            raise ConfigError(f"condition {self.id!r}", problem, close_to(str(self.name), known))
        if self.severity is not None:
            fix = f"leave @{self.severity:g} out"
            raise ConfigError(f"severity of {self.kind}", "is what is searched for", fix)
        return known[self.name]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Search for the strength.

        Raises ConfigError as :meth:`check` does, NotMeasurable where the teacher bears none or
        cannot be run.
        """
        self.graded = self._known(data)
        self._clip = common.value_range(data) if common.is_images(data) else data.bounds
        self.kept: dict[float, float] = {}
        """Strength -> how much the members kept of their outputs."""
        members = [m for m in subjects if m.role == "member" and m.stored is None]
        seed = blocks.seed_from(rng)
        if not members:
            raise NotMeasurable("no member of the teacher can be run")
        self.strength = self._search(_Members(members, data, self._changed, seed))
        if not self.strength:
            least, kept = min(self.kept.items())
            does = "breaks" if math.isnan(kept) else f"keeps {kept:.2f}"
            raise NotMeasurable(
                f"the teacher {does} at the weakest, {least:.3g} {self.graded.unit}"
            )

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The transformed inputs."""
        return self._changed(x, self.strength, rng)

    def _changed(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        if not x.is_floating_point():
            return self.graded.change(x, strength, rng)
        return common.inside(self.graded.change(x.float(), strength, rng), x, self._clip)

    def _search(self, members: _Members) -> float:
        """The strongest that passed, 0 if none did."""
        least = margins.CERTIFIED_SHARE if members.classes else 1 - margins.CERTIFIED_MOVEMENT

        def passes(strength: float) -> bool:
            self.kept[strength] = members.keep(strength)
            # Not `kept < least`: NaN is no pass.
            return self.kept[strength] >= least + SLACK

        low, high = 0.0, self.graded.most / 2**DOUBLINGS
        while passes(high):
            low, high = high, 2 * high
            if high > self.graded.most:
                return low
        for _ in range(HALVINGS if low else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if passes(middle) else (low, middle)
        return low


class _Members:
    """What the teacher's members keep of their own outputs at a strength."""

    def __init__(
        self,
        members: list[Model],
        data: AuditData,
        change: Callable[[Tensor, float, torch.Generator], Tensor],
        seed: int,
    ) -> None:
        self._members, self._data, self._change, self._seed = members, data, change, seed
        self._rows = blocks.sample_rows(data.n, ROWS)
        self.classes = members[0].task.name == "classification"
        self._clean = [self._outputs(m, None) for m in members]

    def keep(self, strength: float) -> float:
        """Mean over members: share of equal predictions, or 1 - movement over random pairs.

        NaN, which is no pass, where a member breaks: it does not bear it.
        """
        try:
            return float(np.mean([
                self._kept(m, clean, self._outputs(m, strength))
                for m, clean in zip(self._members, self._clean, strict=True)
            ]))  # fmt: skip
        except Exception:
            return float("nan")

    def _kept(self, model: Model, before: Tensor, after: Tensor) -> float:
        if self.classes:
            return float((before.argmax(1) == after.argmax(1)).double().mean())
        a, b = (model.task.points(v.double()) for v in (before, after))
        pairs = 2.0 * a.var(dim=0, unbiased=True).sum()
        return float(1 - (b - a).square().sum(1).mean() / pairs)

    def _outputs(self, model: Model, strength: float | None) -> Tensor:
        """(m, k) outputs; the draws are those of the block, whatever the model and strength."""
        found = []
        for number, part in enumerate(blocks.parts(len(self._rows))):
            x = rerun.taken(model, self._data.rows, self._rows[part])
            if strength is not None:
                x = self._change(x, strength, blocks.generator(self._seed, "strongest", number))
            with torch.no_grad():
                found.append(model.outputs(x).cpu())
        return torch.cat(found)


@measure
class StrongestStrength(ModelMeasure):
    """The strongest form of a transformation that the teacher bears; what students were shown.

    In the unit of the transformation (``params["unit"]``), from 0. It is a property of the members
    and the same for all models: the row tells at which strength everything else was read, and
    ``params["kept"]`` what the members kept at each strength that was tried.
    """

    id = "shift.strongest_strength"
    about = "the strength at which a transformation was looked at: the strongest the teacher bears"
    range = (0.0, np.inf)
    needs = frozenset({"condition"})
    on = ("context",)

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Only where it was searched for."""
        return isinstance(condition, Strongest)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading, without an error of its own."""
        found = at.condition
        assert isinstance(found, Strongest)
        kept = {
            f"{s:.4g}": None if math.isnan(k) else round(k, 4)
            for s, k in sorted(found.kept.items())
        }
        params = {"unit": found.graded.unit, "kept": kept, "most": found.graded.most}
        value = Estimate(found.strength, np.zeros(0), len(blocks.sample_rows(at.data.n, ROWS)))
        # Of a name for each unit, so that nobody draws degrees beside factors on one axis.
        return [Reading(value, found.graded.unit, params=params, unit=found.graded.unit)]
