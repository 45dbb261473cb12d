"""Is an unlabelled set elsewhere at all?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ringtest import blocks, margins
from ringtest.estimate import Estimate
from ringtest.evidence import Evidence
from ringtest.measure import (
    PERMUTATION,
    SCALE,
    ModelMeasure,
    NotMeasurable,
    Reading,
    Setting,
    measure,
)
from ringtest.rows.checks import row_codes


@measure
class DomainAUC(ModelMeasure):
    """AUC with which a probe on the last hidden layer tells a set of inputs from the benchmark.

    In [0, 1], .5: no shift. Ridge classifier, standardised, five folds. An unlabelled set counts as
    elsewhere only where the members' mean AUC is at least .60: a benchmark held against itself
    would make any student look sound.

    Source: Lopez-Paz & Oquab 2017 (classifier two-sample test).
    """

    id = "shift.domain_auc"
    about = "how well a probe on the last hidden layer tells an unlabelled set from the benchmark"
    range = (0.0, 1.0)
    invariant_to = frozenset({PERMUTATION, SCALE})
    null_value = 0.5
    unit = "AUC"
    needs = frozenset({"sample", "clean_pair"})
    on = ("unlabelled",)
    source = "Lopez-Paz & Oquab 2017"

    def read(self, evidence: Evidence, at: Setting) -> list[Reading]:
        """One reading, without an interval."""
        assert evidence.clean is not None
        # Copies of an input lie in training and held-out folds alike: a probe knows them again.
        here = evidence.clean.last[_distinct(at.data.inputs, len(evidence.clean.last))]
        there = evidence.last[_distinct(at.condition.inputs(at.data)[at.rows], len(evidence.last))]
        if min(len(here), len(there)) < margins.PROBE_FOLDS:
            raise NotMeasurable(f"under {margins.PROBE_FOLDS} different rows")
        x = torch.cat([here, there]).numpy()
        y = np.repeat([0, 1], [len(here), len(there)])
        seed = blocks.derive(at.seed, "domain") % 2**31
        folds = StratifiedKFold(margins.PROBE_FOLDS, shuffle=True, random_state=seed)
        probe = make_pipeline(
            StandardScaler(), RidgeClassifier(margins.PROBE_RIDGE * len(x), class_weight="balanced")
        )
        scores = cross_val_predict(probe, x, y, cv=folds, method="decision_function")
        auc = float(roc_auc_score(y, scores))
        return [Reading(Estimate(auc, np.zeros(0), len(x)), "AUC", evidence.names[-1])]


def _distinct(inputs: torch.Tensor, sampled: int) -> NDArray[np.int64]:
    """Sampled rows, less those whose input repeats an earlier one."""
    rows = inputs if len(inputs) == sampled else inputs[blocks.sample_rows(len(inputs))]
    return np.sort(np.unique(row_codes(rows), return_index=True)[1])
