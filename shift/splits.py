"""Splits: conditions that show some rows of the benchmark as they are, and what they share.

A split picks rows, perhaps more than once; measures then read the score, the probes or the
similarities of those rows. Nothing is looked under a split by itself: a cell names one, or
``audit(..., conditions=[...])`` is given it.

A target population is shown by rows drawn with its weights (systematic resampling), so that every
measure can be read there, also one that knows of no weights. Copies of a row are one unit of every
error; how much the weights cost is told by the effective sample size, and too little is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, close_to
from ringtest.measure import NotMeasurable
from ringtest.representations import flat_inputs

if TYPE_CHECKING:
    from ringtest.model import Model

Rows = NDArray[np.int64]
Weights = NDArray[np.float64]
Feature = Callable[[Tensor], Any]
"""feature(inputs (b, ...)) -> (b,) or (b, d) numbers that no model of the audit had a part in."""
DRAWS: Final = 20_000
"""At most so many rows are drawn: data larger than memory stay on disk, and more would tell no
more than a standard error of a third of a percent."""
MANY: Final = 50
"""A column with more values than this is one of identities or numbers, not of groups."""
_TOKEN_WIDTH: Final = 128


class Split(Condition):
    """Some rows of the data. Subclasses say which, in :meth:`rows`."""

    selects = True
    role = "context"
    minimum: ClassVar[int] = margins.MIN_N
    """Fewer rows, or a smaller effective sample, are not looked at."""

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """(m,) the rows that are shown; NotMeasurable if the data have none such."""
        raise NotImplementedError

    def fit(self, subjects: list[Model], data: AuditData, rng: torch.Generator) -> None:
        """Choose the rows, once for all models. NotMeasurable if they are too few."""
        found = self.rows(data, rng)
        self.enough(len(found), f"{self.key} has")
        self._rows = np.sort(found).astype(np.int64)

    def picks(self, data: AuditData) -> Rows:
        """The rows chosen, ascending."""
        return self._rows

    @classmethod
    def named(cls, data: AuditData, name: str, severity: float | None = None) -> Iterable[Split]:
        """Of what the bare kind means: this name, or this column, or what the glob matches."""
        made = [(c, str(c.name)) for c in cls.asked(data, severity)]
        own = (name, f"{name}=*")
        # A value may look like a glob for another one.
        found = [c for c, called in made if called == name] or [
            c for c, called in made if any(fnmatchcase(called, n) for n in own)
        ]
        return found or [cls.parsed(data, name, severity)]

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:  # noqa: ARG003
        """What a cell means that names the kind and no more."""
        return ()

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """The split of this very name. Raises ConfigError if there is none."""
        raise cls.unknown(name, data)

    @classmethod
    def unknown(cls, name: str, data: AuditData) -> ConfigError:
        """That a name means no split, with the nearest that does."""
        known = [str(c.name) for c in cls.asked(data)]
        return ConfigError("cells", f"no {cls.kind} is called {name!r}", close_to(name, known))

    def enough(self, count: float, what: str) -> None:
        """Raise NotMeasurable for fewer than ``minimum``; ``what`` begins the sentence."""
        if count < self.minimum:
            rows = "1 row" if count == 1 else f"{count:,.0f} rows"
            raise NotMeasurable(f"{what} {rows}, at least {self.minimum} are needed")


class Resampled(Split):
    """Rows drawn with weights. Subclasses say which weights, in :meth:`weigh`."""

    def weigh(self, data: AuditData, rng: torch.Generator) -> Weights:
        """(n,) weight of each row, at least 0; NotMeasurable if there are none."""
        raise NotImplementedError

    def order(self, data: AuditData) -> NDArray[Any]:
        """(n,) rows that lie near each other here are drawn in their exact share."""
        return np.zeros(data.n)

    def advice(self, data: AuditData) -> str:
        """What to do about too small an effective sample."""
        return "ask for a milder one, or give more rows"

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """min(n, 20,000) rows, each as often as its weight says, rounded up or down by chance."""
        weights = checked(self.weigh(data, rng), data.n, f"the weights of {self.key}")
        size = effective(weights, data.cluster)
        if not size >= self.minimum:
            raise NotMeasurable(
                f"{self.key} leaves an effective sample of {size:,.1f} of {data.n:,} rows, "
                f"at least {self.minimum} are needed; {self.advice(data)}"
            )
        return drawn(weights, self.order(data), min(data.n, DRAWS), rng)


def number(field: str, value: Any, low: float = -np.inf, high: float = np.inf) -> float:
    """A number strictly between two others; raises ConfigError."""
    plain = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not plain or not low < value < high:
        between = {(-np.inf, np.inf): "give a number", (0.0, np.inf): "give a number above 0"}
        rule = between.get((low, high), f"give a number between {low:g} and {high:g}")
        raise ConfigError(field, f"is {value!r}", rule)
    return float(value)


def checked(weights: Any, n: int, what: str) -> Weights:
    """(n,) float64 weights; NotMeasurable for what no rows can be drawn with."""
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,):
        raise NotMeasurable(f"{what} have shape {w.shape}, and ({n},) is needed")
    for bad, why in ((~np.isfinite(w), "NaN or infinite"), (w < 0, "negative")):
        if bad.any():
            raise NotMeasurable(f"{what} are {why} in {int(bad.sum()):,} rows")
    if not w.max() > 0:
        raise NotMeasurable(f"{what} sum to 0")
    # Their sum may be too large for a float, or they too small to be squared.
    w = w / w.max()
    return np.asarray(w / w.sum())


def effective(weights: Weights, units: Rows | None = None) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2, of independent units.

    >>> effective(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    w = weights if units is None else np.bincount(units, weights)
    return float(w.sum() ** 2 / (w @ w))


def drawn(weights: Weights, order: NDArray[Any], size: int, rng: torch.Generator) -> Rows:
    """Systematic resampling: (size,) row numbers, row i floor or ceil of size * w_i times.

    Any stretch of rows in ``order``, ties in random order, is drawn within one of its exact share:
    that takes chance out of the mix of classes, say. Source: Kitagawa 1996.
    """
    generator = np.random.default_rng(blocks.seed_from(rng))
    shuffled = np.lexsort((generator.random(len(weights)), order))
    edges = np.cumsum(weights[shuffled])
    places = (generator.random() + np.arange(size)) / size * edges[-1]
    # A place in (edge i - 1, edge i] is row i's: one without weight has none.
    found = np.minimum(np.searchsorted(edges, places, side="left"), len(weights) - 1)
    return np.sort(shuffled[found]).astype(np.int64)


def column(data: AuditData, name: str, field: str) -> NDArray[Any]:
    """(n,) values of a group or concept column. Raises ConfigError, with the nearest names."""
    columns = {**data.concepts, **data.groups}
    if name not in columns:
        problem = f"the data have no group or concept {name!r}"
        raise ConfigError(field, problem, close_to(name, columns))
    return np.asarray(columns[name])


def texts(values: NDArray[Any]) -> NDArray[np.str_]:
    """Values as they are written in names of slices."""
    return values.astype(str)


def groups(data: AuditData) -> dict[str, NDArray[np.str_]]:
    """Group columns that have between two and 50 values, as texts."""
    found = {name: texts(np.asarray(values)) for name, values in data.groups.items()}
    return {name: v for name, v in found.items() if 1 < len(np.unique(v)) <= MANY}


def classes(data: AuditData, what: str) -> Rows:
    """(n,) target classes; NotMeasurable where the targets are none."""
    y = data.targets
    if y is None or y.dtype.kind not in "iub":
        raise NotMeasurable(f"{what} needs targets that are classes")
    return np.asarray(y).reshape(data.n, -1)[:, 0].astype(np.int64)


def points(data: AuditData, features: Feature | None, field: str) -> NDArray[np.float32]:
    """(n, d) points whose distance means something, made of the inputs alone.

    No model of the audit has a part in it: clusters of a student's own features would be found by
    what it sees, and hide what it does not. Raises DataError for a feature that fails.
    """
    if features is not None:
        return featured(data, features, field).reshape(data.n, -1).astype(np.float32)
    if data.modality == "tokens":
        return _token_points(data)
    return flat_inputs(data.inputs, str(data.modality)).numpy()


def featured(data: AuditData, feature: Feature, field: str) -> NDArray[np.float64]:
    """(n, ...) what a user's function makes of the inputs, block by block. Raises DataError."""
    out = []
    for _, part in blocks.blocks(data.n):
        x = data.inputs[part]
        try:
            with torch.no_grad():
                found = np.asarray(feature(x.clone()), dtype=np.float64)
        except Exception as error:
            raise DataError(field, f"raised {type(error).__name__}: {error}", "mend it") from error
        if found.ndim == 0 or found.shape[0] != len(x):
            problem = f"gave shape {found.shape} for {len(x)} inputs"
            raise DataError(field, problem, "return one value or row for each")
        if not np.isfinite(found).all():
            raise DataError(field, "gave NaN or infinity", "return finite numbers")
        out.append(found)
    return np.concatenate(out)


def _token_points(data: AuditData) -> NDArray[np.float32]:
    """Counts of tokens, projected at random; padding and frame count nothing."""
    vocabulary = torch.unique(data.inputs)
    rng = torch.Generator().manual_seed(len(vocabulary))
    table = torch.randn(len(vocabulary), _TOKEN_WIDTH, generator=rng) / _TOKEN_WIDTH**0.5
    table[torch.isin(vocabulary, data.frame_tokens)] = 0.0
    parts = [
        table[torch.searchsorted(vocabulary, data.inputs[part].contiguous())].flatten(1, -2).sum(1)
        for _, part in blocks.blocks(data.n)
    ]
    return torch.cat(parts).numpy()
