"""Ridge probes against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ringtest import blocks, margins
from ringtest.measure import measures
from ringtest.probes.concepts import Concept
from ringtest.probes.linear import cross_validated, fold_probes


class Probe(Ridge):
    """Ridge whose penalty is PROBE_RIDGE for each training row."""

    def fit(self, x, y):
        self.alpha = margins.PROBE_RIDGE * len(x)
        return super().fit(x, y)


def oracle(x, y, fold, scale=True):
    model = make_pipeline(StandardScaler(), Probe()) if scale else Probe()
    return cross_val_predict(model, x, y, cv=PredefinedSplit(fold)).reshape(len(x), -1)


def layer(rng, m, d):
    s = rng.normal(size=(m, 4))
    scale = np.exp(rng.normal(size=d))
    x = (s @ rng.normal(size=(4, d)) + 0.5 * rng.normal(size=(m, d))) * scale + 5 * rng.normal(
        size=d
    )
    y = np.stack([s[:, 0] - s[:, 1] ** 2, s[:, 2]], 1) + 0.2 * rng.normal(size=(m, 2))
    return x, y


def test_cross_validated_predictions_are_those_of_scikit_learn(rng):
    x, y = layer(rng, 90, 7)
    fold = blocks.folds(90, 5)
    got = cross_validated(torch.as_tensor(x), torch.as_tensor(y), torch.as_tensor(fold))
    np.testing.assert_allclose(got, oracle(x, y, fold), atol=1e-8)


@pytest.mark.parametrize("d", [59, 60, 61, 300])
def test_wide_layers_solve_the_same_problem(rng, d):
    """Wider than long, rows are rotated into their span, which must not whiten them.

    There features are standardised once, on all rows: their scale is no answer to learn from.
    """
    x, y = layer(rng, 60, d)
    fold = blocks.folds(60, 5)
    got = cross_validated(torch.as_tensor(x), torch.as_tensor(y), torch.as_tensor(fold))
    wide = d > 60
    want = oracle(StandardScaler().fit_transform(x) if wide else x, y, fold, scale=not wide)
    np.testing.assert_allclose(got, want, atol=1e-7)
    # One more column changes little: no jump where the route changes.
    np.testing.assert_allclose(got, oracle(x, y, fold), atol=0.5)
    assert 1 - ((got.numpy() - y) ** 2)[:, 1].mean() / y[:, 1].var() > 0.6


def test_a_fitted_probe_is_scikit_learns(rng):
    x, y = layer(rng, 80, 6)
    want = make_pipeline(StandardScaler(), Probe()).fit(x, y).predict(x[:9] + 1)
    # A fold of one row beside the 80: its probe sees the 80 alone.
    fold = torch.cat([torch.zeros(80), torch.ones(1)]).long()
    more = [torch.cat([torch.as_tensor(v), torch.as_tensor(v[:1]) + 5]) for v in (x, y)]
    probe = fold_probes(*more, fold)[1]
    np.testing.assert_allclose(probe(torch.as_tensor(x[:9] + 1)), want, atol=1e-8)


def test_constant_columns_weigh_nothing(rng):
    x, y = layer(rng, 70, 5)
    fold = torch.as_tensor(blocks.folds(70, 5))
    padded = np.hstack([x, np.full((70, 2), 0.1), np.zeros((70, 1))])
    # constant on all training rows of one fold
    sparse = np.zeros((70, 1))
    sparse[0] = 1
    a = cross_validated(torch.as_tensor(x), torch.as_tensor(y), fold)
    b = cross_validated(torch.as_tensor(padded), torch.as_tensor(y), fold)
    torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
    c = cross_validated(torch.as_tensor(np.hstack([x, sparse])), torch.as_tensor(y), fold)
    assert bool(torch.isfinite(c).all())


def test_scores_of_rows(rng):
    labels = np.array(["a", "b", "b", "c"])
    c = Concept.of("who", labels)
    right = c.score(c.columns)
    assert right.tolist() == [1, 1, 1, 1]
    assert c.statistic == "accuracy"
    assert c.chance == 0.5
    values = Concept.of("size", rng.normal(size=50))
    assert float(values.score(values.columns.mean(0).expand(50, 1)).mean()) == pytest.approx(0)
    assert values.statistic == "R^2"
    assert values.chance == 0


def test_a_prediction_that_is_nan_is_never_right():
    """argmax gives NaN a class: the first one would score as often as it occurs."""
    c = Concept.of("who", np.array([0, 0, 1]))
    bad = torch.full((3, 2), math.nan, dtype=torch.float64)
    assert bool(c.score(bad).isnan().all())


def test_decodability_of_what_is_there_and_what_is_not(rng, seen, setting):
    x = rng.normal(size=(300, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    at = setting(x, y, concepts={"size": x[:, 1].astype(float), "noise": rng.normal(size=300)})
    found = measures["probe.decodability"].read(seen({"mid": x[:, 2:], "last": x}), at)
    got = {(r.layer, r.concept): r.estimate.value for r in found}
    assert got["last", "target"] > 0.9
    assert abs(got["mid", "target"] - 0.5) < 0.12
    assert got["last", "size"] > 0.95
    assert got["last", "noise"] < 0.05
    assert {r.layer: r.depth for r in found} == {"mid": 0.0, "last": 1.0}


def test_selectivity_takes_off_what_memory_alone_gives(rng, seen, setting):
    """Inputs that come in a few types: a layer that only names the type scores on both tasks."""
    kind = np.arange(400) % 10
    x = (np.eye(10)[kind] * 9 + 0.01 * rng.normal(size=(400, 10))).astype(np.float32)
    y = (kind < 5).astype(int)
    entry = measures["probe.selectivity"]
    memory = entry.read(seen(x), setting(x, y))[0].estimate.value
    z = rng.normal(size=(400, 4)).astype(np.float32)
    y = (z[:, 0] > 0).astype(int)
    meaning = entry.read(seen(z[:, :1]), setting(z, y))[0].estimate.value
    assert abs(memory) < 0.3
    assert meaning > 0.25
