"""The user's invariances: transformations of inputs that should not change the output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ringtest.callables import changed
from ringtest.condition import Condition, condition
from ringtest.data import AuditData
from ringtest.errors import DataError, close_to

if TYPE_CHECKING:
    from ringtest.model import Model


@condition
class Invariance(Condition):
    """The user's callable ``data.invariances[name]``, applied to every block.

    Its result is checked but not clipped: what it returns is what should not change the output.
    """

    kind = "shift.invariance"
    about = "a transformation that, the user says, does not change the output"
    role = "invariance"
    users_own = True

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """One instance for each invariance."""
        return [cls(name) for name in data.invariances or ()]

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Look the callable up. Raises DataError if the data have none of that name."""
        known = data.invariances or {}
        if self.name is None or self.name not in known:
            raise DataError(self._field, "is not given", close_to(str(self.name), known))
        self._function = known[self.name]

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The transformed inputs.

        Raises DataError if the callable fails, changes the shape or turns floats to tokens or back,
        or gives NaN or infinity.
        """
        with torch.no_grad():
            return changed(self._function, x, rng, self._field)

    @property
    def _field(self) -> str:
        return f"invariances[{self.name!r}]"
