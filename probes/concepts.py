"""What is decoded: concepts, their folds, and how a prediction is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest import blocks, margins
from ringtest.measure import Setting


@dataclass(frozen=True)
class Concept:
    """Something to decode: a target, or a factor that the user supplies."""

    name: str
    columns: Tensor
    """(m, q) float64: one column a class (one-hot), or the values."""
    classes: Tensor | None
    """(m,) class codes, or None for values."""

    @classmethod
    def of(cls, name: str, values: NDArray[np.generic] | Tensor) -> Concept:
        """Classes if the values are not floats, else columns to regress."""
        array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
        if array.dtype.kind == "f":
            return cls(
                name, torch.from_numpy(array.astype(np.float64)).reshape(len(array), -1), None
            )
        codes = torch.from_numpy(np.unique(array, return_inverse=True)[1].astype(np.int64))
        count = int(codes.max()) + 1 if len(codes) else 0
        return cls(name, torch.nn.functional.one_hot(codes, count).double(), codes)

    @property
    def statistic(self) -> str:
        """What :meth:`score` averages to."""
        return "R^2" if self.classes is None else "accuracy"

    @property
    def chance(self) -> float:
        """Score of the best constant answer."""
        return 0.0 if self.classes is None else float(self.columns.mean(0).max())

    def score(self, predicted: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """(..., m) score of each row: 1 where right, or 1 - squared error / variance, unbounded.

        Args:
            predicted: (..., m, q) one score a class, or the values.
            rows: which rows of the concept these are.
        """
        if self.classes is not None:
            right = (predicted.argmax(-1) == self.classes[rows]).double()
            # argmax gives NaN a class.
            return torch.where(predicted.isnan().any(-1), torch.nan, right)
        variance = self.columns.var(dim=0, unbiased=False).sum()
        return 1.0 - (predicted - self.columns[rows]).square().sum(-1) / variance

    def obstacle(self, fold: Tensor) -> str:
        """Why it cannot be decoded from other folds; empty if it can."""
        if self.columns.shape[0] == 0 or bool((self.columns == self.columns[0]).all()):
            return f"{self.name} has one value only"
        if not bool(torch.isfinite(self.columns).all()):
            return f"{self.name} holds NaN or infinity"
        present = len(fold.unique())
        if present < margins.PROBE_FOLDS:
            return f"{present} independent rows are fewer than {margins.PROBE_FOLDS} folds"
        if self.classes is not None:
            for f in range(margins.PROBE_FOLDS):
                if len(self.classes[fold != f].unique()) < 2:
                    return f"{self.name} has one value only outside fold {f}"
        return ""


def concepts(at: Setting) -> list[Concept]:
    """The target and the user's factors, on the sampled rows."""
    found = []
    if at.task.targets is not None:
        found.append(Concept.of("target", at.task.targets[at.rows]))
    for name, values in at.data.concepts.items():
        found.append(Concept.of(name, values[at.rows]))
    return found


def folds(at: Setting) -> Tensor:
    """(m,) fold of each sampled row; clusters stay whole."""
    return torch.from_numpy(blocks.folds(len(at.rows), margins.PROBE_FOLDS, at.sample_units))
