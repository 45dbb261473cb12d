"""Corruptions that no audit looks under by itself: what they share, and how they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

import torch

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError
from ringtest.shift.corruption import Corruption

if TYPE_CHECKING:
    from ringtest.model import Model


class OnRequest(Corruption):
    """Base: looked under where a cell names it in full, or an instance is handed over.

    Severity is 1 to 5, and ``strengths`` says what each is. Raises ConfigError, when made, for any
    other severity.
    """

    source = ""
    needs: ClassVar[str]
    """What the data must be, in words."""

    def __init__(self, name: str | None = None, severity: float | None = None) -> None:
        super().__init__(name, severity)
        if severity is None or severity not in range(1, len(self.strengths) + 1):
            fix = f"give a whole number from 1 to {len(self.strengths)}"
            raise ConfigError(f"severity of {self.id}", f"is {severity!r}", fix)

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:  # noqa: ARG003 - protocol
        """None."""
        return ()

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Self]:
        """All severities, or the one that a cell says, where the corruption applies."""
        if not cls.applies(data):
            return ()
        every = range(1, len(cls.strengths) + 1)
        return [cls(severity=s) for s in (every if severity is None else (severity,))]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Check the data: somebody may have handed an instance over."""
        self.check(data)

    def check(self, data: AuditData) -> None:
        """Raise DataError for data on which this instance means nothing."""
        if not self.applies(data):
            x = data.inputs
            problem = f"are {data.modality} of shape {tuple(x.shape)} and {x.dtype}"
            raise DataError("inputs", problem, f"{self.key} is for {self.needs}")
