"""Covariate shift: rows drawn with weights along a feature, or with the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, close_to
from ringtest.measure import NotMeasurable
from ringtest.shift import splits
from ringtest.shift.splits import Feature, Resampled, Split, Weights

STEPS: Final = 40
"""Halvings in the search for a strength."""


@condition
class Tilt(Resampled):
    """Rows drawn with weights exp(strength * z) along a feature: ``shift.split.tilt.age@1``.

    z is the feature in its standard deviations, and the strength may be negative. Along a normal
    feature the mean moves by as many standard deviations as the strength says, and nothing else
    changes; the effective sample is a share of exp(-strength^2) of the rows. A feature is a group
    or concept column of numbers, a column of a table by its number (``x0``), or a function of the
    inputs that a user gives, such as a score of difficulty; never a student's own.
    Source: exponential tilting; Shimodaira 2000 for importance weights under covariate shift.
    """

    kind = "shift.split.tilt"
    about = "rows drawn with weights that grow along a feature (covariate shift)"
    source = "Shimodaira 2000"

    def __init__(
        self, feature: str | Feature, strength: float = 1.0, name: str | None = None
    ) -> None:
        """What to tilt along, and how far.

        Args:
            feature: column, ``x0`` for a column of a table, or feature(inputs (b, ...)) -> (b,).
            strength: of the weights' exponent, in 1 / SD of the feature.
            name: completes the id; a function's own name by default.
        """
        if not isinstance(feature, str) and not callable(feature):
            raise ConfigError("Tilt", f"feature is {feature!r}", "give a column or a callable")
        self.feature = feature
        called = feature if isinstance(feature, str) else getattr(feature, "__name__", "feature")
        strength = splits.number("Tilt: strength", strength)
        super().__init__(called if name is None else name, strength)

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:
        """Along every group and concept column of numbers with more than two values."""
        columns = {**data.groups, **data.concepts}
        strength = 1.0 if severity is None else severity
        return [cls(k, strength) for k, v in columns.items() if _varied(v)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """A column, and the strength."""
        return cls(name, 1.0 if severity is None else severity)

    def check(self, data: AuditData) -> None:
        """The column must be there."""
        if isinstance(self.feature, str) and _table_column(data, self.feature) is None:
            splits.column(data, self.feature, self.key)

    def weigh(self, data: AuditData, rng: torch.Generator) -> Weights:
        """(n,) weights."""
        assert self.severity is not None
        return tilted(self._standard(data), self.severity)

    def order(self, data: AuditData) -> NDArray[Any]:
        """Along the feature."""
        return self._standard(data)

    def advice(self, data: AuditData) -> str:
        """The largest strength that leaves enough."""
        assert self.severity is not None
        z, low, high = self._standard(data), 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            size = splits.effective(tilted(z, middle * self.severity), data.cluster)
            low, high = (middle, high) if size >= self.minimum else (low, middle)
        # Rounded towards 0, so that what is told would do.
        most = np.trunc(low * self.severity * 1000) / 1000
        return f"strength={most:g} would leave enough" if most else "give more rows"

    def _standard(self, data: AuditData) -> Weights:
        if not isinstance(self.feature, str):
            values = splits.featured(data, self.feature, f"feature of {self.key}")
        else:
            column = _table_column(data, self.feature)
            values = splits.column(data, self.feature, self.key) if column is None else column
        if values.dtype.kind not in "iufb" or values.size != data.n:
            raise NotMeasurable(f"{self.name} holds no numbers, one a row, to tilt along")
        values = values.reshape(data.n).astype(np.float64)
        sd = values.std()
        if not sd > 1e-12 * np.abs(values).max():
            raise NotMeasurable(f"{self.name} has one value only: nothing can be tilted along it")
        return np.asarray((values - values.mean()) / sd)


@condition
class Weighted(Resampled):
    """Rows drawn with the user's own importance weights, which only Python can give."""

    kind = "shift.split.weighted"
    about = "rows drawn with importance weights that the user gives"

    def __init__(self, name: str, weights: ArrayLike) -> None:
        """Name of the target population, and (n,) weights, one a row of the data as given."""
        try:
            self.weights = np.asarray(weights, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError("Weighted", "weights are no numbers", "give (n,) numbers") from error
        super().__init__(str(name))

    @classmethod
    def unknown(cls, name: str, data: AuditData) -> ConfigError:  # noqa: ARG003
        """No cell can hold weights."""
        fix = "give audit(..., conditions=[Weighted(...)])"
        return ConfigError("cells", f"{cls.kind}.{name} has no weights", fix)

    def check(self, data: AuditData) -> None:
        """One weight a row."""
        if self.weights.ndim != 1 or not data.rows.fits(len(self.weights)):
            n = len(data.rows) if data.rows.of is None else data.rows.of
            raise DataError(self.id, f"weights have shape {self.weights.shape}", f"give ({n},)")

    def weigh(self, data: AuditData, rng: torch.Generator) -> Weights:
        """The weights of these rows."""
        return np.asarray(self.weights[data.rows.numbers])


def tilted(z: Weights, strength: float) -> Weights:
    """(n,) weights exp(strength * z), over their sum; no exponent is too large.

    >>> tilted(np.array([0.0, np.log(3)]), 1.0).round(2).tolist()
    [0.25, 0.75]
    """
    exponent = strength * z
    w = np.exp(exponent - exponent.max())
    return np.asarray(w / w.sum())


def _varied(values: Any) -> bool:
    array = np.asarray(values)
    return array.ndim == 1 and array.dtype.kind in "iuf" and len(np.unique(array)) > 2


def _table_column(data: AuditData, name: str) -> NDArray[Any] | None:
    """(n,) column of a table by its number, unless a group or concept has the name."""
    table = data.modality == "table" and name not in data.groups and name not in data.concepts
    if not table or not name.startswith("x") or not name[1:].isdigit():
        return None
    number, width = int(name[1:]), int(data.inputs.shape[1])
    if number >= width:
        known = [f"x{i}" for i in range(width)]
        raise ConfigError("Tilt", f"inputs have no column {name}", close_to(name, known))
    return np.asarray(data.inputs[:, number].double())
