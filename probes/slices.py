"""Slices of the rows by a group column, and what each slice's probe is worth in the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins
from ringtest.estimate import Estimate, weighted_mean
from ringtest.measure import Setting
from ringtest.probes.concepts import Concept
from ringtest.probes.linear import by_fold, fold_probes

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

    def scores(self, x: Tensor, scale: bool, concept: Concept, steady: bool = True) -> Tensor:
        """(k, m) score of each row by each slice's probe; NaN for rows of no slice.

        A row meets probes of one size only: its own slice's and the others' without a fold.

        Args:
            x: (m, d) rows, as :func:`ringtest.probes.linear.narrow` gives them.
            scale: whether to standardise them.
            concept: to be decoded.
            steady: whether units that are constant where a slice's probe is fitted, as in a
                network with a part for each slice, surely weigh nothing. Else sums of squares may
                round their variance to above 0, and their weight, which nothing in its own slice
                shows, to anything. ``probe.slice_transfer`` goes without: its numbers are frozen.
        """
        out = torch.full((len(self.rows), x.shape[0]), torch.nan, dtype=torch.float64)
        for a, (own, own_fold) in enumerate(zip(self.rows, self.folds, strict=True)):
            moved = x - _constant(x[own], own_fold) if steady else x
            probes = fold_probes(moved[own], concept.columns[own], own_fold, scale)
            for rows, fold in zip(self.rows, self.folds, strict=True):
                # Far outside its own slice a linear probe of values is wrong without bound.
                score = concept.score(by_fold(probes, moved[rows], fold), rows).clamp_min(-1.0)
                out[a, rows] = score
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

    def obstacles(self, concept: Concept) -> list[str]:
        """Why no probe of the concept can be fitted in each slice; empty where one can."""
        out = []
        for label, rows, fold in zip(self.labels, self.rows, self.folds, strict=True):
            classes = None if concept.classes is None else concept.classes[rows]
            why = Concept(concept.name, concept.columns[rows], classes).obstacle(fold)
            out.append(f"{self.column} {label}: {why}" if why else "")
        return out


def _constant(x: Tensor, fold: Tensor) -> Tensor:
    """(d,) value of each unit that is constant on all rows outside some fold; 0 for the others."""
    out = torch.zeros_like(x[0])
    for f in fold.unique():
        rest = x[fold != f]
        out = torch.where((rest == rest[0]).all(0), rest[0], out)
    return out


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
