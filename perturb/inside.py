"""An attack that drives the insides of a model and of the teacher apart, and how far they went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ringtest import blocks, margins, rerun
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.estimate import row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.model import Index, Model
from ringtest.moments import ridge
from ringtest.perturb.ascent import Answering, Goal
from ringtest.perturb.representation import Inside, LayerAttack
from ringtest.tasks import AnyTask


@dataclass(frozen=True)
class Carried:
    """Last hidden layers of a model and of a member, the former carried over by a ridge map."""

    own: Inside
    member: Inside
    centres: tuple[Tensor, Tensor]
    """Mean codes of both on clean rows."""
    map: Tensor
    """(d, q) from the centred code of the model to that of the member."""

    def logits(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """(b, 2, q) centred codes, the model's as the member would show it first."""
        own, member = (
            inside.logits(x, rows) - centre.to(x.device)
            for inside, centre in zip((self.own, self.member), self.centres, strict=True)
        )
        return torch.stack([own @ self.map.to(x.device), member], dim=1)


def apart(codes: Tensor) -> Tensor:
    """(b,) half the squared distance of two codes of length 1, 1 - cosine, of (b, 2, q)."""
    return 1.0 - functional.cosine_similarity(codes[:, 0], codes[:, 1], dim=1)


@condition
class InsideDiscrepancy(LayerAttack):
    """Linf attack on the inside: where a model's code is no longer what a member's code says.

    The last hidden layer of the model is carried into that of a member by a ridge map, fitted on at
    most 2,048 clean rows (penalty 0.01 a row, layers of any width); of both centred codes, set to
    length 1, the distance is driven up, from two random starts in 20 steps whose size each example
    finds. A student, or a reference, is held against the first member, and a member against the
    first other one, which says how far honest models come apart. With a single teacher its own row
    is not measurable. It needs no targets. Read it with ``representation.parted``.
    """

    kind = "attack.discrepancy_inside"
    about = "largest distance of a model's code from a member's, carried over, within eps in Linf"
    source = "after Stanton et al. 2021, arXiv:2106.05945; steps: Croce & Hein 2020"
    restarts = 2

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of eps; maps are made when a model is looked at."""
        super().fit(subjects, data, rng)
        self._data = data
        self._codes: dict[str, Tensor] = {}
        self._maps: dict[str, Carried] = {}
        self.parted: dict[str, list[Tensor]] = {}
        """Model -> for each block (b, 2) the distances on clean rows and on those found."""

    def subject(self, model: Model) -> Model:
        """The model itself, once it is known how its code is carried over."""
        other = next((m for m in self.given("member") if m.name != model.name), None)
        if other is None:
            raise NotMeasurable("is the only member: there is no other code to drive it from")
        x, y = (self._clean(m) for m in (model, other))
        centres = x.mean(0), y.mean(0)
        z, t = x - centres[0], y - centres[1]
        if not bool(torch.isfinite(z).all() and torch.isfinite(t).all()):
            raise NotMeasurable(f"or {other.name}: the last hidden layer holds NaN or infinity")
        spread = float(z.square().mean())
        if not spread > 0 or not float(t.square().mean()) > 0:
            raise NotMeasurable(f"or {other.name}: nothing varies in the last hidden layer")
        weights = ridge(z.T @ z, z.T @ t, margins.PROBE_RIDGE * len(z) * spread)
        inside = self.inside(model), self.inside(other)
        means = centres[0].float(), centres[1].float()
        self._maps[model.name] = Carried(*inside, means, weights.float())
        return model

    def seen(self, model: Answering) -> Carried:
        """Both codes."""
        assert isinstance(model, Model)
        return self._maps[model.name]

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The rows that lie furthest apart; how far is kept."""
        assert isinstance(model, Model)
        found, codes = super().batch(model, x, y, rng), self.seen(model)
        with torch.no_grad():
            both = torch.stack([apart(codes.logits(v).double()) for v in (x, found)], dim=1)
        self.parted.setdefault(model.name, []).append(both.cpu())
        return found

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """The distance."""
        return Goal(apart)

    def _clean(self, model: Model) -> Tensor:
        """(m, d) float64 clean codes of a sample of rows, kept for the next model."""
        if model.name not in self._codes:
            inside, rows = self.inside(model), self._data.rows
            sample = blocks.sample_rows(self._data.n)
            with torch.no_grad():
                codes = [
                    inside.logits(rerun.taken(model, rows, sample[part])).double().cpu()
                    for part in blocks.parts(len(sample))
                ]
            self._codes[model.name] = torch.cat(codes)
        return self._codes[model.name]


@measure
class Parted(ModelMeasure):
    """How far the code of a model came apart from a member's under ``attack.discrepancy_inside``.

    Mean over all rows of 1 - cosine between the model's last hidden layer, carried into the
    member's by a ridge map fitted on clean rows, and the member's own; range [0, 2], lower is
    better: 0 the one still says what the other does, 1 nothing of it. Also of the clean rows, where
    it starts. A member is held against another member. Context.
    """

    id = "representation.parted"
    about = "distance of a model's code from a member's, carried over, that an attack reached"
    direction = "lower"
    range = (0.0, 2.0)
    unit = "1 - cosine"
    needs = frozenset({"condition"})
    on = ("context",)
    source = "after Stanton et al. 2021, arXiv:2106.05945"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Only where they were driven apart."""
        return isinstance(condition, InsideDiscrepancy)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """What was reached, and what there was before."""
        held = getattr(at.condition, "parted", {}).get(evidence.subject, [])
        found = torch.cat(held).numpy() if held else np.zeros((0, 2))
        if len(found) != at.data.n or not np.isfinite(found).all():
            raise NotMeasurable("not all of its rows were led apart")
        names = "clean rows", "led apart"
        return [Reading(row_mean(found[:, i], at.units), names[i]) for i in (1, 0)]
