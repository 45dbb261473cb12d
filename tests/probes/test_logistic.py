"""Logistic probes against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ringtest import blocks
from ringtest.measure import NotMeasurable, measures
from ringtest.probes import logistic
from ringtest.probes.concepts import Concept

ENTRY = measures["probe.logistic"]


def oracle(x, y, fold, scale=True):
    """(m, K) scikit-learn's log-odds or scores, each row from the fit without its fold."""
    count = int(y.max()) + 1
    out = np.full((len(x), count), -np.inf)
    for f in range(int(fold.max()) + 1):
        fit = fold != f
        scaler = StandardScaler(with_mean=scale, with_std=scale).fit(x[fit])
        c = 1 / (logistic.PENALTY * fit.sum())
        model = LogisticRegression(C=c, tol=1e-9, max_iter=20_000)
        model.fit(scaler.transform(x[fit]), y[fit])
        got = model.decision_function(scaler.transform(x[~fit]))
        got = np.stack([-got / 2, got / 2], 1) if got.ndim == 1 else got
        out[np.ix_(~fit, model.classes_)] = got
    return out


def layer(rng, m, d, classes, kind="plain"):
    y = rng.integers(0, classes, size=m)
    means = rng.normal(size=(classes, d)) * (0.07 if classes == 2 else 0.35)
    x = means[y] + rng.normal(size=(m, d)) @ rng.normal(size=(d, d)) / np.sqrt(d)
    if kind == "offset":
        x = x * np.exp(3 * rng.normal(size=d)) + 1e3 * rng.normal(size=d)
    if kind == "collinear":
        x = np.hstack([x, x[:, :3] @ rng.normal(size=(3, 4)), x[:, :2]])
    if kind == "constant":
        x = np.hstack([x, np.full((m, 2), 0.1), np.zeros((m, 1))])
    return x, y


def ours(xs, y, fold):
    codes, fold = torch.as_tensor(y), torch.as_tensor(fold)
    found = logistic.logits([torch.as_tensor(x) for x in xs], codes, int(y.max()) + 1, fold)
    return [z.numpy() for z in found]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("kind", ["plain", "offset", "collinear", "constant"])
def test_it_answers_as_scikit_learn_does(rng, classes, kind):
    x, y = layer(rng, 600, 20, classes, kind)
    fold = blocks.folds(600, 5)
    (got,) = ours([x], y, fold)
    want = oracle(x, y, fold)
    assert 0.25 < (want.argmax(1) == y).mean() < 0.98  # neither noise nor nothing to decide
    assert (got.argmax(1) == want.argmax(1)).mean() >= 0.995
    assert abs((got.argmax(1) == y).mean() - (want.argmax(1) == y).mean()) <= 0.002
    # Not only who is largest: the scores, up to what all classes of a row share.
    got, want = (z - z.mean(1, keepdims=True) for z in (got, want))
    np.testing.assert_allclose(got, want, atol=5e-3)


def test_layers_of_any_width_are_fitted_as_if_alone(rng):
    y = rng.integers(0, 3, size=200)
    xs = [rng.normal(size=(200, d)) + 0.5 * y[:, None] for d in (5, 9, 5, 1, 9, 5)]
    fold = blocks.folds(200, 5)
    for x, got in zip(xs, ours(xs, y, fold), strict=True):
        np.testing.assert_array_equal(ours([x], y, fold)[0], got)


@pytest.mark.parametrize("d", [40, 41, 90])
def test_layers_wider_than_the_sample(rng, d):
    """There features are standardised once, on all rows, and rotated into their own span."""
    x, y = layer(rng, 40, d, 3)
    fold = blocks.folds(40, 5)
    (got,) = ours([x], y, fold)
    wide = d > 40
    want = oracle(StandardScaler().fit_transform(x) if wide else x, y, fold, scale=not wide)
    got, want = (z - z.mean(1, keepdims=True) for z in (got, want))
    np.testing.assert_array_equal(got.argmax(1), want.argmax(1))
    # Fewer rows than features: the penalty alone holds the weights, where gradients are flat.
    np.testing.assert_allclose(got, want, atol=0.03)


def test_the_objective_is_at_its_lowest(rng):
    """By scipy, from the formula, for the first fold: it shares no code with either."""
    x, y = layer(rng, 120, 4, 3)
    fold = blocks.folds(120, 5)
    fit = fold != 0
    z = (x - x[fit].mean(0)) / x[fit].std(0)

    def objective(theta):
        w, b = theta[:12].reshape(4, 3), theta[12:]
        s = z[fit] @ w + b
        loss = np.log(np.exp(s).sum(1)) - s[np.arange(len(s)), y[fit]]
        return loss.mean() + logistic.PENALTY / 2 * (w**2).sum()

    best = optimize.minimize(objective, np.zeros(15), method="BFGS", options={"gtol": 1e-8}).x
    want = (z @ best[:12].reshape(4, 3) + best[12:])[~fit]
    got = ours([x], y, fold)[0][~fit]
    got, want = (s - s.mean(1, keepdims=True) for s in (got, want))
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_rare_classes_and_classes_without_training_rows(rng):
    """All rows of class 3 lie in one fold, whose probe cannot know it; class 2 is rare."""
    fold = blocks.folds(300, 5)
    y = rng.choice(3, size=300, p=[0.69, 0.29, 0.02])
    y[:5] = 2
    y[np.flatnonzero(fold == 1)[:6]] = 3
    x = rng.normal(size=(300, 6)) + y[:, None]
    (got,) = ours([x], y, fold)
    want = oracle(x, y, fold)
    np.testing.assert_array_equal(got.argmax(1), want.argmax(1))
    assert (got[fold == 1].argmax(1) != 3).all()
    known = np.isfinite(want)
    assert (got[~known] < -1e29).all()


def test_separable_classes_have_a_finite_answer(rng):
    y = np.arange(100) % 2
    x = rng.normal(size=(100, 3)) + 50 * y[:, None]
    fold = blocks.folds(100, 5)
    (got,) = ours([x], y, fold)
    np.testing.assert_allclose(got[:, 1] - got[:, 0], np.diff(oracle(x, y, fold))[:, 0], rtol=1e-3)


def test_an_unsolved_probe_is_not_measured(rng, monkeypatch):
    x, y = layer(rng, 100, 5, 3)
    monkeypatch.setattr("ringtest.probes.softmax.STEPS", 1)
    with pytest.raises(NotMeasurable, match="does not converge"):
        ours([x], y, blocks.folds(100, 5))


def test_a_layer_whose_probe_is_not_solved_is_named_and_costs_no_other(
    rng, seen, setting, monkeypatch
):
    y = rng.integers(0, 2, size=100)
    layers = {"good": rng.normal(size=(100, 3)), "hard": rng.normal(size=(100, 9))}
    want = {r.layer: r for r in ENTRY.read(seen(layers), setting(layers["good"], y))}
    solve = logistic.solve

    def fails(problems, tolerance):
        theta, solved = solve(problems, tolerance)
        return theta, solved and problems.rows.shape[1] < 9

    monkeypatch.setattr(logistic, "solve", fails)
    got = {r.layer: r for r in ENTRY.read(seen(layers), setting(layers["good"], y))}
    assert got["good"].estimate.value == want["good"].estimate.value
    assert got["hard"].reason == "model: layer hard: a logistic probe does not converge"
    assert math.isnan(got["hard"].estimate.value)


def test_readings_of_what_is_there_and_what_is_not(rng, seen, setting):
    x = rng.normal(size=(300, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    bands = np.digitize(x[:, 1], [-0.8, 0.8])
    at = setting(x, y, concepts={"band": bands, "size": x[:, 1].astype(float)})
    found = ENTRY.read(seen({"mid": x[:, 2:], "last": x}), at)
    got = {(r.layer, r.concept): r for r in found}
    assert got["last", "target"].estimate.value > 0.93
    assert abs(got["mid", "target"].estimate.value - 0.5) < 0.12
    assert got["last", "band"].estimate.value > 0.9
    assert got["mid", "band"].estimate.value < 0.65
    assert math.isnan(got["last", "size"].estimate.value)
    assert got["last", "size"].reason == "size has values, not classes"


def test_bad_rows_say_so(rng, seen, setting):
    x = rng.normal(size=(60, 3)).astype(np.float32)
    broken = x.copy()
    broken[5, 1] = np.nan
    layers = {"broken": broken, "still": np.ones_like(x), "last": x}
    got = {r.layer: r for r in ENTRY.read(seen(layers), setting(x))}
    assert "layer broken holds NaN" in got["broken"].reason
    assert "no unit of layer still varies" in got["still"].reason
    assert math.isfinite(got["last"].estimate.value)
    (one,) = ENTRY.read(seen(x), setting(x, np.zeros(60, dtype=int)))
    assert "one value only" in one.reason


def test_scores_count_what_is_right():
    """A class that was never trained on is never the answer."""
    c = Concept.of("who", np.array([0, 1, 2]))
    rows = torch.tensor([[1.0, 0, -1e30], [0, 1, -1e30], [0, 1, -1e30]], dtype=torch.float64)
    assert c.score(rows).tolist() == [1, 1, 0]
