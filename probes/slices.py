"""Slices of the rows by a group column, and what each slice's probe is worth in the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import Estimate, weighted_mean
from ringtest.measure import NotMeasurable, Setting
from ringtest.probes.concepts import Concept
from ringtest.probes.linear import by_fold, fold_probes, in_span
from ringtest.probes.training_rows import RELATIVE

Values = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


@dataclass(frozen=True)
class Slices:
    """The slices of one column that are large enough, the largest first."""

    column: str
    labels: tuple[str, ...]
    rows: tuple[Tensor, ...]
    """Row numbers of each slice within the sample, ascending."""
    folds: tuple[Tensor, ...]
    """Fold of each of these rows; clusters stay whole."""
    reason: str = ""
    """Why they cannot be compared; empty if they can."""

    @classmethod
    def of(cls, column: str, values: Values, at: Setting) -> Slices:
        """At most ten slices of at least 100 rows, by the (m,) values of the sampled rows."""
        labels, counts = np.unique(values, return_counts=True)
        large = [(int(c), i) for i, c in enumerate(counts) if c >= margins.MIN_N]
        chosen = sorted(large, key=lambda pair: (-pair[0], pair[1]))[: margins.SLICES[1]]
        rows = tuple(torch.from_numpy(np.flatnonzero(values == labels[i])) for _, i in chosen)
        units = at.sample_units
        return cls(
            column,
            tuple(str(labels[i]) for _, i in chosen),
            rows,
            tuple(_folds(r, units) for r in rows),
            _too_few(column, rows, units),
        )

    def narrow(self, rows: Tensor, layer: str = "the layer") -> Tensor:
        """(m, at most m) float64 rows for directions that are compared; 0 for rows of no slice.

        Of the (m, d) rows of a layer. Directions are compared at one scale for all slices: units
        have standard deviation 1 within slices, all weighted alike. A unit that says above all
        which slice it is would hide what it says within them, and one that stands still in some is
        not scaled up by what rounding leaves there. Rows of no slice have no say in it: one that
        lies far out could drown all others. Raises NotMeasurable, with the name of the layer, if no
        unit varies within any slice.
        """
        compared = torch.cat(self.rows).sort().values
        x = rows[compared].double()
        x = x - x.mean(0)
        parts = [x[torch.searchsorted(compared, own)] for own in self.rows]
        within = torch.stack([p.var(0, correction=0) for p in parts]).mean(0)
        square = torch.stack([p.square().mean(0) for p in parts]).mean(0)
        # Constant in every slice: at the scale of all rows, it weighs nothing in any.
        moves = within > RELATIVE * square
        if not bool(moves.any()):
            raise NotMeasurable(f"{layer}: no unit varies within any slice of {self.column}")
        within = torch.where(moves, within, square)
        narrow = in_span(x / torch.where(within > 0, within, 1.0).sqrt())
        out = torch.zeros(len(rows), narrow.shape[1], dtype=torch.float64)
        out[compared] = narrow
        return out

    def scores(self, rows: Tensor, concept: Concept) -> Tensor:
        """(k, m) score of each row by each slice's probe; NaN for rows of no slice.

        NaN also for the probe of a slice in which no unit varies, see :meth:`obstacles`.

        A row meets probes of one size only: its own slice's and the others' without a fold.

        Args:
            rows: (m, d) rows of a layer, as it shows them.
            concept: to be decoded.
        """
        out = torch.full((len(self.rows), len(rows)), torch.nan, dtype=torch.float64)
        for a, (own, own_fold) in enumerate(zip(self.rows, self.folds, strict=True)):
            seen = _as_seen_from(rows, own)
            if seen is None:
                continue
            probes = fold_probes(seen[own], concept.columns[own], own_fold, scale=False)
            for there, fold in zip(self.rows, self.folds, strict=True):
                # Far outside its own slice a linear probe of values is wrong without bound.
                score = concept.score(by_fold(probes, seen[there], fold), there).clamp_min(-1.0)
                out[a, there] = score
        return out

    def score(self, scores: Tensor, a: int, b: int, units: NDArray[np.int64] | None) -> Estimate:
        """Mean score in slice b of the probe of slice a, of (k, m) scores."""
        rows = self.rows[b]
        values, weight = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
        values[rows], weight[rows] = scores[a, rows].numpy(), 1.0 / len(rows)
        return weighted_mean(values, weight, units)

    def lost(self, scores: Tensor, units: NDArray[np.int64] | None) -> Estimate:
        """Own score minus the mean of the others' probes, all slices alike, of (k, m) scores."""
        gap, weight = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
        for i, rows in enumerate(self.rows):
            others = torch.cat([scores[:i, rows], scores[i + 1 :, rows]]).mean(0)
            gap[rows] = (scores[i, rows] - others).numpy()
            weight[rows] = 1.0 / (len(self.rows) * len(rows))
        estimate = weighted_mean(gap, weight, units)
        smallest = min(len(rows) for rows in self.rows)
        return Estimate(
            estimate.value, estimate.influence, len(self.rows) * smallest, estimate.method
        )

    def pair(self, a: int, b: int) -> str:
        """Name of an entry of the matrix."""
        return f"{self.column}: {self.labels[a]} -> {self.labels[b]}"

    def obstacles(self, concept: Concept, rows: Tensor, layer: str) -> list[str]:
        """Why a slice has no probe of the concept in the (m, d) rows of a layer; "" where it has.

        ``layer`` is what the reasons call it.
        """
        out = []
        for label, own, fold in zip(self.labels, self.rows, self.folds, strict=True):
            classes = None if concept.classes is None else concept.classes[own]
            why = Concept(concept.name, concept.columns[own], classes).obstacle(fold)
            if not why and not bool(_moves(rows[own].double()).any()):
                why = f"no unit of {layer} varies"
            out.append(f"{self.column} {label}: {why}" if why else "")
        return out


def _moves(rows: Tensor) -> Tensor:
    """(d,) whether a unit of (n, d) float64 rows varies, by more than rounding."""
    return rows.var(0, correction=0) > RELATIVE * rows.square().mean(0)


def _as_seen_from(rows: Tensor, own: Tensor) -> Tensor | None:
    """(m, q) float64 rows, each unit in its standard deviations on a slice's own rows.

    That is how a probe sees them that was fitted there. What stands still there weighs nothing
    anywhere, exactly: a network with a part for each slice has units that wake up in the others
    alone. A layer wider than the slice is long is rotated into the span of the slice, where the
    weights of its ridge probe lie. None if no unit varies.
    """
    mine = rows[own].double()
    moves = _moves(mine)
    if not bool(moves.any()):
        return None
    mine = mine[:, moves]
    seen = (rows[:, moves].double() - mine.mean(0)) / mine.std(0, correction=0)
    if seen.shape[1] <= len(own):
        return seen
    mine = seen[own]
    values, vectors = torch.linalg.eigh(mine @ mine.T)
    keep = values > values[-1] * 1e-12
    rotated: Tensor = seen @ (mine.T @ (vectors[:, keep] / values[keep].sqrt()))
    return rotated


def _folds(rows: Tensor, units: NDArray[np.int64] | None) -> Tensor:
    own = None if units is None else units[rows.numpy()]
    return torch.from_numpy(blocks.folds(len(rows), margins.PROBE_FOLDS, own))


def _too_few(column: str, rows: tuple[Tensor, ...], units: NDArray[np.int64] | None) -> str:
    if len(rows) < margins.SLICES[0]:
        return f"{column} has under two slices of at least {margins.MIN_N} rows"
    if units is None:
        return ""
    least = min(len(np.unique(units[r.numpy()])) for r in rows)
    folds = margins.PROBE_FOLDS
    return f"a slice of {column} has under {folds} independent clusters" if least < folds else ""
