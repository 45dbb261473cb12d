"""Off support: inputs outside what either model was made for, with the teacher as reference.

They need no labels and no second data set. These four fit all real inputs; images and tokens have
more in ``off_support_images`` and ``off_support_tokens``. The list and the strengths are part of
the verdict's rules: they change only with a new version of the margins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Final

import torch
from torch import Tensor

from ringtest.checked import is_number
from ringtest.condition import Condition, Role, condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.shift import common

if TYPE_CHECKING:
    from ringtest.model import Model

RANK: Final = 1e-4
"""Directions whose standard deviation is below this share of the largest hold rounding only."""


class OffSupport(Condition):
    """Base: judged at the severities of the fixed list, context at any other.

    At some others, ``grades``, every audit tells how far student and members still agree.

    Raises ConfigError, when made, for a severity that is not above 0, or above ``most``.
    """

    role: Role = "off_support"
    keeps_targets = False
    bounds: tuple[float, float] | None
    """Legal range of the data. Set by fit."""
    severities: ClassVar[tuple[float | None, ...]] = (None,)
    """Those of the fixed list; None: ``whole``, which goes without saying."""
    whole: ClassVar[float] = 1.0
    """The strength of an instance without a severity."""
    grades: ClassVar[tuple[float, ...]] = ()
    """Others that every audit looks at."""
    reads = ("outputs.agreement",)
    most: ClassVar[float] = math.inf
    """The largest severity."""

    def __init__(self, name: str | None = None, severity: float | None = None) -> None:
        if severity is not None and not (is_number(severity) and 0 < severity <= self.most):
            top = "" if self.most == math.inf else f", at most {self.most:g}"
            fix = f"give a number above 0{top}"
            raise ConfigError(f"severity of {self.kind}", f"is {severity!r}", fix)
        super().__init__(name, severity)
        if severity not in self.severities:
            # What is judged is the mean over a fixed list: one more would water it down.
            self.role = "context"

    @property
    def strength(self) -> float:
        """The severity in force."""
        return self.whole if self.severity is None else self.severity

    @classmethod
    def defaults(cls, data: AuditData) -> Iterable[Condition]:
        """One instance for each severity of the list, and each grade, where it applies."""
        every = (*cls.severities, *cls.grades)
        return [cls(severity=s) for s in every] if cls.applies(data) else ()

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Condition]:
        """The severity that a cell says."""
        return () if severity is None or not cls.applies(data) else [cls(severity=severity)]

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """Real inputs of at least two numbers; with one there is nothing to mix or to flatten."""
        return common.is_numeric(data) and data.inputs[0].numel() > 1

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Keep the legal range."""
        self.bounds = data.bounds


@condition
class Gaussian(OffSupport):
    """Draws from a Gaussian with the data's mean and covariance, which is never formed.

    A draw is mean + sum_i g_i (x_i - mean) / sqrt(m) over m sampled rows, g standard normal:
    exactly the mean and covariance of these rows. Of the block only the number of rows is used.
    Severity: factor on the deviations from the mean, 1 where none is said.
    """

    kind = "shift.off_support.gaussian"
    about = "draws from a Gaussian with the mean and covariance of the data"
    grades = (0.5, 2.0)
    rows: ClassVar[int] = 2048
    """Largest number of rows sampled for the moments."""

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Sample and centre the rows."""
        super().fit(subjects, data, rng)
        rows = common.pool(data.inputs, self.rows, rng)
        self._mean = _mean(rows)
        self._deviations = (rows - self._mean) / len(rows) ** 0.5

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """As many draws as ``x`` has rows."""
        weights = common.normal((x.shape[0], len(self._deviations)), rng, x)
        deviations = self._deviations.to(x.device)
        # Not `1 * deviations`, which would copy them for nothing.
        draws = weights @ (deviations if self.strength == 1 else self.strength * deviations)
        draws += self._mean.to(x.device)
        return common.inside(draws, x, self.bounds)


@condition
class Mixed(OffSupport):
    """Half of the features of each row, chosen at random, taken from another row of the data.

    The donors come from a pool fixed in fit, not from the block, so no row depends on its block.
    Severity: share of the features, rounded down but one at least, at most a half: with more of
    them the other row would be the one that is disturbed.
    """

    kind = "shift.off_support.mixed"
    about = "half of the features of each row replaced by those of another row"
    whole = most = 0.5
    grades = (0.1, 0.25)
    rows: ClassVar[int] = 2048
    """Largest number of donors."""

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Sample the donors."""
        super().fit(subjects, data, rng)
        self._donors = common.pool(data.inputs, self.rows, rng)

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The mixed rows."""
        chosen = common.integers(len(self._donors), (x.shape[0],), rng, self._donors)
        donors = self._donors[chosen].to(x.device)
        scores = common.uniform(donors.shape, rng, x)
        width = scores.shape[1]
        # Exactly the share, rounded down, lies above this one: for a half the (lower) median.
        last = scores.kthvalue(
            width - max(1, int(self.strength * width)), dim=1, keepdim=True
        ).values
        taken = scores > last
        return common.inside(torch.where(taken, donors, x.reshape(donors.shape)), x, self.bounds)


@condition
class Noise(OffSupport):
    """Gaussian noise of 1 and 3 times the data's scale.

    Units: standard deviations of each column, channel (images) or feature (sequences); constant
    ones stay as they are.
    """

    kind = "shift.off_support.noise"
    about = "Gaussian noise as large as the data or larger"
    severities = (1.0, 3.0)
    grades = (0.3, 10.0)

    @classmethod
    def applies(cls, data: AuditData) -> bool:
        """All real inputs."""
        return common.is_numeric(data)

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Take the standard deviations."""
        super().fit(subjects, data, rng)
        self._sd = common.moments(data)[1]

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The noisy rows."""
        noise = common.normal(x.shape, rng, x) * self._sd.to(x.device)
        return common.inside(x + self.strength * noise, x, self.bounds)


@condition
class Spectrum(OffSupport):
    """The spectrum flattened: directions of low variance are amplified, those of high damped.

    A centred row's coordinate along each principal direction, of standard deviation s, is divided
    by sqrt(s), so that the deviations become sqrt(s); then the row takes its old norm again (before
    clipping). Directions from at most 1,024 rows; what a row has outside their span is treated like
    the weakest direction inside. Severity: the exponent, .5 where none is said, 1 at most, which
    makes all directions equal.
    """

    kind = "shift.off_support.spectrum"
    about = "directions of low variance amplified: spectrum flattened by square root, norms kept"
    whole, most = 0.5, 1.0
    grades = (0.25, 1.0)
    rows: ClassVar[int] = 1024
    """Largest number of rows sampled for the directions."""

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Find the directions and their factors."""
        super().fit(subjects, data, rng)
        rows = common.pool(data.inputs, self.rows, rng)
        self._mean = _mean(rows)
        values, self._directions = _principal(rows - self._mean)
        # Relative to the weakest direction, whose factor is then 1, like that of the rest.
        self._factors = (values[-1:] / values) ** self.strength - 1

    def batch(self, model: Model, x: Tensor, y: Tensor | None, rng: torch.Generator) -> Tensor:
        """The flattened rows."""
        mean, directions = self._mean.to(x.device), self._directions.to(x.device)
        centred = x.reshape(x.shape[0], -1).float() - mean
        along = centred @ directions
        flat = centred + (along * self._factors.to(x.device)) @ directions.T
        length, old = flat.norm(dim=1, keepdim=True), centred.norm(dim=1, keepdim=True)
        flat = flat * torch.where(length > 0, old / length, 0.0)
        return common.inside(flat + mean, x, self.bounds)


def _mean(rows: Tensor) -> Tensor:
    """(d,) mean, summed in float64."""
    return rows.mean(dim=0, dtype=torch.float64).float()


def _principal(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations (k,), largest first, and directions (d, k) of centred rows (m, d).

    From the Gram matrix of the shorter side, in float64: an SVD of large images would take minutes.
    """
    wide = centred.shape[1] > centred.shape[0]
    exact = centred.double()
    gram = exact @ exact.T if wide else exact.T @ exact
    squares, vectors = torch.linalg.eigh(gram)
    squares, vectors = squares.flip(0).clamp(min=0), vectors.flip(1)
    kept = squares > squares[0] * RANK**2
    values, vectors = squares[kept].sqrt(), vectors[:, kept]
    if wide:
        vectors = exact.T @ vectors / values
    return (values / len(centred) ** 0.5).float(), vectors.float()
