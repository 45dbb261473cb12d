"""Does a model's confidence say how often it is right?"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import Array, Estimate, from_deletions, row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, NotMeasurable, Reading, Setting, measure
from ringtest.shift import common
from ringtest.shift.proper_scores import sampled_targets
from ringtest.tasks import AnyTask

BINS: Final = 15
"""Of equal width, over [0, 1]."""


@measure
class Calibration(ModelMeasure):
    """Expected calibration error of the top label; lower is better, in [0, 1].

    Rows are put in 15 bins of equal width by the probability of the predicted class; ECE is the
    mean over rows of how far their bin's accuracy lies from its mean confidence. On the sample of
    rows, at most 2,048.

    *It is biased upwards*: a bin's accuracy never is its confidence exactly, so even a perfectly
    calibrated model has an ECE. ``params["if_calibrated"]`` is what such a model of the same
    confidences would show on as many rows; near it an ECE says nothing. The second reading,
    ``squared calibration error, debiased``, is the mean over rows of the bin's squared gap without
    that bias; its expectation is 0 for a calibrated model, and by chance it lies below as often as
    above. Rows that are alone in their bin cannot be debiased and are left out of it. Differences
    of two models of like confidence are hardly biased.

    The interval of ECE holds bins and the sign of each gap fixed; where the gaps are no larger
    than ``if_calibrated`` it is about the biased number, not about the truth. The other comes with
    a delete-one jackknife. Measured coverage stands in docs/shift-measures.md.

    Sources: Naeini et al. 2015 (AAAI); Guo et al. 2017 (arXiv:1706.04599); the debiased square:
    Kumar et al. 2019 (arXiv:1909.10155), with the unbiased variance of the whole gap.
    """

    id = "outputs.calibration"
    about = "expected calibration error of the top label, 15 bins; and its square without bias"
    direction = "lower"
    # The debiased square may lie below 0, by at most a bin's variance over its rows.
    range = (-1.0, 1.0)
    unit = "probability"
    needs = frozenset({"outcomes", "sample"})
    curve = True
    controlled = True
    source = "Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599; Kumar et al. 2019"

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """There must be probabilities, and targets that hold."""
        return task.name == "classification" and common.holds_targets(condition, task)

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Two readings: ECE, and the debiased square."""
        logs = evidence.outputs.double()
        sure = logs.max(1).values.exp().clamp_max(1.0).numpy()
        right = (logs.argmax(1).numpy() == sampled_targets(at)).astype(np.float64)
        bins = binned(sure)
        params = {"if_calibrated": if_calibrated(sure, bins)}
        out = [Reading(ece(sure - right, bins, at.sample_units), "ECE", params=params)]
        square = "squared calibration error, debiased"
        try:
            free = debiased(sure - right, bins, at.sample_units)
        except NotMeasurable as why:
            return [*out, Reading(_NOTHING, square, reason=str(why))]
        return [*out, Reading(free, square, unit="squared probability")]


_NOTHING: Final = Estimate(math.nan, np.zeros(0), 0)


def binned(sure: Array) -> NDArray[np.int64]:
    """(m,) bin of each confidence in [0, 1]; like torchmetrics', a bin holds its upper end not."""
    return np.minimum((sure * BINS).astype(np.int64), BINS - 1)


def ece(gap: Array, bins: NDArray[np.int64], units: NDArray[np.int64] | None) -> Estimate:
    """Expected calibration error from (m,) confidence - right and bins.

    It is the mean of each row's gap under the sign of its bin's, and has the influences of one.
    """
    sign = np.sign(np.bincount(bins, gap, BINS))
    return row_mean(sign[bins] * gap, units)


def if_calibrated(sure: Array, bins: NDArray[np.int64]) -> float:
    """Expected ECE of a calibrated model: each bin's gap is normal, of the variance of its rows."""
    variance = np.bincount(bins, sure * (1.0 - sure), BINS)
    return float(np.sqrt(2.0 / np.pi * variance).sum() / len(sure))


def debiased(gap: Array, bins: NDArray[np.int64], units: NDArray[np.int64] | None) -> Estimate:
    """Mean over rows of the squared mean gap of their bin, unbiased, with its exact jackknife.

    The square of a bin is the mean product of the gaps of two different rows of it. Raises
    NotMeasurable unless some bin holds three rows.
    """
    count = np.bincount(bins, minlength=BINS)
    held = count[bins] >= 3
    if not held.any():
        raise NotMeasurable("no bin holds three rows")
    # Rows in bins of one or two are out: without one of two there is no pair left.
    d, b = gap[held], bins[held]
    n = len(d)
    count = np.bincount(b, minlength=BINS).astype(np.float64)
    total, square = np.bincount(b, d, BINS), np.bincount(b, d * d, BINS)
    with np.errstate(invalid="ignore"):
        pairs = np.where(count > 0, (total**2 - square) / (count * (count - 1.0)), 0.0)
    value = float(count @ pairs) / n
    of, less = total[b] - d, square[b] - d * d
    without = (of**2 - less) / ((count[b] - 1.0) * (count[b] - 2.0))
    deleted = (n * value - count[b] * pairs[b] + (count[b] - 1.0) * without) / (n - 1.0)
    # A row that is left out has no influence, and keeps its place beside other models' rows.
    everyone = np.full(len(gap), deleted.mean())
    everyone[held] = deleted
    return from_deletions(value, everyone, n, units)
