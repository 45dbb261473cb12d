"""V-information against scikit-learn's losses, and where it is known analytically."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from ringtest import blocks, margins
from ringtest.measure import measures
from ringtest.probes import predictive
from ringtest.probes.predictive import fit_values

ENTRY = measures["probe.v_information"]


def read(layers, y, seen, setting, **more):
    layers = layers if isinstance(layers, dict) else {"last": layers}
    layers = {k: np.asarray(v, dtype=np.float32) for k, v in layers.items()}
    at = setting(np.zeros((len(y), 2), dtype=np.float32), y, **more)
    return {(r.layer, r.concept): r for r in ENTRY.read(seen(layers), at)}


def error(estimate):
    return math.sqrt(float((estimate.influence**2).sum()))


# -- against scikit-learn --------------------------------------------------------------------------


@pytest.mark.parametrize("clusters", [None, 30])
@pytest.mark.parametrize("classes", [2, 3])
def test_classes_against_log_loss(rng, seen, setting, classes, clusters):
    n = 180
    units = None if clusters is None else np.arange(n) // (n // clusters)
    y = rng.integers(0, classes, size=n)
    layers = {
        "mid": rng.normal(size=(n, 4)) * [1, 10, 0.1, 3] + y[:, None],
        "wide": rng.normal(size=(n, 200)) + 0.2 * y[:, None],
    }
    fold = blocks.folds(n, margins.PROBE_FOLDS, units)
    got = read(layers, y, seen, setting, cluster=units)
    for name, x in layers.items():
        x, want = np.float64(np.float32(x)), 0.0
        for f in range(5):
            train, left = fold != f, fold == f
            model = LogisticRegression(
                C=1 / (margins.PROBE_RIDGE * train.sum()), tol=1e-10, max_iter=20_000
            )
            # Standardised once, on all rows: how a unit is scaled is no answer to learn from.
            z = StandardScaler().fit_transform(x)
            model = model.fit(z[train], y[train])
            prior = np.tile(np.bincount(y[train]) / train.sum(), (left.sum(), 1))
            labels = np.arange(classes)
            gain = log_loss(y[left], prior, labels=labels) - log_loss(
                y[left], model.predict_proba(z[left]), labels=labels
            )
            want += gain * left.sum() / n / math.log(2)
        r = got[name, "target"]
        assert r.estimate.value == pytest.approx(want, abs=1e-5)
        assert r.estimate.units == (clusters or n)
        assert r.statistic == "bits"


def test_values_against_ridge_and_normal_densities(rng, seen, setting):
    """Two columns, a narrow and a wide layer; the variance from scikit-learn's leave-one-out."""
    n = 75
    y = rng.normal(size=(n, 2)) * [1, 5] + 3
    layers = {
        "mid": np.hstack([rng.normal(size=(n, 2)), y[:, :1] + rng.normal(size=(n, 1))]),
        "wide": rng.normal(size=(n, 100)) + y[:, 1:],
    }
    y = y.astype(np.float32)
    fold = blocks.folds(n, margins.PROBE_FOLDS)
    got = read(layers, y, seen, setting, task="regression")
    y = y.astype(np.float64)
    for name, x in layers.items():
        x, want = np.float64(np.float32(x)), np.empty(n)
        for f in range(5):
            train, left = fold != f, fold == f
            z = StandardScaler().fit(x)
            ridge = Ridge(alpha=margins.PROBE_RIDGE * train.sum())
            out = cross_val_predict(ridge, z.transform(x[train]), y[train], cv=LeaveOneOut())
            sd = np.sqrt(((out - y[train]) ** 2).mean(0))
            mean = ridge.fit(z.transform(x[train]), y[train]).predict(z.transform(x[left]))
            count = train.sum()
            prior = norm(y[train].mean(0), y[train].std(0) * count / (count - 1))
            gain = norm(mean, sd).logpdf(y[left]) - prior.logpdf(y[left])
            want[left] = gain.sum(1) / math.log(2)
        r = got[name, "target"].estimate
        assert r.value == pytest.approx(want.mean(), abs=1e-6)
        centred = (want - want.mean()) / n * math.sqrt(n / (n - 1))
        np.testing.assert_allclose(r.influence, centred, atol=1e-7)


# -- known analytically ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_an_independent_layer_says_nothing(seen, setting, kind):
    """Out of fold nothing is gained by chance: never clearly above 0, a little below on average."""
    found = []
    for seed in range(12):
        g = np.random.default_rng(seed)
        y = g.integers(0, 3, size=300) if kind == "classes" else g.normal(size=300)
        layers = {"mid": g.normal(size=(300, 3)), "wide": g.normal(size=(300, 400))}
        task = "classification" if kind == "classes" else "regression"
        got = read(layers, y, seen, setting, task=task)
        found.append(got["mid", "target"].estimate.value)
        for r in got.values():
            assert r.estimate.value < 2.5 * error(r.estimate)
    assert -0.05 < np.mean(found) < 0.005


def test_a_layer_that_names_the_class_says_all(rng, seen, setting):
    n = 400
    y = rng.choice(4, size=n, p=[0.4, 0.3, 0.2, 0.1])
    share = np.bincount(y) / n
    entropy = -(share * np.log2(share)).sum()
    r = read(np.eye(4)[y], y, seen, setting)["last", "target"].estimate
    assert 0.9 * entropy < r.value < entropy
    # Two classes, one unit of -1 and 1: the probe says p = .966407 in every fold (the weight w of
    # log(1 + e^-w) + .01 w^2 / 2), so 1 - .049297 bits.
    y = np.empty(500, dtype=int)
    fold = blocks.folds(500, margins.PROBE_FOLDS)
    for f in range(5):
        y[fold == f] = np.arange(100) % 2
    r = read(2.0 * y[:, None] - 1, y, seen, setting)["last", "target"].estimate
    assert r.value == pytest.approx(1 - 0.049297, abs=2e-5)


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_a_noisy_copy_says_what_a_gaussian_channel_carries(rng, seen, setting, rho):
    """-log2(1 - rho^2) / 2 bits."""
    n = 2000
    y = rng.normal(size=n)
    x = rho * y + math.sqrt(1 - rho**2) * rng.normal(size=n)
    code = np.stack([x, rng.normal(size=n)], 1)
    r = read(code, y, seen, setting, task="regression")["last", "target"].estimate
    assert r.value == pytest.approx(-0.5 * math.log2(1 - rho**2), abs=3 * error(r))
    assert error(r) < 0.05


def test_more_is_more_and_values_that_are_there_exactly_stay_finite(rng, seen, setting):
    n = 300
    y = rng.normal(size=n)
    layers = {
        "none": rng.normal(size=(n, 2)),
        "some": np.stack([y + rng.normal(size=n), rng.normal(size=n)], 1),
        "all": np.stack([y, rng.normal(size=n)], 1),
    }
    got = read(layers, y, seen, setting, task="regression")
    none, some, all_ = (got[k, "target"].estimate.value for k in layers)
    assert none < 0.05 < some < 1 < all_ < 20


@pytest.mark.parametrize("kind", ["classes", "values"])
@pytest.mark.parametrize("rest", [0.0, 1e-9, 1e-6, 1e-4])
def test_a_unit_that_next_to_no_row_moves_decides_nothing(rng, seen, setting, kind, rest):
    """A ReLU unit that one row alone turns on, and the others hardly or not at all.

    Out of fold, at the scale of the training rows, that row would cost millions of bits.
    """
    n = 400
    s = rng.normal(size=n)
    y = (s > 0).astype(int) if kind == "classes" else s
    plain = rng.normal(size=(n, 6)) + s[:, None]
    rare = rest * np.abs(rng.normal(size=(n, 3)))
    rare[[3, 50, 211], range(3)] = 1.0
    layers = {"plain": plain, "both": np.hstack([plain, rare])}
    task = "classification" if kind == "classes" else "regression"
    got = read(layers, y, seen, setting, task=task)
    a, b = (got[k, "target"].estimate.value for k in layers)
    assert a > 0.4
    assert b == pytest.approx(a, abs=0.05)


# -- the variance of what is left out --------------------------------------------------------------


def test_a_probe_of_values_does_not_believe_its_own_rows(rng):
    """Wider than long it passes near every row that it has seen."""
    x, y = torch.as_tensor(rng.normal(size=(60, 300))), torch.as_tensor(rng.normal(size=(60, 1)))
    probe = fit_values(x, y)
    inside = float((probe.axes(x) @ probe.weights + probe.offset - y).square().mean())
    assert inside < 0.01 < 0.5 < float(probe.variance[0]) < 2


# -- what cannot be measured -----------------------------------------------------------------------


def test_what_cannot_be_told_says_why(rng, seen, setting):
    n = 120
    fold = blocks.folds(n, margins.PROBE_FOLDS)
    y = np.arange(n) % 2
    rare = y.copy()
    rare[np.flatnonzero(fold == 3)[:2]] = 2
    spike = np.where(np.arange(n) == np.flatnonzero(fold == 1)[0], 1.0, 0.0)
    bad = rng.normal(size=(n, 3))
    bad[5] = np.nan
    layers = {"bad": bad, "flat": np.zeros((n, 2)), "good": rng.normal(size=(n, 3)) + y[:, None]}
    concepts = {"rare": rare, "spike": spike, "one": np.zeros(n)}
    got = read(layers, y, seen, setting, concepts=concepts)
    assert got["good", "target"].estimate.value > 0.2
    assert "NaN or infinity" in got["bad", "target"].reason
    assert "no unit of layer flat varies" in got["flat", "target"].reason
    assert got["good", "rare"].reason == "fold 3 alone holds 1 of the values of rare"
    assert got["good", "spike"].reason == "a column of spike has one value only outside fold 1"
    assert "one value only" in got["good", "one"].reason
    for place, r in got.items():
        assert math.isnan(r.estimate.value) == (place != ("good", "target")) == bool(r.reason)
    few = read(rng.normal(size=(8, 2)), np.arange(8) % 2, seen, setting, cluster=np.arange(8) // 2)
    assert "fewer than 5 folds" in few["last", "target"].reason


def test_a_layer_whose_probe_cannot_be_fitted_is_named_and_costs_no_other(
    rng, seen, setting, monkeypatch
):
    y, other = rng.integers(0, 2, size=100), rng.integers(0, 3, size=100)
    layers = {"good": rng.normal(size=(100, 3)), "hard": rng.normal(size=(100, 9))}
    want = read(layers, y, seen, setting, concepts={"other": other})
    solve = predictive.solve

    def fails(problems, tolerance):
        hard = problems.rows.shape[1] == 9 and len(problems.onehot) == 3
        theta, solved = solve(problems, tolerance)
        return theta, solved and not hard

    monkeypatch.setattr(predictive, "solve", fails)
    got = read(layers, y, seen, setting, concepts={"other": other})
    bad = got.pop(("hard", "other"))
    assert bad.reason == "model: layer hard: a logistic probe did not converge"
    assert math.isnan(bad.estimate.value)
    assert len(got) == 3
    for place, r in got.items():
        assert (r.reason, r.estimate.value) == ("", want[place].estimate.value)


def test_it_is_read_only_when_asked_for():
    assert not ENTRY.default
    assert ENTRY.group is None
