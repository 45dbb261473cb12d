"""How wrong are the outputs themselves, not only the answers that are read off them?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ringtest import tasks
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Array, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.shift import common
from ringtest.tasks import AnyTask


class _Loss(ModelMeasure):
    """Base: the mean of a loss of every row, or of the sampled rows; a curve over severity."""

    direction = "lower"
    needs = frozenset({"outcomes", "sample"})
    on = ("clean", "context")
    default = False
    curve = True

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Targets must hold."""
        return common.holds_targets(condition, task)


@measure
class Loss(_Loss):
    """Mean loss; lower is better, from 0.

    Classification: negative log-likelihood of the target class in nats, on the sample of rows (at
    most 2,048), since outputs are kept of those alone. Probabilities of 0 count as the smallest
    number that their type holds: 87 nats in float32. Regression: squared error in variances of the
    targets, mean over columns, which is 1 - R^2: on every row, or on the sample where a metric of
    the user's stands in the place of R^2. ``n`` says how many rows there were.

    Source: Good 1952 (the logarithmic score).
    """

    id = "outputs.loss"
    about = "negative log-likelihood, or squared error in variances of the targets"
    range = (0.0, np.inf)
    source = "Good 1952"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        task = at.task
        assert task.targets is not None
        if isinstance(task, tasks.Classification):
            mean = row_mean(-at_target(evidence, at), at.sample_units)
            return [Reading(mean, "log loss", unit="nats")]
        if task.metric is None:
            assert evidence.score is not None
            every = row_mean(1.0 - evidence.score, at.units)
            return [Reading(every, "squared error", unit="target variances")]
        error = task.divergence(evidence.outputs.double(), task.targets[at.rows]).numpy()
        mean = row_mean(error, at.sample_units)
        return [Reading(mean, "squared error", unit="target variances")]


@measure
class Brier(_Loss):
    """Mean Brier score of the sampled rows: squared distance of the probabilities from the target.

    Summed over all classes, as Brier had it: in [0, 2], 0 for a model that is sure and right, 2
    for one that is sure and wrong; lower is better. (Halve it to compare with a score of two
    classes that counts one of them.) On the sample of rows, at most 2,048.

    Source: Brier 1950.
    """

    id = "outputs.brier"
    about = "squared distance of the probabilities from the target class, summed over classes"
    range = (0.0, 2.0)
    unit = "squared probability"
    source = "Brier 1950"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """There must be probabilities, too."""
        return task.name == "classification" and super().applies(condition, data, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading."""
        squares = evidence.outputs.double().exp().square().sum(1).numpy()
        score = squares - 2.0 * np.exp(at_target(evidence, at)) + 1.0
        # Rounding of float32 log-probabilities leaves -1e-8 of a perfect row.
        return [Reading(row_mean(score.clip(0.0, 2.0), at.sample_units), "Brier score")]


def sampled_targets(at: Setting) -> NDArray[np.int64]:
    """(m,) classes of the sampled rows."""
    assert at.task.targets is not None
    found: NDArray[np.int64] = at.task.targets.numpy()[at.rows]
    return found


def at_target(evidence: Evidence, at: Setting) -> Array:
    """(m,) log-probability of the target class of each sampled row, at most 0."""
    logs = evidence.outputs.double().numpy()
    return logs[np.arange(len(logs)), sampled_targets(at)].clip(max=0.0)
