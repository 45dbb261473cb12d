"""Where does a model part from the teacher, on the very inputs that it was shown?

A student is held against the members; a member against the others, which says how far honest
models part. Under a white-box condition each model has inputs of its own, and the teacher is asked
about them anew.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ringtest import gallery
from ringtest.beside import Beside
from ringtest.condition import Condition, Role
from ringtest.data import AuditData
from ringtest.errors import SubjectError
from ringtest.estimate import Array, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.measurement import Direction
from ringtest.shift import common
from ringtest.tasks import AnyTask


class BesideTeacher(ModelMeasure):
    """Base: the mean of one number a row, read wherever it is asked for."""

    needs = frozenset({"teacher", "outcomes"})
    controlled: ClassVar[bool] = True
    direction: ClassVar[Direction] = "lower"
    on: ClassVar[tuple[Role, ...]] = ("context",)
    default: ClassVar[bool] = False

    def outcomes(self, evidence: Evidence, beside: Beside) -> Array:
        """(n,) the numbers."""
        raise NotImplementedError

    def statistic(self, at: Setting) -> str:
        """Name of their mean."""
        raise NotImplementedError

    def beside(self, evidence: Evidence) -> Beside:
        """What the teacher says; NotMeasurable for the member of a teacher that has no other."""
        beside = evidence.beside
        if beside is None:
            raise NotMeasurable("there is no other member to hold it against")
        if beside.apart:
            raise NotMeasurable(beside.apart)
        if beside.failed:
            raise SubjectError("teacher", f"cannot be asked: {beside.failed}", "mend the member")
        return beside

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        beside = self.beside(evidence)
        found = row_mean(self.outcomes(evidence, beside), at.units)
        return [Reading(found, self.statistic(at), params=self.params(beside, at))]

    def params(self, beside: Beside, at: Setting) -> dict[str, Any]:
        """What else the row tells."""
        return {}


@measure
class Divergence(BesideTeacher):
    """How far a model's outputs lie from the teacher's on the same inputs; lower is better, from 0.

    Mean over all rows. Classification: KL(teacher || model) in nats, the teacher being the mean
    probability of its members. Regression: squared distance in variances of the targets, mean over
    columns. Embedding: 1 - cosine, at most 2, which asks for embeddings of the same axes.

    A member is held against the mean of the others, and a student against as many: one member,
    another by chance in each block of 256 rows, is left out for it, since a mean of more lies
    nearer to any honest model. The members answer as they are, also where a condition disturbs
    them. With a single teacher the student's value stands alone. ``params["references"]`` is the
    mean of the references. Under conditions that show each model inputs of its own,
    ``params["examples"]`` holds the few rows of the student that lie furthest apart: the page draws
    them.

    Source: fidelity as in Stanton et al. 2021 (arXiv:2106.05945), on whatever inputs are shown.
    """

    id = "outputs.divergence"
    about = "mean divergence of the outputs from the teacher's (of a member: the others'), all rows"
    range = (0.0, np.inf)
    unit = "divergence"
    source = "Stanton et al. 2021, arXiv:2106.05945"

    def outcomes(self, evidence: Evidence, beside: Beside) -> Array:
        """The divergence of each row."""
        return beside.divergence

    def statistic(self, at: Setting) -> str:
        """What kind of divergence."""
        return {
            "classification": "KL in nats",
            "regression": "squared distance in target variances",
            "embedding": "1 - cosine",
        }[at.task.name]

    def params(self, beside: Beside, at: Setting) -> dict[str, Any]:
        """The rows that lie furthest apart, where each model has inputs of its own."""
        if at.condition.scope != "own":
            return {}
        return {"examples": [gallery.plain(e, at) for e in beside.examples]}


@measure
class Betrayal(BesideTeacher):
    """Share of rows on which a model's class is not the teacher's; lower is better, in [0, 1].

    The teacher's class is the most probable one under the mean of its members; of a member under
    that of the others. Under ``attack.betrayal`` it is the share of examples near which the teacher
    keeps its word and the model does not. With a single teacher the student's value stands alone.

    Source: churn, Milani Fard et al. 2016 (NeurIPS), read where a model was driven to.
    """

    id = "outputs.betrayal"
    about = "share of rows on which the class is not the teacher's (of a member: the others')"
    range = (0.0, 1.0)
    unit = "share"
    source = "Milani Fard et al. 2016, NeurIPS"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """There must be classes."""
        return task.name == "classification"

    def outcomes(self, evidence: Evidence, beside: Beside) -> Array:
        """1 where the classes differ."""
        assert evidence.predictions is not None
        assert beside.predictions is not None
        differs: Array = (evidence.predictions != beside.predictions).astype(np.float64)
        return differs

    def statistic(self, at: Setting) -> str:
        """It has no other scale."""
        return "share"


@measure
class TeacherScore(BesideTeacher):
    """The teacher's own score on the inputs made for a model; lower: weaknesses are shared.

    Under an attack on each model (``attack.pgd``) it says how well the model's attack transfers to
    the teacher: attacks made on the student to the members, beside attacks made on a member to the
    other members. A student whose weak spots are the teacher's leads it astray as a member would;
    where the teacher stands firmer against the student's attack, the student errs in ways of its
    own. Under a condition that shows all models the same it is the same for all, but for which
    members are asked. With a single teacher the student's value stands alone.

    Source: transfer as in Papernot et al. 2016 (arXiv:1605.07277).
    """

    id = "outputs.teacher_score"
    about = "score of the teacher (of a member: the others) on the inputs made for a model"
    range = (-np.inf, np.inf)
    unit = "score"
    source = "Papernot et al. 2016, arXiv:1605.07277"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Targets must hold."""
        return common.holds_targets(condition, task)

    def outcomes(self, evidence: Evidence, beside: Beside) -> Array:
        """The teacher's score of each row."""
        return beside.score

    def statistic(self, at: Setting) -> str:
        """Name of the score."""
        return at.task.score_name
