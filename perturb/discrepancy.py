"""Attacks that drive a model and the teacher apart."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ringtest.beside import others
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import SubjectError
from ringtest.measure import NotMeasurable
from ringtest.model import Ensemble, Index, Model
from ringtest.perturb import losses
from ringtest.perturb.ascent import Answering, Goal
from ringtest.perturb.attack import GradientAttack, Run


class Sides:
    """Several models in one call, so that a search reads, and climbs, all of them."""

    def __init__(self, *sides: Answering) -> None:
        """At least one: a model, or several as one."""
        self.members: list[Answering] = [
            m for s in sides for m in (s.members if isinstance(s, Ensemble) else [s])
        ]
        self.gradients = all(m.gradients for m in self.members)
        self._sides = sides

    def logits(self, x: Tensor, rows: Index | None = None) -> Tensor:
        """(b, sides, k) canonical outputs of each."""
        found = [side.logits(x, rows) for side in self._sides]
        if any(f.shape != found[-1].shape for f in found):
            raise NotMeasurable("gives outputs of another width than the teacher's")
        if x.requires_grad and not all(f.requires_grad for f in found):
            # One of them would stand still, and the search would pass for complete.
            raise SubjectError(
                "model", "its outputs do not depend on its inputs by any gradient", "detach nothing"
            )
        return torch.stack(found, dim=1)


@condition
class Discrepancy(GradientAttack):
    """Linf attack on fidelity: the point within eps where a model lies furthest from the teacher.

    What is driven up is the divergence from the mean of the members: KL(teacher || model) for
    classes, the squared distance in variances of the targets, or 1 - cosine of embeddings. The
    gradient goes through both sides. A member is driven away from the *other* members in the same
    way: honest models can be driven apart, too, and that is what a student is held against. So that
    it is held against as many, one member is left out for it, another one by chance in each block
    of 256 rows. With a single teacher there is no member to compare with, and the student's value
    stands alone.

    20 steps, whose size each example finds, from a random start. Where both sides are sure of one
    class the KL has no gradient left, which a low temperature would turn into a pass. So classes
    have a second run up a loss without a scale: the model leaves the class that the teacher gave
    the clean point, by the difference of logits ratio, while the teacher keeps it. Of all points
    seen the one of largest divergence is kept. No targets are needed.

    Read it with ``outputs.divergence``, ``outputs.betrayal``.
    """

    kind = "attack.discrepancy"
    about = "largest divergence from the teacher (of a member: from the others) within eps in Linf"
    source = "objective: Stanton et al. 2021, arXiv:2106.05945; steps: Croce & Hein 2020"
    rate = 0.0

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of eps and the task."""
        super().fit(subjects, data, rng)
        self._task = self.given("member")[0].task

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """As every attack. Raises NotMeasurable for a member that is the whole teacher."""
        rest = others(self.given("member"), getattr(model, "name", ""), rng.initial_seed())
        if not rest:
            raise NotMeasurable("is the only member: there is no other to drive it away from")
        return super().batch(Sides(model, Ensemble(rest)), x, y, rng)

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """The divergence."""
        return Goal(self._divergence)

    def runs(self, goal: Goal, outputs: Tensor) -> Iterator[Run]:
        """Up the divergence; for classes then out of the one that the teacher gave."""
        yield self._divergence, ()
        if self._task.name == "classification":
            yield parting, (_word(outputs),)

    def _divergence(self, outputs: Tensor) -> Tensor:
        """(b,) of (b, 2, k) outputs."""
        return self._task.divergence(outputs[:, 0], outputs[:, 1]).to(outputs.dtype)


@condition
class Betrayal(Discrepancy):
    """As ``attack.discrepancy``, but a point counts only where the teacher keeps its word.

    The word is the class that the mean of the members (for a member: of the others) gives the clean
    point; where that is right, a teacher that keeps it stays right. Of the points that count one
    where the model gives another class beats all where it does not, then the larger divergence.
    Rows on which the two differ from the beginning are betrayed already. A member against the
    others is the null, as there. Read it with ``outputs.betrayal``: the share of examples near
    which the teacher holds and the model does not.
    """

    kind = "attack.betrayal"
    about = "a model is driven out of the class that the teacher keeps, within eps in Linf"
    tasks = ("classification",)

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """First another class, then the divergence; never where the teacher gives way."""

        def betrayed(outputs: Tensor, word: Tensor) -> Tensor:
            model, teacher = outputs.argmax(2).unbind(1)
            # An infinite one over itself would be NaN, and never kept.
            divergence = self._divergence(outputs).clamp(0, 1e6)
            found = (model != word) + divergence / (1 + divergence)
            return torch.where(teacher == word, found, -torch.inf)

        return Goal(betrayed, (_word(outputs),))


def parting(outputs: Tensor, word: Tensor) -> Tensor:
    """How far a model leaves a class while the teacher keeps it, on a scale that no logits have.

    Args:
        outputs: (b, 2, k) of the model and of the teacher.
        word: (b,) the class.

    Returns:
        (b,) difference of logits ratio of the model, less that of the teacher where it gives way.
    """
    model, teacher = outputs.unbind(1)
    return losses.dlr(model, word) - losses.dlr(teacher, word).clamp(min=0)


def _word(outputs: Tensor) -> Tensor:
    """(b,) the teacher's class on the clean rows."""
    return outputs[:, 1].argmax(1)
