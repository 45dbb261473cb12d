"""Attacks made on one model and shown to others.

What is made on a student and tried on the teacher needs no condition: under an attack on each
model, such as ``attack.pgd``, the measure ``outputs.teacher_score`` asks the teacher about the
inputs that were made for the student.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from ringtest.condition import Condition, Scope, condition
from ringtest.data import AuditData
from ringtest.measure import NotMeasurable
from ringtest.model import Ensemble
from ringtest.perturb.ascent import Answering
from ringtest.perturb.pgd import PGD


class Transfer(PGD):
    """Base: ``attack.pgd`` on a source, whatever model is looked at."""

    source = "Papernot et al. 2016, arXiv:1605.07277; Madry et al. 2018, arXiv:1706.06083"
    scope: ClassVar[Scope] = "shared"
    gradients = False
    """None of those that are looked at: the source's are asked for when it is known."""

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:  # noqa: ARG003 - protocol
        """Only where it is asked for."""
        return ()

    def batch(self, model: Answering, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The worst inputs of the source. Raises NotMeasurable where there is none to climb."""
        source = self.made_on(model)
        if not source.gradients:
            raise NotMeasurable("sees nothing: what the attack is made on gives no gradients")
        return super().batch(source, x, y, rng)

    @abstractmethod
    def made_on(self, model: Answering) -> Answering:
        """What is attacked where ``model`` is looked at."""


@condition
class FromTeacher(Transfer):
    """``attack.pgd`` made on the teacher's mean prediction; all models see the same inputs.

    The members are part of what was attacked, and each is hit almost as by an attack on itself. So
    a student that stands firmer than the mean member shows no more than that it is another network:
    ``attack.transfer.member`` and ``attack.transfer.reference`` are made on none of those compared.
    """

    kind = "attack.transfer.teacher"
    about = "PGD made on the teacher's mean, shown to all models"

    def made_on(self, model: Answering) -> Answering:
        """All members as one."""
        return Ensemble(self.given("member"))


@condition
class FromMember(Transfer):
    """``attack.pgd`` made on one member and shown to another model.

    A student, or a reference, sees what was made on the first member; the first member what was
    made on the second, and the others what was made on the first. So the mean member says how well
    attacks carry over between honest models, with the same start and budget. With a single teacher
    there is no such pair of members, and nothing is measured.
    """

    kind = "attack.transfer.member"
    about = "PGD made on a member, shown to the student and to another member"
    scope = "own"

    def made_on(self, model: Answering) -> Answering:
        """The first member that it is not."""
        source = next((m for m in self.given("member") if m is not model), None)
        if source is None:
            raise NotMeasurable("is the only member: no attack can be made on another")
        return source


@condition
class FromReference(Transfer):
    """``attack.pgd`` made on the first reference, an honest model that is none of those compared.

    All models see the same inputs. How far the mean member falls is the null: attacks made on one
    honest model, tried on another. Without references nothing is measured.
    """

    kind = "attack.transfer.reference"
    about = "PGD made on an independent, honest model, shown to all models"

    def made_on(self, model: Answering) -> Answering:
        """The first reference."""
        references = self.given("reference")
        if not references:
            raise NotMeasurable("sees nothing: the audit has no references to make the attack on")
        return references[0]
