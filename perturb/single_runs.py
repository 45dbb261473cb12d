"""What an attack costs on average and at its worst: every run of it by itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ringtest import rerun
from ringtest.condition import Condition
from ringtest.data import AuditData
from ringtest.estimate import row_mean
from ringtest.evidence import Evidence
from ringtest.measure import ModelMeasure, Reading, Setting, measure
from ringtest.perturb.attack import MisleadingGradient
from ringtest.perturb.bench import ORDERS, Bench
from ringtest.tasks import AnyTask


@measure
class SingleRuns(ModelMeasure):
    """Accuracy under single runs of an attack: the average run, and the worst for each row.

    A run is one loss from one random start; each loss is climbed from three. The average is what
    one run leaves right, mean over runs and rows; the worst counts a row only if no run breaks it.
    Far apart, the attack depends on luck, and more restarts would find more. Both in [0, 1], higher
    is better, on at most 256 rows; differences to the mean member are paired row by row.

    Read under the gradient attacks on a class (``attack.fgsm``, ``attack.pgd``, ``attack.apgd``
    and their other norms), with that attack's eps and steps. An attack without a random start has
    one run a loss.

    Source: expectation beside worst case as in Rice et al. 2021 (NeurIPS), arXiv:2112.05135.
    """

    id = "attack.single_runs"
    about = "accuracy under single runs of an attack: on average, and at the worst of each row"
    range = (0.0, 1.0)
    unit = "share"
    needs = frozenset({"gradients"})
    on = ("context",)
    default = False
    source = "Rice et al. 2021, arXiv:2112.05135"
    rows: ClassVar[int] = 256
    """Sampled rows that are looked at, at most."""
    draws: ClassVar[int] = 3
    """Starts of each loss."""

    def applies(self, condition: Condition, data: AuditData, task: AnyTask) -> bool:
        """Attacks that climb losses on a class."""
        return isinstance(condition, MisleadingGradient) and condition.ball in ORDERS

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """Average and worst."""
        model, (some, _) = rerun.runnable(evidence), rerun.few(at, self.rows)
        assert isinstance(at.condition, MisleadingGradient)
        runs = np.stack(Bench(model, at.condition, some).runs(self.draws))
        units = some.sample_units
        return [
            Reading(row_mean(runs.mean(0), units), "average run"),
            Reading(row_mean(runs.min(0).astype(np.float64), units), "worst run of each row"),
        ]
