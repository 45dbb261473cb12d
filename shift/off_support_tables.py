"""Off support, tables only: every column right by itself, and none with another."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ringtest.condition import Role, condition
from ringtest.data import AuditData
from ringtest.shift import common
from ringtest.shift.off_support import OffSupport

if TYPE_CHECKING:
    from ringtest.model import Model


@condition
class Columns(OffSupport):
    """Each of a share of the columns takes its value from a row of its own, drawn from the data.

    So these columns keep their distributions and lose all relations, to each other and to the rest.
    Values come from a pool fixed in fit. Severity: the share, 1 where none is said and at most;
    which columns is drawn for each row. It is not in the fixed list that is judged.
    """

    kind = "shift.off_support.columns"
    about = "columns drawn independently of each other, each from the data's own values"
    role: Role = "context"
    severities = ()
    most = 1.0
    grades = (0.25, 0.5, 1.0)
    rows: ClassVar[int] = 2048
    """Largest number of rows in the pool."""

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Tables of at least two columns."""
        return data.modality == "table" and super().applies(data)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Sample the pool."""
        super().fit(subjects, data, rng)
        self._pool = common.pool(data.inputs, self.rows, rng)

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The rows with independent columns."""
        flat = x.reshape(x.shape[0], -1).float()
        donors = common.integers(len(self._pool), flat.shape, rng, self._pool)
        values = self._pool.gather(0, donors).to(x.device)
        taken = common.uniform(flat.shape, rng, x) < self.strength
        return common.inside(torch.where(taken, values, flat), x, self.bounds)
