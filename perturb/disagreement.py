"""Inputs that make the members of a teacher disagree, the same for all models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ringtest import fidelity
from ringtest.condition import Condition, Scope, condition
from ringtest.data import AuditData
from ringtest.measure import NotMeasurable
from ringtest.model import Model
from ringtest.perturb import losses
from ringtest.perturb.ascent import Answering, Goal
from ringtest.perturb.attack import GradientAttack, Misleading, Run
from ringtest.perturb.discrepancy import Sides


@condition
class Disagreement(GradientAttack):
    """Linf attack on the members' agreement: the point within eps where they lie furthest apart.

    What is driven up is the mean divergence of the members from their own mean: for classes the
    mutual information H(mean p) - mean H(p) in nats, at most log of the number of members; for
    values the variance among members, in variances of the targets; for embeddings, which then must
    share their axes, the mean 1 - cosine. All models are shown the same inputs, made from the
    members alone: where they agree on the data, a student that copied one of them and a student
    that copied what they have in common look alike, and here they do not. Nam et al. distil on such
    inputs, a random step of output diversification away from the data; here the gradient of the
    disagreement itself is climbed, since what is asked is how far it can go within eps.

    10 steps, whose size each example finds, from a random start. Where all members are sure of one
    class there is no gradient left, so classes have a second run up a loss without a scale: the
    member that is nearest to it leaves the class that the mean gave the clean point, by the
    difference of logits ratio, while the others keep it. Of all points seen the one of most
    disagreement is kept. No targets are needed; those of the data are taken to hold within eps.

    Read by default where a teacher of two or more members classifies rows of real numbers, at one
    eps of .1: on the demo's digits members then differ on 85 % of rows, at .03 on 16 %, and the
    teacher's mean is wrong on 95 of 700 rows instead of 25, so that its mistakes can be followed or
    not; in standard deviations of a column .03 is next to nothing. With fewer members, or members
    that give no gradients, nothing is measured.
    """

    kind = "attack.disagreement"
    about = "inputs within eps in Linf on which the teacher's members disagree most; for all models"
    source = "Nam et al. 2021, arXiv:2110.14149; steps: Croce & Hein 2020, arXiv:2003.01690"
    scope: ClassVar[Scope] = "shared"
    gradients = False
    """None of the models that are looked at: the members' are asked for when they are known."""
    least_members = 2
    reads = fidelity.MEASURES
    usual = (0.1,)
    steps = 10
    rate = 0.0

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """One eps, for real inputs with one integer class each."""
        return cls.asked(data) if Misleading.applies(data) else ()

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the unit of eps and the members. Raises NotMeasurable for too few of them."""
        super().fit(subjects, data, rng)
        members = self.given("member")
        if len(members) < self.least_members:
            raise NotMeasurable(
                "the teacher is one model: there are no members that could disagree"
            )
        fixed = next((m.name for m in members if not m.gradients), None)
        if fixed is not None:
            raise NotMeasurable(
                f"{fixed} gives no gradients by which members could be driven apart"
            )
        self._task, self._sides = members[0].task, Sides(*members)

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The inputs on which the members disagree, whoever looks at them."""
        return super().batch(self._sides, x, y, rng)

    def goal(self, outputs: Tensor, y: Tensor | None) -> Goal:
        """The disagreement."""
        return Goal(self._apart)

    def runs(self, goal: Goal, outputs: Tensor) -> Iterator[Run]:
        """Up the disagreement; for classes then one member out of the class that all gave."""
        yield self._apart, ()
        if self._task.name == "classification":
            word = self._task.mean(outputs.unbind(1)).argmax(1)
            yield leaving, (word, _ways_out(outputs, word).argmax(1))

    def _apart(self, outputs: Tensor) -> Tensor:
        """(b,) mean divergence of (b, members, k) outputs from their mean."""
        members = outputs.unbind(1)
        mean = self._task.mean(members)
        # KL(member || mean): their mean is the mutual information.
        each = [self._task.divergence(mean, m) for m in members]
        return torch.stack(each).mean(0).to(outputs.dtype)


def leaving(outputs: Tensor, word: Tensor, who: Tensor) -> Tensor:
    """How far a member leaves a class while the others keep it, on a scale that no logits have.

    Args:
        outputs: (b, members, k) of two members or more.
        word: (b,) the class.
        who: (b,) which member.

    Returns:
        (b,) its difference of logits ratio, less the mean of the others that give way.
    """
    ways = _ways_out(outputs, word)
    own = ways.gather(1, who[:, None])[:, 0]
    given_way = ways.clamp(min=0)
    others = given_way.sum(1) - own.clamp(min=0)
    return own - others / (outputs.shape[1] - 1)


def _ways_out(outputs: Tensor, word: Tensor) -> Tensor:
    """(b, members) each member's difference of logits ratio: how nearly it leaves the class."""
    b, members, k = outputs.shape
    words = word.repeat_interleave(members)
    return losses.dlr(outputs.reshape(-1, k), words).reshape(b, members)
