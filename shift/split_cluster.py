"""Splits by what inputs look like: k-means clusters, and the rows that have few neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from ringtest import blocks
from ringtest.condition import condition
from ringtest.data import AuditData
from ringtest.errors import ConfigError
from ringtest.measure import NotMeasurable
from ringtest.rows.tables import codes
from ringtest.shift import splits
from ringtest.shift.split_groups import fold_of
from ringtest.shift.splits import Feature, Rows, Split

CLUSTERS: Final = 4
POOL: Final = 10_000
"""Clusters are found, and neighbours looked for, among at most so many rows."""
RARE: Final = 0.1
NEIGHBOURS: Final = 10


@condition
class Cluster(Split):
    """A k-means cluster of the inputs, the largest first: ``shift.split.cluster.2of4``.

    Of the raw inputs (columns standardised, tokens counted), or of a function of theirs that the
    user gives, such as an embedding that no model of the audit had a part in. Never of a student's
    own features: clusters would be cut by what it sees, and hide what it does not.
    """

    kind = "shift.split.cluster"
    about = "a k-means cluster of the raw inputs, or of features that the user gives"

    def __init__(self, number: int, of: int = CLUSTERS, features: Feature | None = None) -> None:
        """Which cluster, from 1, of how many.

        Args:
            number: 1 is the largest.
            of: clusters.
            features: features(inputs (b, ...)) -> (b, d), in place of the inputs.
        """
        self.number, self.of = fold_of("Cluster", number, of)
        if features is not None and not callable(features):
            raise ConfigError("Cluster", f"features are {features!r}", "give a callable on inputs")
        self.features = features
        super().__init__(f"{number}of{of}")

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:  # noqa: ARG003
        """All four clusters; a strength is the number of clusters."""
        if severity is not None and not (severity.is_integer() and severity > 1):
            problem = f"{cls.kind}@{severity:g} is no number of clusters"
            raise ConfigError("cells", problem, f"write {cls.kind}@{CLUSTERS}")
        count = CLUSTERS if severity is None else int(severity)
        return [cls(i + 1, count) for i in range(count)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """``NUMBERofCLUSTERS``."""
        number, _, of = name.partition("of")
        if severity is not None or not number.isdecimal() or not of.isdecimal():
            problem = f"{cls.kind}.{name} names no cluster"
            raise ConfigError("cells", problem, f"write {cls.kind}.1of{CLUSTERS}")
        return cls(int(number), int(of))

    @classmethod
    def named(cls, data: AuditData, name: str, severity: float | None = None) -> Iterable[Split]:
        """``K`` means all K clusters, ``2ofK`` one of them."""
        if name.isdecimal() and int(name) > 1 and severity is None:
            return cls.asked(data, float(name))
        return super().named(data, name, severity)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """Rows of the cluster."""
        points = splits.points(data, self.features, f"features of {self.id}")
        pool = points[blocks.sample_rows(data.n, POOL)]
        different = len(np.unique(pool, axis=0))
        if different < self.of:
            raise NotMeasurable(f"{different} different inputs make no {self.of} clusters")
        # No seed of the condition's own: the clusters of one number must be parts of one whole.
        found = KMeans(self.of, n_init=4, random_state=0).fit(pool).predict(points)
        sizes = np.bincount(found, minlength=self.of)
        return np.flatnonzero(found == np.argsort(-sizes, kind="stable")[self.number - 1])


@condition
class Rare(Split):
    """The rarest rows, a tenth by default: ``shift.split.rare@0.1``.

    ``shift.split.rare`` alone: rows furthest from their ten nearest neighbours among 10,000 others,
    in the raw inputs or in features that the user gives. With columns, as
    ``shift.split.rare.domain&device``: the smallest combinations of their values, as many as fit
    into the share.
    """

    kind = "shift.split.rare"
    about = "the rarest rows: those with few neighbours, or of the smallest groups"

    def __init__(
        self, columns: Sequence[str] = (), share: float = RARE, features: Feature | None = None
    ) -> None:
        """Group columns (none: by neighbours), the share of the rows, and what stands for inputs.

        Args:
            columns: names of group columns.
            share: in (0, 1).
            features: features(inputs (b, ...)) -> (b, d), in place of the inputs.
        """
        if not isinstance(columns, str | Sequence):
            raise ConfigError("Rare", f"columns are {columns!r}", "give a list of names")
        self.columns = (columns,) if isinstance(columns, str) else tuple(columns)
        if features is not None and (self.columns or not callable(features)):
            raise ConfigError("Rare", "features are no callable, or beside columns", "give one")
        self.features = features
        share = splits.number("Rare: share", share, 0.0, 1.0)
        super().__init__("&".join(self.columns) or None, share)

    @classmethod
    def asked(cls, data: AuditData, severity: float | None = None) -> Iterable[Split]:  # noqa: ARG003
        """The rows with fewest neighbours."""
        return [cls(share=RARE if severity is None else severity)]

    @classmethod
    def parsed(cls, data: AuditData, name: str, severity: float | None) -> Split:  # noqa: ARG003
        """Columns joined by &."""
        return cls(name.split("&"), RARE if severity is None else severity)

    def check(self, data: AuditData) -> None:
        """Columns must be there."""
        for name in self.columns:
            splits.column(data, name, self.key)

    def rows(self, data: AuditData, rng: torch.Generator) -> Rows:
        """The rows, by neighbours or by groups."""
        assert self.severity is not None
        most = int(self.severity * data.n)
        if not self.columns:
            return np.argsort(-self._distance(data), kind="stable")[:most]
        cell = np.zeros(data.n, dtype=np.int64)
        for name in self.columns:
            cell = codes(cell * data.n + codes(splits.column(data, name, self.key)))
        counts = np.bincount(cell)
        sizes = np.unique(counts)
        # Groups of one size are as rare as each other: all of them, or none.
        taken = [s for s in sizes if counts[counts <= s].sum() <= most]
        if not taken:
            smallest = counts[counts == sizes[0]].sum() / data.n
            raise NotMeasurable(
                f"the smallest groups of {self.name} hold {smallest:.2g} of the rows, more than "
                f"{self.severity:g}"
            )
        return np.flatnonzero(counts[cell] <= taken[-1])

    def _distance(self, data: AuditData) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """(n,) mean distance to the nearest others."""
        points = splits.points(data, self.features, f"features of {self.id}")
        chosen = blocks.sample_rows(data.n, POOL)
        count = min(NEIGHBOURS, len(chosen) - 1)
        if count < 1:
            raise NotMeasurable("one row has no neighbours")
        index = NearestNeighbors(n_neighbors=count + 1).fit(points[chosen])
        out = np.empty(data.n)
        member = np.isin(np.arange(data.n), chosen)
        for part in blocks.parts(data.n, 1_024):
            far, _ = index.kneighbors(points[part])
            # A row of the pool is its own nearest.
            own = member[part]
            out[part] = np.where(own, far[:, 1:].mean(1), far[:, :-1].mean(1))
        return out
