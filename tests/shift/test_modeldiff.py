"""Slices found beside those of another package, on the same predictions of a binary task."""

import numpy as np
import pytest

from ringtest import attributes, rules
from ringtest.measure import measures
from tests.support.oracles import oracle
from tests.support.sliced import world

ALIKE = 0.5
"""Rows in common over rows together from which a region counts as found."""


def regions_of_modeldiff(modeldiff, evidence, columns):
    """(n,) masks of the regressions that it validates, at a false discovery rate of .1.

    A target of 1 throughout makes a prediction of a model its score on a row.
    """
    import pandas as pd

    frame = pd.DataFrame({k: v.astype(str) if v.dtype.kind in "iU" else v for k, v in columns})
    config = modeldiff.ModelDiffConfig(
        n_bootstrap=20, n_permutations=500, significance_level=0.1, random_state=0
    )
    found = modeldiff.compare_predictions(
        (evidence.beside.typical > 0.5).astype(float),
        evidence.score,
        frame,
        np.ones(len(frame)),
        task="binary_classification",
        metric="accuracy",
        config=config,
    )
    return [
        np.logical_and.reduce([c.apply(frame) for c in region.conditions])
        for region in found.regressions(significant_only=True)
    ]


def regions_of_ours(evidence, at):
    columns = attributes.columns(at.data)
    found = [r for r in measures["slices.discovered"].read(evidence, at) if r.slice]
    return [rules.mask(r.params["where"], columns) for r in found]


@pytest.mark.parametrize("planted", ["", "one", "two"])
def test_the_same_regions_and_no_more_false_ones(planted):
    modeldiff = oracle("modeldiff")
    hits, false = np.zeros(2, int), np.zeros(2, int)
    for seed in range(2):
        evidence, at, harm = world(2_000, seed, planted)
        # One teacher, whose answer is right or wrong on a row.
        evidence.beside.typical = (evidence.beside.typical > 0.5).astype(float)
        columns = attributes.columns(at.data)
        both = (
            regions_of_ours(evidence, at),
            regions_of_modeldiff(modeldiff, evidence, columns.items()),
        )
        for i, regions in enumerate(both):
            alike = [(m & (harm > 0)).sum() / (m | (harm > 0)).sum() for m in regions]
            hits[i] += max(alike, default=0) >= ALIKE
            false[i] += sum(harm[m].mean() <= 0 for m in regions)
    assert hits[0] == (2 if planted else 0)
    assert hits[0] >= hits[1]
    assert false[0] <= false[1]
