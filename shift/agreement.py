"""Do student and members answer alike?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, tasks
from ringtest.estimate import Array, Estimate, row_mean, to_units
from ringtest.evidence import Evidence
from ringtest.measure import NotMeasurable, PairMeasure, Setting, measure

_ANCHORS = 256


@dataclass(frozen=True)
class _Classes:
    """Predicted classes of all rows."""

    predictions: NDArray[np.int64]
    units: NDArray[np.int64] | None

    def agree(self, other: _Classes) -> Estimate:
        """Share of equal predictions."""
        return row_mean((self.predictions == other.predictions).astype(np.float64), self.units)

    def chance(self, other: _Classes) -> float:
        """Agreement of independent predictions with the same class frequencies."""
        width = int(max(self.predictions.max(), other.predictions.max())) + 1
        a, b = (np.bincount(p.predictions, minlength=width) for p in (self, other))
        return float(a @ b / (a.sum() * b.sum()))


@dataclass(frozen=True)
class _Values:
    """(m, k) values of the sampled rows, in SDs of the target columns."""

    values: Array
    units: NDArray[np.int64] | None

    def agree(self, other: _Values) -> Estimate:
        """1 - |a - b|^2 / (.5 (var a + var b)), summed over columns: a ratio of row means."""
        a, b = self.values, other.values
        top = ((a - b) ** 2).sum(1)
        spread = 0.5 * (((a - a.mean(0)) ** 2).sum(1) + ((b - b.mean(0)) ** 2).sum(1))
        if not (a != a[0]).any() and not (b != b[0]).any():
            raise NotMeasurable("outputs do not vary")
        loss = float(top.mean() / spread.mean())
        influence = -(top - loss * spread) / (spread.mean() * len(top))
        return Estimate(1.0 - loss, to_units(influence, self.units), len(top), "bootstrap")

    def chance(self, other: _Values) -> float:
        """Independent outputs of equal mean: the squared distance is the sum of the variances."""
        return -1.0


@dataclass(frozen=True)
class _Profiles:
    """(m, anchors) cosine similarities to fixed clean rows, centred and of unit norm."""

    profiles: Tensor
    units: NDArray[np.int64] | None

    def agree(self, other: _Profiles) -> Estimate:
        """Mean correlation of the similarity profiles."""
        return row_mean((self.profiles * other.profiles).sum(1).numpy(), self.units)

    def chance(self, other: _Profiles) -> float:
        """Uncorrelated profiles."""
        return 0.0


@measure
class Agreement(PairMeasure):
    """How far two models give the same outputs on the same rows; higher is better.

    Classification: share of equal predictions, [0, 1]. Regression: 1 - |a - b|^2 over the mean of
    the two variances, (-inf, 1]. Embedding: mean over rows of the correlation of their cosine
    similarities to 256 fixed rows, [-1, 1], blind to rotation, scale and width.

    Fidelity of the student to the members is held against that of the members to each other.
    Source: Stanton et al. 2021; relative representations: Moschella et al. 2022.
    """

    id = "outputs.agreement"
    about = "agreement of the outputs of student and members"
    range = (-np.inf, 1.0)
    null_value = 0.0
    group = "function"
    statistic = "agreement"
    unit = "share"
    needs = frozenset({"outcomes", "sample"})
    on = ("clean", "off_support", "certified", "unlabelled")
    source = "Stanton et al. 2021"

    def prepare(self, evidence: Evidence, at: Setting) -> Any:
        """Predictions, values or similarity profiles of one model."""
        if isinstance(at.task, tasks.Classification):
            assert evidence.predictions is not None
            return _Classes(evidence.predictions, at.units)
        if isinstance(at.task, tasks.Regression):
            return _Values(at.task.points(evidence.outputs).numpy(), at.sample_units)
        points = at.task.points(evidence.outputs.double())
        clean = (
            points if evidence.clean is None else at.task.points(evidence.clean.outputs.double())
        )
        # By hash: rows may be sorted by class.
        chosen = np.argsort(blocks.row_hash(len(clean), seed=2), kind="stable")[:_ANCHORS]
        profiles = points @ clean[chosen].T
        # An anchor is like itself in any embedding, which alone makes strangers of width 1,024
        # agree by .8: its own place is filled with the mean of the others, and so says nothing.
        rows, columns = torch.from_numpy(chosen.copy()), torch.arange(len(chosen))
        if at.condition.keeps_rows:
            own = profiles[rows, columns]
            others = (profiles.sum(1)[rows] - own) / (profiles.shape[1] - 1)
            profiles[rows, columns] = others
        profiles = profiles - profiles.mean(1, keepdim=True)
        return _Profiles(torch.nn.functional.normalize(profiles, dim=1), at.sample_units)

    def compare(self, a: Any, b: Any) -> Estimate:
        """Agreement of two models."""
        found: Estimate = a.agree(b)
        return found

    def chance(self, prepared: Sequence[Any]) -> float:
        """Mean agreement of unrelated models with these marginals."""
        pairs = [(a, b) for i, a in enumerate(prepared) for b in prepared[i + 1 :]]
        return float(np.mean([a.chance(b) for a, b in pairs])) if pairs else 0.0
