"""Label shift: rows drawn so that classes have another mix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ringtest.blocks import seed_from
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.measure import NotMeasurable
from ringtest.shift import splits
from ringtest.shift.splits import Resampled, Split, Weights

UNIFORM: Final = "uniform"
_LISTED: Final = 8
"""A mix of more classes is not spelt out in a name."""


class _Mix(Resampled):
    """Rows drawn with weights that depend on the class alone. Subclasses say the mix."""

    tasks = ("classification",)

    def mix(self, counts: Weights, rng: torch.Generator) -> Weights:
        """(C,) target share of each class, from the rows that each has."""
        raise NotImplementedError

    def weigh(self, data: AuditData, rng: torch.Generator) -> Weights:
        """(n,) the share of the row's class, spread over its rows."""
        y = splits.classes(data, self.key)
        counts = np.bincount(y).astype(np.float64)
        shares = self.mix(counts, rng)
        return np.asarray((shares / np.maximum(counts, 1))[y])

    def order(self, data: AuditData) -> NDArray[Any]:
        """By class, so that each has its exact share."""
        return splits.classes(data, self.key)

    def advice(self, data: AuditData) -> str:
        """Where the sample was lost."""
        counts = np.bincount(splits.classes(data, self.key))
        few = int(np.argmin(np.where(counts > 0, counts, counts.max() + 1)))
        return f"class {few} has {counts[few]} rows: ask for a mix nearer to the data's"


@condition
class Labels(_Mix):
    """Rows in which classes have a mix that you say: ``shift.split.labels.uniform``, ``.2=0.5``.

    Within a class rows are as likely as in the data, so that the score is the sum of the classes'
    own scores under the mix. Source: Saerens et al. 2002; Lipton et al. 2018.
    """

    kind = "shift.split.labels"
    about = "rows drawn to a mix of classes that the user says (label shift)"
    source = "Lipton et al. 2018"

    def __init__(
        self, mix: Mapping[int, float] | Sequence[float] | str = UNIFORM, name: str | None = None
    ) -> None:
        """The mix, and what it is called.

        Args:
            mix: ``uniform`` over the classes that occur; a share for every class, in order; or
                class -> share, the other classes keeping their proportions among what is left.
            name: completes the id; by default the mix itself.
        """
        self._uniform = isinstance(mix, str)
        if isinstance(mix, str):
            if mix != UNIFORM:
                raise ConfigError("Labels", f"mix is {mix!r}", "give 'uniform', or shares")
            self.partial, self.shares = False, {}
        else:
            self.partial = isinstance(mix, Mapping)
            try:
                pairs = mix.items() if isinstance(mix, Mapping) else enumerate(mix)
                self.shares = {int(k): float(v) for k, v in pairs}
            except (TypeError, ValueError) as error:
                fix = "give 'uniform', shares, or class -> share"
                raise ConfigError("Labels", f"mix is {mix!r}", fix) from error
            _check(self.shares, self.partial)
        super().__init__(self._called() if name is None else name)

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:  # noqa: ARG003
        """The uniform mix."""
        if severity is not None:
            raise ConfigError("cells", f"{cls.kind} has no strength", f"write {cls.kind}.0=0.5")
        return [cls()]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """``class=share``, any number of them joined by &."""
        try:
            pairs = [part.split("=") for part in name.split("&")]
            mix = {int(k): float(v) for k, v in pairs}
            if len(mix) < len(pairs):
                raise ValueError("a class stands there twice")
        except ValueError as error:
            fix = f"write {cls.kind}.uniform, {cls.kind}.0=0.5 or {cls.kind}.dirichlet@1"
            raise ConfigError("cells", f"{cls.kind}.{name} is no mix", fix) from error
        return cls(mix)

    def mix(self, counts: Weights, rng: torch.Generator) -> Weights:
        """The shares."""
        if self._uniform:
            return np.asarray((counts > 0) / (counts > 0).sum())
        out = np.zeros(len(counts))
        for k, share in self.shares.items():
            if share > 0 and not (k < len(counts) and counts[k]):
                wanted = f"class {k} is to have a share of {share:.3g}"
                raise NotMeasurable(f"{wanted}, and has no rows")
            if share > 0:
                out[k] = share
        left = 1.0 - sum(self.shares.values())
        if self.partial and left > 1e-9:
            rest = counts.copy()
            rest[[k for k in self.shares if k < len(counts)]] = 0.0
            if not rest.sum() > 0:
                raise NotMeasurable(
                    f"the shares of {self.key} sum to less than 1, no class is left"
                )
            out += left * rest / rest.sum()
        return out

    def _called(self) -> str:
        if self._uniform:
            return UNIFORM
        if len(self.shares) > _LISTED:
            return "mix"
        return "&".join(f"{k}={v:g}" for k, v in self.shares.items())


@condition
class Dirichlet(_Mix):
    """A mix of classes drawn from a Dirichlet: ``shift.split.labels.dirichlet@1``.

    Its concentration, alpha for every class that occurs, is the strength: 1 draws any mix alike,
    less puts most rows into few classes. Another ``draw`` is another mix.
    Source: Lipton et al. 2018 (black box shift estimation), section 6.
    """

    kind = "shift.split.labels.dirichlet"
    about = "rows drawn to a mix of classes that comes from a Dirichlet (label shift)"
    source = "Lipton et al. 2018"

    def __init__(self, alpha: float = 1.0, draw: int = 0) -> None:
        """Concentration, above 0, and number of the draw."""
        alpha = splits.number("Dirichlet: alpha", alpha, 0.0)
        super().__init__(str(int(draw)) if draw else None, alpha)

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:  # noqa: ARG003
        """One draw."""
        return [cls(1.0 if severity is None else severity)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """The number of a draw."""
        if not name.isdecimal():
            raise ConfigError("cells", f"{cls.kind}.{name} is no draw", f"write {cls.kind}.1@1")
        return cls(1.0 if severity is None else severity, int(name))

    def mix(self, counts: Weights, rng: torch.Generator) -> Weights:
        """(C,) shares, 0 for classes that never occur."""
        assert self.severity is not None
        generator = np.random.default_rng(seed_from(rng))
        out = np.zeros(len(counts))
        out[counts > 0] = generator.dirichlet(np.full(int((counts > 0).sum()), self.severity))
        return out


def _check(shares: Mapping[int, float], partial: bool) -> None:
    """Raise ConfigError for what is no mix."""
    values = np.array(list(shares.values()))
    total = float(values.sum())
    bad = not len(values) or min(shares) < 0 or not np.isfinite(values).all() or (values < 0).any()
    whole = total <= 1 + 1e-6 if partial else abs(total - 1) <= 1e-6
    if bad or not whole:
        rule = (
            "give shares from 0 that sum to at most 1" if partial else "give shares that sum to 1"
        )
        raise ConfigError(
            "Labels", f"mix sums to {total:g}" if len(values) else "mix is empty", rule
        )
