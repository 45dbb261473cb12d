"""What one audit is about: models, data and plan, checked and ready."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringtest.data import AuditData
from ringtest.measure import Measure
from ringtest.model import Model
from ringtest.plan import Plan, Stage
from ringtest.tasks import AnyTask


@dataclass(frozen=True)
class Case:
    """Everything that an audit looks at, checked and ready."""

    data: AuditData
    task: AnyTask
    members: list[Model]
    students: dict[str, Model]
    references: list[Model]
    plan: Plan
    seed: int
    several: bool
    """Whether students were given by name, for a ReportSet."""
    controls: list[Model] = field(default_factory=list)
    """Students distilled in the same way from a teacher that was never trained."""

    @property
    def models(self) -> list[Model]:
        """All models, members first."""
        return [*self.members, *self.references, *self.controls, *self.students.values()]

    def shown(self, stage: Stage) -> list[Model]:
        """The models that are looked at in a stage: controls only where something is read of them.

        What a condition shows a model never rests on a control, so that none can move a number.
        """
        return [m for m in self.models if stage.controlled or m.role != "control"]

    @property
    def pairs(self) -> list[tuple[Model, Model]]:
        """Members with each other and with every student, for layer-by-layer CKA."""
        between = [(a, b) for i, a in enumerate(self.members) for b in self.members[i + 1 :]]
        return between + [(m, s) for m in self.members for s in self.students.values()]

    def kin(self, student: Model) -> list[Model]:
        """The references of the student's own architecture."""
        return [r for r in self.references if r.architecture == student.architecture]

    def honest(self, entry: Measure) -> list[str]:
        """References that a measure is read of: one that holds models against the teacher."""
        return [m.name for m in self.references] if "teacher" in entry.needs else []
