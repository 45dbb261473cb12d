"""The protocol of a condition: a way in which models are looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.registry import Registry

if TYPE_CHECKING:
    from ringtest.data import AuditData
    from ringtest.model import Model
    from ringtest.rows.inputs import Rows

Scope = Literal["shared", "own", "pair"]
"""``shared``: one changed input for all models. ``own``: white box, each model its own with the
same start and budget. ``pair``: made from teacher and student together."""
CLEAN: Final = "clean"
Role = Literal["clean", "context", "off_support", "certified", "unlabelled", "invariance"]
"""What the verdict may use a condition for; ``context``: nothing."""


@dataclass(frozen=True)
class Kind:
    """What the catalogue says of a family of conditions."""

    id: str
    about: str
    scope: Scope
    role: Role
    source: str
    make: type[Condition]


class Condition:
    """One condition at one severity, ready to be fitted and applied.

    Subclasses set the class attributes, override :meth:`defaults` and one of the hooks.
    A condition never touches the global random state: everything random comes from the generator.
    """

    kind: ClassVar[str]
    """Registered id of the family, such as ``shift.corruption.rotate``."""
    about: ClassVar[str]
    """One sentence for the catalogue."""
    source: ClassVar[str] = ""
    """Paper or origin."""
    scope: ClassVar[Scope] = "shared"
    role: Role = "context"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression", "embedding")
    """Tasks for which it means anything."""
    keeps_targets: ClassVar[bool] = True
    """Whether the targets are still right, so that scores mean something."""
    gradients: bool | None = None
    """Whether it needs those of the model; None: as its scope says, ``own`` does."""
    layer_gradients: ClassVar[bool] = False
    """Whether it needs those with respect to layers, which models of tokens have, too."""
    users_own: ClassVar[bool] = False
    """Whether a callable of the user's is behind it, which cannot be told from another."""
    changes_inputs: ClassVar[bool] = True
    """Whether what a model is shown lies in its inputs, so that another can be shown the same."""
    keeps_rows: ClassVar[bool] = True
    """Whether row i is a changed version of the data's row i (False: another set of rows)."""
    least_members: ClassVar[int] = 1
    """Of a smaller teacher it is nothing that an audit looks under by itself."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Ids of measures that are read under it without being asked for, whatever its role."""
    selects: ClassVar[bool] = False
    """Whether it shows rows of the data as they are, some of them, perhaps more than once: see
    :meth:`picks`. Measures then find the data, targets, groups and clusters of those rows."""

    def __init__(self, name: str | None = None, severity: float | None = None) -> None:
        """Name and strength.

        Args:
            name: completes the kind's id (``shift.unlabelled`` + ``phone``).
            severity: how much is changed, in the condition's own unit; 0 would be nothing.
        """
        self.name = name
        self.severity = severity

    @property
    def id(self) -> str:
        """Id of this condition without its severity, as in the rows."""
        return self.kind if self.name is None else f"{self.kind}.{self.name}"

    @property
    def key(self) -> str:
        """Id with the severity: unique within an audit, and part of the random seed."""
        return self.id if self.severity is None else f"{self.id}@{self.severity:g}"

    @property
    def stored_as(self) -> str:
        """Id of the condition under which stored evidence holds what a model shows here."""
        return CLEAN if self.selects else self.id

    @property
    def asks_gradients(self) -> bool:
        """Whether a model has to give gradients to be looked at."""
        return self.scope == "own" if self.gradients is None else self.gradients

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:  # noqa: ARG003 - protocol
        """The instances that an audit of this data looks under; none where it does not apply."""
        return ()

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Condition]:  # noqa: ARG003
        """The instances that a cell naming this kind in full means, besides the defaults."""
        return ()

    @classmethod
    def named(
        cls,
        data: AuditData,  # noqa: ARG003 - protocol
        name: str,  # noqa: ARG003
        severity: float | None = None,  # noqa: ARG003
    ) -> Iterable[Condition]:
        """The instances that a cell means which goes on behind the kind: ``KIND.name@severity``.

        Raises ConfigError for a name that says what it means and is not there.
        """
        return ()

    def check(self, data: AuditData) -> None:
        """Refuse what the data lack, before a model is run. Raises ConfigError."""

    def picks(self, data: AuditData) -> NDArray[np.int64] | None:
        """Rows of the data that are shown, called after :meth:`fit`; None: all of them, in order.

        Only where ``selects`` is true. Rows may repeat: the copies are one unit of every error.
        """
        return None

    def outside(self, data: AuditData) -> NDArray[np.int64]:
        """Rows of the data, ascending, that may teach what is then read on the picked ones.

        None of them is picked, or lies in one cluster with a picked row. Called after :meth:`fit`.
        """
        picked = self.picks(data)
        if picked is None:
            return np.empty(0, dtype=np.int64)
        units = np.arange(data.n) if data.cluster is None else data.cluster
        return np.flatnonzero(~np.isin(units, units[picked])).astype(np.int64)

    def start(self, data: AuditData) -> Rows:
        """The rows that the condition starts from, called after :meth:`fit`.

        Override it if ``keeps_rows`` is False, or if what goes along with the rows changes, too.
        """
        return data.rows

    def inputs(self, data: AuditData) -> Tensor:
        """The part of :meth:`start` that the condition changes."""
        return self.start(data).main

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Calibrate on the data before the first batch (statistics, pools, matched strengths).

        A NotMeasurable takes the rows of all models under the condition, never the audit.
        """

    def beyond(self, model: Model) -> str | None:
        """What keeps a model from being looked at under the condition ("has ..."), or None."""
        return None

    def subject(self, model: Model) -> Model:
        """The model to look at: itself, or a disturbed copy. Called once, after :meth:`fit`.

        A NotMeasurable or SubjectError takes this model's rows alone.
        """
        return model

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The changed inputs of one block.

        Args:
            model: the model that will see them (any, for scope ``shared``).
            x: (b, ...) inputs of the block.
            y: (b,) or (b, k) targets, or None.
            rng: generator seeded by (seed, condition, block): the same for every model.

        Returns:
            Tensor of the shape and type of ``x``, inside the data's bounds.
        """
        return x


conditions: Registry[Kind] = Registry("condition")


def condition(cls: type[Condition]) -> type[Condition]:
    """Class decorator: register a family of conditions."""
    conditions.add(Kind(cls.kind, cls.about, cls.scope, cls.role, cls.source, cls))
    return cls


@condition
class Clean(Condition):
    """The data as they are."""

    kind = CLEAN
    about = "the benchmark's inputs as they are"
    role = "clean"

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:  # noqa: ARG003 - protocol
        """Always."""
        return (cls(),)
