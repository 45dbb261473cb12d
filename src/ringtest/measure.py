"""The protocol of a measure: a function from what it needs to readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ringtest import condition as conditions_
from ringtest import margins
from ringtest.estimate import Estimate
from ringtest.measurement import AREA, Direction
from ringtest.registry import Registry

if TYPE_CHECKING:
    from ringtest.condition import Condition
    from ringtest.data import AuditData
    from ringtest.ensembles.recorded import Recorded
    from ringtest.evidence import Evidence
    from ringtest.measurement import Measurement
    from ringtest.tasks import AnyTask

Need = Literal[
    "outcomes",
    "sample",
    "layers",
    "moments",
    "clean_pair",
    "cross_model",
    "gradients",
    "layer_gradients",
    "model",
    "teacher",
    "condition",
    "outside",
    "recorded",
]
"""``outcomes``: score and prediction of every row. ``sample``: last hidden layer and outputs on the
sample of rows. ``layers``: the same for all layers. ``moments``: running sums over all rows and
layer pairs. ``clean_pair``: clean evidence of the same rows beside the changed. ``model``: the
model itself, to be run again; ``gradients``: the same, and its outputs can be differentiated with
respect to inputs. ``layer_gradients``, beside ``model``: with respect to layers, as a model of
tokens can. ``condition``: what the fitted condition learnt of each model.
``outside``: evidence of all rows of the data, where the condition picks some of them. ``teacher``:
what the teacher's other members say of the very inputs that the model was shown; what is held
against them is a level of its own, and is told even of a single teacher's student. ``recorded``:
answers or candidates that were sampled before, and no model."""
Invariance = Literal["permutation", "orthogonal", "linear", "scale", "logit scale"]

PERMUTATION: Final[Invariance] = "permutation"
ORTHOGONAL: Final[Invariance] = "orthogonal"
LINEAR: Final[Invariance] = "linear"
SCALE: Final[Invariance] = "scale"


@dataclass(frozen=True)
class Setting:
    """What a measure may know besides the evidence: never which student it is, or its name."""

    data: AuditData
    task: AnyTask
    condition: Condition
    rows: NDArray[np.int64]
    """Rows of the sample, (m,)."""
    units: NDArray[np.int64] | None
    """Cluster code of every row, (n,), or None."""
    seed: int
    shared: dict[str, Any] = field(default_factory=dict)
    """Things that measures derive from the data alone and may reuse within one condition."""
    picked: NDArray[np.int64] | None = None
    """(n,) rows of ``whole`` that these are, where the condition picks some of them."""
    whole: Setting | None = None
    """What measures may know of all rows of the data, where the condition picks some of them."""

    @property
    def sample_units(self) -> NDArray[np.int64] | None:
        """Cluster codes, from 0 without gaps, of the sampled rows."""
        return self.units_of(self.rows)

    def units_of(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64] | None:
        """Cluster codes, from 0 without gaps, of some rows: their numbers, or (n,) which."""
        if self.units is None:
            return None
        return np.unique(self.units[rows], return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Reading:
    """One number about one model under one condition."""

    estimate: Estimate
    statistic: str
    layer: str | None = None
    """Name of the model's layer, or None."""
    depth: float = 1.0
    """Relative depth of the layer, by which teacher and student are aligned."""
    concept: str | None = None
    slice: str | None = None
    reason: str = ""
    """Why the estimate is NaN, in words."""
    params: dict[str, Any] = field(default_factory=dict)
    """What else the row is to tell of the student, JSON values only."""
    unit: str = ""
    """Unit of the estimate, where it is another than the measure's."""
    teacher: Estimate | None = None
    """What the teacher reads in the very place. Of a measure of the ensemble always; else where the
    measure was told (it needs ``teacher``) and no member has a reading for the model's place."""


class Measure:
    """Common declarations. Subclass :class:`ModelMeasure` or :class:`PairMeasure`."""

    id: ClassVar[str]
    about: ClassVar[str]
    """One sentence for the catalogue."""
    direction: ClassVar[Direction] = "higher"
    range: ClassVar[tuple[float, float]]
    invariant_to: ClassVar[frozenset[Invariance]] = frozenset()
    """What the measure cannot see."""
    null_value: ClassVar[float | None] = None
    """Value for unrelated or structureless codes."""
    group: ClassVar[str | None] = None
    """Group of the verdict that the measure's headlines speak for."""
    unit: ClassVar[str] = ""
    needs: ClassVar[frozenset[Need]]
    on: ClassVar[tuple[conditions_.Role, ...]] = ("clean",)
    """Roles of the conditions under which it means something."""
    default: ClassVar[bool] = True
    """Whether it is read there without being asked for; False for what takes long."""
    source: ClassVar[str] = ""
    users_own: ClassVar[bool] = False
    """Whether it calls a callable of the user's, which cannot be told from another."""
    controlled: ClassVar[bool] = False
    """Whether it is read of controls, too: students of a teacher that was never trained."""

    @property
    def area(self) -> str:
        """Folder that provides the measure; for somebody else's, their package."""
        package, *inside = type(self).__module__.split(".")
        return inside[0] if package == "ringtest" else package

    @property
    def margin(self) -> tuple[float, float] | None:
        """Least and largest harm that is tolerated by default; None for what is context only."""
        return None if self.group is None else margins.span(self.group)

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Whether the measure means anything there; targets and rows are checked for it."""
        return True


class ModelMeasure(Measure):
    """A number about one model; compared with the mean member."""

    curve: ClassVar[bool] = False
    """Whether it falls with the severity of a condition, so that its mean over severities is told:
    see :mod:`ringtest.series`."""
    summaries: ClassVar[tuple[str, ...]] = (AREA,)
    """What of that curve is told: statistics that :mod:`ringtest.series` knows."""
    unchanged: ClassVar[float | None] = None
    """What it is, by definition, where nothing is changed; None: what it reads on clean rows."""
    refutes: ClassVar[tuple[str, ...]] = ()
    """Ids of measures that are not measurable, under the same condition, where this one objects."""

    def objection(self, readings: Mapping[str, float]) -> str:
        """Why what it read of a model, by statistic, refutes those measures; empty if not."""
        return ""

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Readings of one model under one condition."""
        raise NotImplementedError


class PairMeasure(Measure):
    """A similarity of two models, transformed so that margins travel; compared with the band."""

    statistic: ClassVar[str]
    """Name of the transformed scale."""

    def forms(self, evidence: Evidence) -> dict[str, Evidence]:
        """The evidence as it is (""), and in other forms in which a model could have shown it.

        A student is held against the members in the form that is kindest to it, the same for both.
        The names go into ``params["form"]`` of judged rows.
        """
        return {"": evidence}

    def prepare(self, evidence: Evidence, at: Setting) -> Any:
        """What is computed once a model; NotMeasurable if the layer has nothing left."""
        raise NotImplementedError

    def compare(self, a: Any, b: Any) -> Estimate:
        """Transformed similarity of two prepared models on the same rows."""
        raise NotImplementedError

    def raw(self, value: float) -> float:
        """The similarity itself from its transformed value."""
        return value

    def slope(self, value: float) -> float:
        """Derivative of :meth:`raw`, to carry a standard error over."""
        return 1.0

    def chance(self, prepared: Sequence[Any]) -> float:
        """Transformed similarity of unrelated models."""
        raise NotImplementedError


@dataclass(frozen=True)
class Committee:
    """What a measure of an ensemble is shown: all members at once, and one student beside them."""

    members: Sequence[Evidence]
    """At least two."""
    combined: Evidence
    """Their mean prediction: score and prediction of every row, outputs on the sample."""
    student: Evidence | None
    """None where the ensemble is looked at by itself."""
    controls: Sequence[Evidence] = ()
    """Students distilled in the same way from a teacher that was never trained."""


class EnsembleMeasure(Measure):
    """Numbers about a teacher's members together; a student is placed beside them.

    Every reading has a ``teacher``. Its ``estimate`` is what the student has there, NOTHING where
    there is no student or it has no such number. Read where all models see the same inputs; a
    teacher of one member has no such row.
    """

    needs = frozenset({"outcomes", "sample"})

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Embeddings share no axes that a mean could be taken over; targets must hold."""
        holds = condition.keeps_targets and condition.keeps_rows and task.targets is not None
        return task.name != "embedding" and holds

    def read(self, seen: Committee, at: Setting) -> list[Reading]:
        """Readings of the ensemble under one condition."""
        raise NotImplementedError


class RecordedMeasure(Measure):
    """Rows about recorded answers or candidates: it sees no model, and is read under no condition.

    Rows are context. They are told wherever recordings are given, by ``ringtest.ensemble`` and
    ``ringtest.audit``.
    """

    needs = frozenset({"recorded"})
    on = ()
    default = False
    told_as: ClassVar[str]
    """What its rows name as their condition."""

    def read(self, recorded: Recorded, student: str | None, seed: int) -> list[Measurement]:
        """Rows of the ensemble, with a student beside it where one of that name was recorded."""
        raise NotImplementedError


class NotMeasurable(Exception):
    """A measure has nothing to say here; the message is the reason that goes into the row."""


measures: Registry[Measure] = Registry("measure")


def measure(cls: type[Measure]) -> type[Measure]:
    """Class decorator: register one instance of a measure."""
    measures.add(cls())
    return cls
