"""Calibration: beside torchmetrics, unbiased where it says so, and honest about where it is not."""

import numpy as np
import pytest
import torch
from oracles import oracle

from ringtest import inference
from ringtest.estimate import from_deletions
from ringtest.measure import measures
from ringtest.shift.calibration import BINS, binned, debiased, ece, if_calibrated

CALIBRATION = measures["outputs.calibration"]


def draws(rng, n, off=0.0, classes=2):
    """Confidences and whether they were right, accuracy lying ``off`` below confidence."""
    sure = 1 / classes + (1 - 1 / classes) * rng.beta(2, 1, size=n)
    return sure, (rng.random(n) < sure - off).astype(float)


def outputs_of(sure, right, y, classes):
    """Log-probabilities of (n, classes) that are as sure, and right where they should be."""
    n = len(y)
    p = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, 1)
    p[np.arange(n), np.where(right > 0, y, (y + 1) % classes)] = sure
    return np.log(p)


@pytest.mark.parametrize("classes", [2, 5])
def test_ece_is_that_of_torchmetrics(rng, seen, setting, classes):
    sure, right = draws(rng, 700, 0.15, classes)
    x, y = rng.normal(size=(700, 3)).astype(np.float32), rng.integers(0, classes, size=700)
    logs = outputs_of(sure, right, y, classes)
    found = {r.statistic: r for r in CALIBRATION.read(seen(x, logs), setting(x, y))}
    reference = oracle("torchmetrics.functional.classification")
    want = reference.multiclass_calibration_error(
        torch.as_tensor(np.exp(logs)), torch.as_tensor(y), classes, n_bins=BINS, norm="l1"
    )
    assert found["ECE"].estimate.value == pytest.approx(float(want), abs=1e-6)


def test_ece_by_hand():
    sure = np.array([0.55, 0.59, 0.95, 0.97, 0.99])
    right = np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    # bin 8: |1.14 - 1|, bin 14: |2.91 - 2|, over five rows
    found = ece(sure - right, binned(sure), None)
    assert found.value == pytest.approx((0.14 + 0.91) / 5)


def test_a_calibrated_model_has_an_ece_and_it_is_told(rng):
    for n in (200, 2_000):
        runs = []
        for _ in range(300):
            sure, right = draws(rng, n)
            bins = binned(sure)
            told, free = if_calibrated(sure, bins), debiased(sure - right, bins, None)
            runs.append((ece(sure - right, bins, None).value, told, free.value))
        found, told, free = np.transpose(runs)
        assert found.mean() == pytest.approx(told.mean(), rel=0.06)
        assert abs(free.mean()) < 3.5 * free.std() / np.sqrt(300)


def test_the_debiased_square_is_right_on_average_and_its_error_is_that_of_many_draws(rng):
    # The gap is the same in every bin, so the square of each is .01.
    runs = [debiased(s - r, binned(s), None) for s, r in (draws(rng, 500, 0.1) for _ in range(300))]
    values = np.array([e.value for e in runs])
    assert values.mean() == pytest.approx(0.01, abs=3.5 * values.std() / np.sqrt(300))
    told = np.mean([inference.standard_error(e) for e in runs])
    assert told == pytest.approx(values.std(), rel=0.12)


def test_the_jackknife_is_the_one_of_leaving_rows_out(rng):
    sure, right = draws(rng, 60, 0.2)
    gap, bins = sure - right, binned(sure)
    held = np.bincount(bins, minlength=BINS)[bins] >= 4
    gap, bins = gap[held], bins[held]
    whole = debiased(gap, bins, None)
    rest = np.arange(len(gap))
    without = [debiased(gap[rest != i], bins[rest != i], None).value for i in rest]
    want = from_deletions(whole.value, np.array(without), len(gap))
    np.testing.assert_allclose(whole.influence, want.influence, atol=1e-12)


@pytest.mark.parametrize(("off", "least"), [(0.1, 0.9), (0.2, 0.92)])
def test_the_interval_of_a_gap_that_is_there_holds_it(rng, off, least):
    """With gaps of .1 and .2 in every bin of 600 rows ECE is about them."""
    hits = []
    for _ in range(400):
        sure, right = draws(rng, 600, off)
        e = ece(sure - right, binned(sure), None)
        low, high = inference.interval(e.value, inference.standard_error(e), e.dof, 0.95)
        hits.append(low <= off <= high)
    assert np.mean(hits) >= least


def test_rows_alone_in_their_bins_have_no_square(rng, seen, setting):
    x, y = rng.normal(size=(4, 3)).astype(np.float32), np.array([0, 1, 0, 1])
    sure = np.array([0.52, 0.62, 0.75, 0.9])
    logs = outputs_of(sure, np.ones(4), y, 2)
    ece_, square = CALIBRATION.read(seen(x, logs), setting(x, y))
    assert np.isfinite(ece_.estimate.value)
    assert square.reason == "no bin holds three rows"
    assert np.isnan(square.estimate.value)
