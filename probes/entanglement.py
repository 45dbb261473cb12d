"""Entanglement: what else goes when one concept is erased from the last hidden layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ringtest import blocks, margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import NOTHING, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import (
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.moments import ridge
from ringtest.probes.concepts import Concept, concepts, folds
from ringtest.probes.erasure import Eraser, Span, noise
from ringtest.probes.held import crowded, unheld
from ringtest.representations import standardised
from ringtest.tasks import AnyTask

DRAWS = 16
"""Random subspaces in each fold, of the rank of what they are compared with."""
DETERMINED = 0.01
"""Least share of a concept's variance that another must leave open for there to be a rest."""


@measure
class Entanglement(ModelMeasure):
    """Score of concept B lost when concept A is erased, beyond a random subspace of equal rank.

    For every ordered pair of concepts, the target among them, on the last hidden layer (m, d). In
    each of five folds that keep clusters whole, A's eraser (LEACE) and B's ridge probe are fitted
    on the other folds; rows of the fold are erased and scored. Read is the loss beyond the mean
    loss over 16 random subspaces of equal rank, drawn in whitened space. Lower is better: at 0, A
    takes no more of B than chance does; a code in which A takes nothing reads a little below, by
    what chance takes (about B's score over chance times A's share of the directions); one direction
    for both costs up to B's whole score over chance.

    Concepts that go together in the data go together out of every code, however tidy: erasing
    colour takes the shape that colour gives away. So a pair has two readings. The first is the loss
    of B's own score (accuracy, or R^2). For the second B is replaced by its rest: what its
    regression on A, by least squares on the other folds, leaves over. The rest is uncorrelated with
    A, so a code that holds both loses none of it, and what is lost there is the code's doing. A
    high first beside a second near 0 says that the data tie the concepts. Where A determines B
    there is no rest, and the second reading says so. A loss measured at the inputs is no
    substitute: how much the data force depends on how well a layer holds B, and inputs may hold it
    where no linear probe reads.

    There is no number, but a reason, where A or B cannot be decoded from the layer (or a student
    that lost a concept would look untangled), and where A takes more than half of the directions.
    Units are brought to one scale and the layer to its leading principal axes, at most a quarter as
    many as rows, since in more an eraser fits noise. The standard error is that of rows; it leaves
    out which subspaces were drawn.

    Source: after Belrose et al. 2023 (LEACE).
    """

    id = "structure.entanglement"
    about = "probe score of one concept lost with another erased, beyond a random subspace"
    direction = "lower"
    range = (-np.inf, np.inf)
    invariant_to = frozenset({PERMUTATION, SCALE})
    # Unrelated codes hold no concept, and then there is no number.
    null_value = None
    group = None
    unit = "share"
    needs = frozenset({"sample"})
    on = ("clean",)
    default = False
    source = "after Belrose et al. 2023"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Rows must keep their concepts, and there must be two."""
        count = int(task.targets is not None) + len(data.concepts)
        return condition.keeps_rows and condition.keeps_targets and count > 1

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Two readings an ordered pair, NaN with the reason where there is no number.

        Raises NotMeasurable if fewer than two concepts can be decoded at all, or the layer holds
        NaN or infinity or does not vary.
        """
        found, fold = concepts(at), folds(at)
        why = [c.obstacle(fold) for c in found]
        if why.count("") < 2:
            raise NotMeasurable("; ".join(["two usable concepts are needed", *filter(None, why)]))
        parts = _parts(evidence.last, fold, at.seed)
        for i, concept in enumerate(found):
            if not why[i]:
                why[i] = _unheld(parts, _own(concept), at)
        layer = evidence.names[-1]
        out = []
        for i, erased in enumerate(found):
            goals = [
                goal
                for j, other in enumerate(found)
                if j != i
                for goal in _goals(erased, other, why[i] or why[j] or _crowded(parts, erased), fold)
            ]
            change = iter(_lost(parts, erased, [g for g in goals if not g.reason]))
            for goal in goals:
                reason = goal.reason or _unheld(parts, goal, at)
                # Taken in any case: the changes are in the order of the goals.
                lost = None if goal.reason else next(change).numpy()
                seen = NOTHING if reason or lost is None else row_mean(lost, at.sample_units)
                name = f"{erased.name} -> {goal.scored.name}"
                out.append(Reading(seen, goal.statistic, layer, concept=name, reason=reason))
        return out


@dataclass(frozen=True)
class _Goal:
    """What is decoded before and after an erasure."""

    scored: Concept
    """As it is scored, every row from outside its fold."""
    columns: Tensor
    """(folds, m, q) as it is seen from outside each fold."""
    statistic: str = ""
    reason: str = ""
    """Why there is nothing to decode."""


class _Part:
    """The rows outside of one fold, as moments, and the rows of the fold, to be predicted."""

    def __init__(self, x: Tensor, fold: Tensor, number: int, seed: int) -> None:
        self.number, self.seed = number, seed
        self.outside, self.inside = fold != number, fold == number
        self.span = Span.of(x[self.outside])
        self.fitted = x[self.outside] - self.span.centre
        self.shown = x[self.inside] - self.span.centre
        self.xx = self.fitted.T @ self.fitted

    def eraser(self, concept: Concept) -> Eraser:
        """Of a concept, as the rows outside show it."""
        return self.span.erase(concept.columns[self.outside])

    def random(self, rank: int, draw: int) -> Eraser:
        """Of a random subspace: the same for all models, concepts and targets."""
        rng = blocks.generator(self.seed, "entanglement", self.number, rank, draw)
        return self.span.erase(noise(int(self.fitted.shape[0]), rank, rng))

    def predict(self, y: Tensor, eraser: Eraser | None) -> Tensor:
        """(b, q) answers in the fold of ridge probes for (m, q) columns, all rows erased alike.

        The eraser is linear once rows are centred, so moments are erased in place of rows. Scales
        stay as they were before: standardising again would blow up what is left of a unit.
        """
        known = y[self.outside]
        centre = known.mean(0)
        xx, xy, shown = self.xx, self.fitted.T @ (known - centre), self.shown
        if eraser is not None:
            xx = eraser.linear(eraser.linear(xx).T)
            xy = eraser.linear(xy.T).T
            shown = eraser.linear(shown)
        return shown @ ridge(xx, xy, margins.PROBE_RIDGE * known.shape[0]) + centre


def _parts(rows: Tensor, fold: Tensor, seed: int) -> list[_Part]:
    """One part a fold, in the leading principal axes of all rows."""
    if not bool(torch.isfinite(rows).all()):
        raise NotMeasurable("the last hidden layer holds NaN or infinity")
    x = _leading(rows)
    return [_Part(x, fold, f, seed) for f in range(margins.PROBE_FOLDS)]


def _leading(rows: Tensor) -> Tensor:
    """(m, k) rows with units at SD 1, in those principal axes that hold more than rounding."""
    # A constant unit would leave its rounding behind, at SD 1.
    x = standardised(rows[:, (rows != rows[0]).any(dim=0)])
    wide = x.shape[1] > x.shape[0]
    if x.shape[1] == 0:
        raise NotMeasurable("no unit of the last hidden layer varies")
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    # Copies of a unit in float32 differ by rounding, which is no direction to be drawn at random.
    keep = values > values[-1] * 1e-10
    keep[: -max(1, x.shape[0] // 4)] = False
    axes = vectors[:, keep]
    leading: Tensor = axes * values[keep].sqrt() if wide else x @ axes
    return leading


def _own(concept: Concept) -> _Goal:
    """The concept itself."""
    return _Goal(
        concept,
        concept.columns.expand(margins.PROBE_FOLDS, -1, -1),
        f"{concept.statistic} lost beyond a random subspace",
    )


def _goals(erased: Concept, other: Concept, reason: str, fold: Tensor) -> list[_Goal]:
    """The other concept, and its rest beside the erased one."""
    own = _own(other)
    statistic = "R^2 of the rest lost beyond a random subspace"
    if reason:
        return [_Goal(other, own.columns, s, reason) for s in (own.statistic, statistic)]
    rest = torch.stack(
        [_rest(erased.columns, other.columns, fold != f) for f in range(margins.PROBE_FOLDS)]
    )
    mine = rest[fold, torch.arange(len(fold))]
    open_ = float(mine.var(0, unbiased=False).sum() / other.columns.var(0, unbiased=False).sum())
    if open_ < DETERMINED:
        reason = f"{erased.name} determines {other.name}: there is no rest to decode"
    return [own, _Goal(Concept(other.name, mine, None), rest, statistic, reason)]


def _rest(a: Tensor, b: Tensor, outside: Tensor) -> Tensor:
    """(m, q) what the regression of b on a, both (m, ...), leaves over; fitted on some rows."""
    known, wanted = a[outside], b[outside]
    slopes = torch.linalg.pinv(known - known.mean(0)) @ (wanted - wanted.mean(0))
    rest: Tensor = b - wanted.mean(0) - (a - known.mean(0)) @ slopes
    return rest


def _scores(
    parts: Sequence[_Part], goals: Sequence[_Goal], erasers: Sequence[Eraser] | None = None
) -> Tensor:
    """(goals, m) scores out of fold, with an eraser a fold, or with nothing erased."""
    out = torch.empty(len(goals), goals[0].columns.shape[1], dtype=torch.float64)
    widths = [int(g.columns.shape[2]) for g in goals]
    for i, part in enumerate(parts):
        y = torch.cat([g.columns[i] for g in goals], dim=1)
        answers = part.predict(y, erasers[i] if erasers else None).split(widths, dim=1)
        inside = part.inside.nonzero()[:, 0]
        for row, goal, answer in zip(out, goals, answers, strict=True):
            row[inside] = goal.scored.score(answer, inside)
    return out


def _lost(parts: Sequence[_Part], erased: Concept, goals: Sequence[_Goal]) -> Tensor:
    """(goals, m) scores after random erasures, on average, minus those after the concept's."""
    if not goals:
        return torch.empty(0, 0, dtype=torch.float64)
    erasers = [p.eraser(erased) for p in parts]
    without = _scores(parts, goals, erasers)
    random = torch.zeros_like(without)
    for draw in range(DRAWS):
        drawn = [p.random(e.rank, draw) for p, e in zip(parts, erasers, strict=True)]
        random += _scores(parts, goals, drawn)
    return random / DRAWS - without


def _crowded(parts: Sequence[_Part], erased: Concept) -> str:
    """Why no random subspace is a fair comparison; empty if one is."""
    for part in parts:
        if why := crowded(erased, part.eraser(erased).rank, part.span.live):
            return why
    return ""


def _unheld(parts: Sequence[_Part], goal: _Goal, at: Setting) -> str:
    """Why a goal has nothing to lose in the layer; empty if it has."""
    return unheld(goal.scored, _scores(parts, [goal])[0], at)
