"""What a task means for outputs: their common form, their mean, their score and their distance."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ringtest.data import AuditData
from ringtest.errors import ConfigError, DataError, SubjectError, close_to

Metric = Callable[[Tensor, Tensor], Any]
"""metric(outputs (b, k), targets (b, ...)) -> (b,) one score a row, higher is better."""


class Task:
    """Base of the three tasks; ``targets`` is what scores compare with, or None."""

    name: ClassVar[str]
    score_name: str

    def __init__(self, data: AuditData, metric: Metric | None) -> None:
        """Check the targets; raises DataError."""
        self.metric = metric
        self.targets: Tensor | None = None
        self.columns: int | None = None
        """Required number of output columns, or None."""

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The task of some rows; its units stay those of all, so that scores compare."""
        out = copy.copy(self)
        if self.targets is not None:
            out.targets = self.targets[torch.from_numpy(rows)]
        return out

    def canonical(self, raw: Tensor, probabilities: bool) -> Tensor:
        """The model's raw outputs as (b, k) in the task's own form, with gradient."""
        raise NotImplementedError

    def mean(self, outputs: Sequence[Tensor]) -> Tensor:
        """Combined output of an ensemble, from canonical outputs."""
        return torch.stack(list(outputs)).mean(0)

    def means_without(self, outputs: Sequence[Tensor]) -> Tensor:
        """(M, b, k) for each of M members the combined output of the others."""
        few = range(len(outputs))
        return torch.stack([self.mean([*outputs[:i], *outputs[i + 1 :]]) for i in few])

    def visible(self, outputs: Tensor) -> Tensor:
        """What a user's metric is given: probabilities or values."""
        return outputs

    def own_score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(b,) default score, higher is better."""
        raise NotImplementedError

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(b,) score of each row, higher is better; the user's metric if there is one."""
        if self.metric is None:
            return self.own_score(outputs, targets)
        try:
            value = torch.as_tensor(self.metric(self.visible(outputs), targets))
        except Exception as error:
            raise ConfigError(
                "metric", f"raised {type(error).__name__}: {error}", "mend it"
            ) from error
        if value.is_floating_point() and bool(value.isnan().any()):
            raise ConfigError("metric", "gave NaN", "return a number for every row")
        if value.shape != (outputs.shape[0],):
            raise ConfigError(
                "metric",
                f"gave shape {tuple(value.shape)} for {outputs.shape[0]} rows",
                "return one score a row, higher is better",
            )
        return value.double()

    def predictions(self, outputs: Tensor) -> NDArray[np.int64] | None:
        """(b,) predicted classes, or None where there are none."""
        return None

    def points(self, outputs: Tensor) -> Tensor:
        """(b, k) points whose Euclidean distance says how far two outputs differ."""
        return outputs

    def divergence(self, outputs: Tensor, reference: Tensor) -> Tensor:
        """(b,) how far canonical outputs (b, k) lie from those of a reference, with gradient.

        At least 0, and 0 where both are equal, but for rounding.
        """
        raise NotImplementedError

    def zeros(self, outputs: Tensor) -> Tensor:
        """(b, k) where canonical outputs, of a model that gives probabilities, say exactly 0."""
        return torch.zeros_like(outputs, dtype=torch.bool)

    def combined(self, outputs: Sequence[Tensor]) -> Tensor:
        """(m, k) an ensemble's outputs as points; in standard deviations unless probabilities."""
        points = self.points(self.mean([o.double() for o in outputs]))
        return points / _scale(points)


def are_probabilities(raw: Tensor) -> bool:
    """Whether a classifier's raw outputs (b, k) are probabilities: none below 0, sums of 1."""
    rows = raw.double()
    return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())


def _scale(points: Tensor) -> Tensor:
    """Standard deviation over all columns together; 1 where nothing varies."""
    spread = points.var(dim=0, unbiased=False).sum().sqrt()
    return torch.where(spread > 0, spread, torch.ones_like(spread))


_LEAST: Final = 1e-290
"""Sums of shares below have lost digits."""


class Classification(Task):
    """One class per row. Canonical outputs are log-probabilities (b, C)."""

    name = "classification"

    def __init__(self, data: AuditData, metric: Metric | None) -> None:
        """Targets are (n,) integers from 0; classes that never occur are noted."""
        super().__init__(data, metric)
        self.score_name = "accuracy" if metric is None else "score"
        y = data.targets
        if y is None:
            raise DataError("targets", "are missing", "classification needs (n,) int classes")
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise DataError("targets", f"have shape {y.shape}", f"give ({data.n},) int classes")
        if y.dtype.kind == "f" and np.array_equal(y, np.round(y)):
            y = y.astype(np.int64)
        if y.dtype.kind not in "iub":
            raise DataError("targets", f"are {y.dtype}", "give int classes, or task='regression'")
        y = y.astype(np.int64)
        if y.min() < 0:
            raise DataError("targets", f"hold {y.min()}", "classes count from 0")
        self.targets = torch.from_numpy(y)
        self.least = int(y.max()) + 1
        # Attacks and shifts read the targets off the data: there is one form of them.
        data.targets = y
        seen = np.unique(y)
        absent = np.setdiff1d(np.arange(min(self.least, len(seen) + 10)), seen)[:10].tolist()
        notice = f"targets: classes {absent} never occur"
        # The same data may be audited more than once.
        if absent and notice not in data.warnings:
            data.warnings.append(notice)

    def check_columns(self, name: str, columns: int) -> None:
        """Raise if a model has too few output columns, or another number than the others."""
        if columns < max(self.least, 2):
            raise SubjectError(
                name,
                f"gives {columns} output columns, targets reach class {self.least - 1}",
                f"give a model with at least {max(self.least, 2)} columns",
            )
        if self.columns is not None and columns != self.columns:
            raise SubjectError(
                name, f"gives {columns} output columns, others give {self.columns}", "give the same"
            )
        self.columns = columns

    def canonical(self, raw: Tensor, probabilities: bool) -> Tensor:
        """Log-probabilities; probabilities are recognised by their row sums beforehand."""
        if probabilities:
            return raw.clamp_min(torch.finfo(raw.dtype).tiny).log()
        return raw.log_softmax(dim=-1)

    def zeros(self, outputs: Tensor) -> Tensor:
        """Where they are as small as :meth:`canonical` makes a 0, but for rounding."""
        return outputs <= float(np.log(torch.finfo(torch.float32).tiny)) + 1e-3

    def mean(self, outputs: Sequence[Tensor]) -> Tensor:
        """Log of the mean probability."""
        stacked = torch.stack(list(outputs))
        return stacked.logsumexp(0) - float(np.log(len(outputs)))

    def means_without(self, outputs: Sequence[Tensor]) -> Tensor:
        """The same for many members: an exponential and a logarithm each, instead of M - 1.

        What is left of a sum is added up from both ends: to take a member out of the sum of all
        would leave rounding alone where it has nearly all of the probability.
        """
        stacked = torch.stack(list(outputs)).double()
        top = stacked.amax(0)
        shares = (stacked - top).exp_()
        sums = torch.zeros_like(shares)
        sums[1:] += shares[:-1].cumsum(0)
        sums[:-1] += shares[1:].flip(0).cumsum(0).flip(0)
        # Beside a member that is surer by far, what the others say underflows.
        lost = sums < _LEAST
        found = sums.log_().add_(top - float(np.log(len(outputs) - 1)))
        for i in lost.any(dim=2).any(dim=1).nonzero().flatten().tolist():
            at = lost[i]
            rest = torch.cat([stacked[:i, at], stacked[i + 1 :, at]])
            found[i, at] = self.mean(list(rest))
        return found

    def visible(self, outputs: Tensor) -> Tensor:
        """Probabilities."""
        return outputs.exp()

    def own_score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the class is right."""
        return (outputs.argmax(-1) == targets).double()

    def predictions(self, outputs: Tensor) -> NDArray[np.int64]:
        """(b,) most probable class."""
        return outputs.argmax(-1).cpu().numpy().astype(np.int64)

    def divergence(self, outputs: Tensor, reference: Tensor) -> Tensor:
        """KL(reference || outputs) in nats."""
        # Where the reference is sure that a class is wrong, the limit of p log p is 0.
        shares = reference.exp()
        terms = torch.where(shares > 0, shares * (reference - outputs), torch.zeros_like(shares))
        return terms.sum(-1)

    def points(self, outputs: Tensor) -> Tensor:
        """Probabilities."""
        return outputs.exp()

    def combined(self, outputs: Sequence[Tensor]) -> Tensor:
        """Mean probabilities."""
        return self.points(self.mean([o.double() for o in outputs]))


class Regression(Task):
    """Real values. Canonical outputs are (b, k)."""

    name = "regression"

    def __init__(self, data: AuditData, metric: Metric | None) -> None:
        """Targets are (n,) or (n, k) floats that are not all equal."""
        super().__init__(data, metric)
        self.score_name = "R^2" if metric is None else "score"
        y = data.targets
        if y is None:
            raise DataError("targets", "are missing", "regression needs (n,) or (n, k) floats")
        if y.dtype.kind not in "fiu":
            raise DataError("targets", f"are {y.dtype}", "give float values")
        values = torch.from_numpy(np.array(y, dtype=np.float64)).reshape(data.n, -1)
        self.targets = values
        self.columns = int(values.shape[1])
        sd = values.std(dim=0, unbiased=False)
        self.varying = int((sd > 0).sum())
        if not self.varying:
            raise DataError("targets", "are all equal", "R^2 needs targets that vary")
        # A constant column counts in the units of the others.
        typical = sd[sd > 0].square().mean().sqrt()
        self.scale = torch.where(sd > 0, sd, typical)
        """(k,) unit of each column, its targets' SD: a large column would hide the rest."""

    def check_columns(self, name: str, columns: int) -> None:
        """Raise if a model has another number of columns than the targets."""
        if columns != self.columns:
            raise SubjectError(
                name,
                f"gives {columns} output columns, targets have {self.columns}",
                "give a model with the targets' columns",
            )

    def canonical(self, raw: Tensor, probabilities: bool) -> Tensor:
        """Values as columns."""
        return raw.reshape(raw.shape[0], -1)

    def own_score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 - squared error / variance of the targets, mean over columns: its mean is R^2."""
        error = ((outputs.double() - targets) / self.scale).square().sum(-1)
        return 1.0 - error / self.varying

    def divergence(self, outputs: Tensor, reference: Tensor) -> Tensor:
        """Squared distance in variances of the targets, mean over columns, as in 1 - R^2."""
        return self.points(outputs - reference).square().sum(-1) / self.varying

    def points(self, outputs: Tensor) -> Tensor:
        """Values in standard deviations of their target columns."""
        return outputs.double() / self.scale.to(outputs.device)


class Embedding(Task):
    """No targets: matched means that the embedding stays faithful to the teacher's.

    The fidelity of two embeddings on a row is the correlation, over fixed anchor rows, of the
    row's cosine similarities to the anchors: what a nearest-neighbour search over the embedding
    would see. It is 1 for equal geometry, whatever the rotation, scale or width.
    """

    name = "embedding"

    def __init__(self, data: AuditData, metric: Metric | None) -> None:
        """No targets are needed; a metric needs them."""
        super().__init__(data, metric)
        self.score_name = "fidelity"
        if metric is not None:
            raise ConfigError("metric", "cannot be used with task='embedding'", "leave it out")

    def check_columns(self, name: str, columns: int) -> None:
        """Any width of at least 2 will do."""
        if columns < 2:
            raise SubjectError(name, f"gives embeddings of width {columns}", "give at least 2")

    def canonical(self, raw: Tensor, probabilities: bool) -> Tensor:
        """(b, d) embedding; tokens are averaged."""
        return raw if raw.ndim == 2 else raw.reshape(raw.shape[0], -1, raw.shape[-1]).mean(1)

    def divergence(self, outputs: Tensor, reference: Tensor) -> Tensor:
        """1 - cosine: means something only where both embeddings share their axes."""
        return 1.0 - (self.points(outputs) * self.points(reference)).sum(-1)

    def points(self, outputs: Tensor) -> Tensor:
        """Unit vectors."""
        return torch.nn.functional.normalize(outputs, dim=-1)

    def combined(self, outputs: Sequence[Tensor]) -> Tensor:
        """Members' unit vectors side by side: they share no axes that could be averaged."""
        points = torch.cat([self.points(o.double()) for o in outputs], dim=1)
        return points / _scale(points)


AnyTask = Classification | Regression | Embedding
TASKS: Final[dict[str, type[AnyTask]]] = {
    t.name: t for t in (Classification, Regression, Embedding)
}


def make(name: Any, data: AuditData, metric: Metric | None = None) -> AnyTask:
    """The task of a name. Raises ConfigError for an unknown one."""
    if not isinstance(name, str) or name not in TASKS:
        later = "comes later" if name == "causal-lm" else "is not known"
        raise ConfigError("task", f"{name!r} {later}", close_to(str(name), TASKS))
    if metric is not None and not callable(metric):
        raise ConfigError(
            "metric", f"is a {type(metric).__name__}", "give a callable or leave it out"
        )
    return TASKS[name](data, metric)
