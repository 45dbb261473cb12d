"""Probes of other kinds than ridge: means, few units, few directions, a small network."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize
from sklearn.cross_decomposition import PLSRegression
from sklearn.feature_selection import f_classif, r_regression
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from ringtest import blocks, margins
from ringtest.measure import measures
from ringtest.probes import k_sparse, low_rank, mean_difference
from ringtest.probes.concepts import Concept
from ringtest.probes.linear import cross_validated, fold_probes
from ringtest.probes.mlp_probe import ordered
from ringtest.probes.training_rows import scale
from ringtest.representations import standardised

RIDGE, MEANS, SPARSE, LOW, MLP = (
    measures[f"probe.{name}"]
    for name in ("decodability", "mean_difference", "k_sparse", "low_rank", "mlp")
)
KINDS = [pytest.param(m, id=m.id) for m in (MEANS, SPARSE, LOW, MLP)]


def value(entry, rows, at, seen, concept="target"):
    found = entry.read(seen(np.asarray(rows, dtype=np.float32)), at)
    (one,) = [r for r in found if r.concept == concept]
    return one.estimate.value


def by_hand(fit_predict, x, y, fold, whole=False):
    """Out-of-fold predictions of fit_predict(train, answers, test), scaled on training rows.

    Or on the whole: how a unit is scaled is no answer to learn from.
    """
    out = None
    for f in range(int(fold.max()) + 1):
        fit = fold != f
        scaler = StandardScaler().fit(x if whole else x[fit])
        got = np.asarray(fit_predict(scaler.transform(x[fit]), y[fit], scaler.transform(x[~fit])))
        out = np.zeros((len(x), *got.shape[1:]), dtype=got.dtype) if out is None else out
        out[~fit] = got
    return out


def unequal(rng, m, d):
    return rng.normal(size=(m, d)) @ rng.normal(size=(d, d)) * np.exp(rng.normal(size=d)) + 9


def test_ridge_answers_as_scikit_learns_classifier_does(rng):
    y = rng.integers(0, 6, size=400)
    x = unequal(rng, 400, 15) + y[:, None] / 2

    def fitted(a, b, c):
        return RidgeClassifier(alpha=margins.PROBE_RIDGE * len(a)).fit(a, b).predict(c)

    fold = blocks.folds(400, 5)
    columns = Concept.of("who", y).columns
    got = cross_validated(torch.as_tensor(x), columns, torch.as_tensor(fold)).argmax(1).numpy()
    want = by_hand(fitted, x, y, fold)
    assert 0.3 < (want == y).mean() < 0.98
    np.testing.assert_array_equal(got, want)


# -- means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5])
def test_nearest_class_means_are_scikit_learns(rng, seen, setting, classes):
    y = rng.integers(0, classes, size=200)
    x = (unequal(rng, 200, 6) + y[:, None]).astype(np.float32)
    at = setting(x, y)
    want = by_hand(
        lambda a, b, c: NearestCentroid().fit(a, b).predict(c),
        x.astype(float),
        y,
        blocks.folds(200, 5),
        whole=True,
    )
    assert value(MEANS, x, at, seen) == pytest.approx((want == y).mean(), abs=1e-12)
    assert 1 / classes < (want == y).mean() < 1


def test_two_classes_are_told_apart_halfway_between_their_means(rng):
    """The formula: side of the midpoint along the difference."""
    y = rng.integers(0, 2, size=150)
    x = unequal(rng, 150, 4) + y[:, None]

    def halfway(a, b, c):
        one, two = a[b == 0].mean(0), a[b == 1].mean(0)
        return (c - (one + two) / 2) @ (two - one)

    fold = blocks.folds(150, 5)
    want = by_hand(halfway, x, y, fold, whole=True)
    c = Concept.of("who", y)
    z = standardised(torch.as_tensor(x))
    got = mean_difference._nearest_mean(z, c.columns, torch.as_tensor(fold))
    np.testing.assert_allclose((got[:, 1] - got[:, 0]).numpy(), want, atol=1e-9)


@pytest.mark.parametrize("columns", [1, 3])
def test_values_are_read_along_their_covariance(rng, columns):
    """One component of partial least squares, of each column by itself."""
    x = unequal(rng, 120, 5)
    y = x[:, :columns] * [3.0, 1.0, 0.1][:columns] + rng.normal(size=(120, columns)) + 40
    fold = blocks.folds(120, 5)

    def pls(a, b, c):
        return np.stack(
            [
                PLSRegression(1, scale=False).fit(a, b[:, j]).predict(c).ravel()
                for j in range(columns)
            ],
            1,
        )

    z = standardised(torch.as_tensor(x))
    got = mean_difference._values(z, torch.as_tensor(y), torch.as_tensor(fold))
    np.testing.assert_allclose(got.numpy(), by_hand(pls, x, y, fold, whole=True), atol=1e-8)


@pytest.mark.parametrize("rest", [0.0, 1e-9, 1e-6, 1e-2])
def test_a_unit_that_next_to_no_row_moves_decides_nothing(rng, seen, setting, rest):
    """A ReLU unit that one row alone turns on, and the others hardly or not at all."""
    s = rng.normal(size=400)
    plain = rng.normal(size=(400, 6)) + s[:, None]
    rare = rest * np.abs(rng.normal(size=(400, 3)))
    rare[[3, 50, 211], range(3)] = 1.0
    at = setting(plain[:, :2].astype(np.float32), (s > 0).astype(int), concepts={"size": s})
    for concept in ("target", "size"):
        a, b = (value(MEANS, v, at, seen, concept) for v in (plain, np.hstack([plain, rare])))
        assert a > 0.6
        assert b == pytest.approx(a, abs=0.02)


def test_means_miss_what_correlated_units_hide(rng, seen, setting):
    """A code in the difference of two units that share much: ridge cancels what they share."""
    y = rng.integers(0, 2, size=600)
    shared = 5 * rng.normal(size=600)
    x = np.stack([shared + 0.5 * y, shared - 0.5 * y], 1) + 0.1 * rng.normal(size=(600, 2))
    at = setting(x.astype(np.float32), y)
    assert value(RIDGE, x, at, seen) > 0.95
    assert value(MEANS, x, at, seen) < 0.65
    plain = rng.normal(size=(600, 5)) + 2 * y[:, None]
    assert value(MEANS, plain, at, seen) > 0.97


def test_a_class_without_training_rows_is_never_the_answer(rng):
    fold = torch.as_tensor(blocks.folds(100, 5))
    y = rng.integers(0, 2, size=100)
    y[np.flatnonzero(fold.numpy() == 2)[:3]] = 2
    c = Concept.of("who", y)
    got = mean_difference._nearest_mean(torch.as_tensor(rng.normal(size=(100, 3))), c.columns, fold)
    assert bool((got[fold == 2][:, 2] == -torch.inf).all())
    assert bool(torch.isfinite(got[fold != 2]).all())


# -- few units -------------------------------------------------------------------------------------


def test_units_are_ranked_as_scikit_learn_ranks_them(rng):
    fold = blocks.folds(150, 5)
    x = unequal(rng, 150, 30)
    who = Concept.of("who", rng.integers(0, 4, size=150))
    size = Concept.of("size", x[:, 3] + 9 * rng.normal(size=150))
    z = standardised(torch.as_tensor(x))
    at = scale(z, torch.as_tensor(fold))
    for f in range(5):
        fit = fold != f
        ratio = f_classif(x[fit], who.classes.numpy()[fit])[0]
        got = k_sparse.explained(z, who, at)[f].numpy()
        # F = between / (1 - between) times the degrees of freedom
        n = fit.sum()
        np.testing.assert_allclose(got / (1 - got) * (n - 4) / 3, ratio, rtol=1e-9)
        r = r_regression(x[fit], size.columns[fit, 0].numpy())
        np.testing.assert_allclose(k_sparse.explained(z, size, at)[f], r**2, atol=1e-12)


def test_a_sparse_probe_is_ridge_on_the_chosen_units(rng, seen, setting):
    x = unequal(rng, 160, 40).astype(np.float32)
    y = (x[:, 7] > np.median(x[:, 7])).astype(int)
    at = setting(x, y)
    fold = blocks.folds(160, 5)

    def chosen(a, b, c):
        best = np.argsort(-f_classif(a, b)[0])[: k_sparse.UNITS]
        a, c = a[:, best], c[:, best]
        hot = np.eye(2)[b]
        w = np.linalg.solve(
            a.T @ a + margins.PROBE_RIDGE * len(a) * np.eye(len(best)), a.T @ (hot - hot.mean(0))
        )
        return c @ w + hot.mean(0)

    want = by_hand(chosen, x.astype(float), y, fold).argmax(1)
    assert value(SPARSE, x, at, seen) == pytest.approx((want == y).mean(), abs=1e-12)


def test_units_are_never_chosen_by_the_rows_they_are_scored_on(rng, seen, setting):
    """Noise in very many units: chosen on all rows, the best eight would seem to know."""
    got, leaked = [], []
    for _ in range(4):
        x = rng.normal(size=(120, 2_000)).astype(np.float32)
        y = np.arange(120) % 2
        got.append(value(SPARSE, x, setting(x[:, :2], y), seen))
        best = np.argsort(-f_classif(x, y)[0])[: k_sparse.UNITS]
        leaked.append(value(RIDGE, x[:, best], setting(x[:, :2], y), seen))
    assert np.mean(leaked) > 0.7
    assert np.mean(got) < 0.58


def test_a_code_in_few_units_is_found_and_a_spread_one_is_not(rng, seen, setting):
    y = rng.integers(0, 2, size=500)
    x = rng.normal(size=(500, 100))
    x[:, 17] += 4 * y
    at = setting(x[:, :3].astype(np.float32), y)
    spin = np.linalg.qr(rng.normal(size=(100, 100)))[0]
    written, spread = value(SPARSE, x, at, seen), value(SPARSE, x @ spin, at, seen)
    assert written > 0.95
    assert spread < written - 0.07
    assert abs(value(RIDGE, x, at, seen) - value(RIDGE, x @ spin, at, seen)) < 0.03


def test_a_narrow_layer_gives_all_its_units(rng, seen, setting):
    x = rng.normal(size=(100, 5)).astype(np.float32)
    padded = np.hstack([x, np.full((100, 20), 0.1, dtype=np.float32)])
    at = setting(x, (x[:, 0] > 0).astype(int))
    assert value(SPARSE, padded, at, seen) == value(RIDGE, x, at, seen)


def test_no_live_unit_in_a_fold_says_so(rng, seen, setting):
    """Only one row differs: without its fold nothing varies."""
    x = np.zeros((60, 3), dtype=np.float32)
    x[4] = 1
    found = SPARSE.read(seen({"spike": x, "last": rng.normal(size=(60, 3))}), setting(x))
    got = {r.layer: r for r in found}
    assert math.isnan(got["spike"].estimate.value)
    assert "no unit of layer spike varies on the training rows" in got["spike"].reason
    assert math.isfinite(got["last"].estimate.value)


# -- few directions --------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_no_weights_of_that_rank_fit_better(rng, rank):
    """By brute force over the factors of the weights, from several starts."""
    x = unequal(rng, 60, 5)
    y = x @ rng.normal(size=(5, 4)) / 5 + rng.normal(size=(60, 4))
    # A fold of one row beside the 60: its probe sees the 60 alone.
    fold = torch.cat([torch.zeros(60), torch.ones(1)]).long()
    more = [torch.cat([torch.as_tensor(v), torch.as_tensor(v[:1])]) for v in (x, y)]
    probe = fold_probes(*more, fold, rank=rank)[1]
    # Centred as the probe's own rows are, at the scale of all.
    spread = more[0].numpy().std(0)
    z, t = (x - x.mean(0)) / spread, y - y.mean(0)

    def objective(w):
        return ((t - z @ w) ** 2).sum() + margins.PROBE_RIDGE * 60 * (w**2).sum()

    def factors(v):
        a, b = v[: 5 * rank].reshape(5, rank), v[5 * rank :].reshape(rank, 4)
        w = a @ b
        slope = -2 * z.T @ (t - z @ w) + 2 * margins.PROBE_RIDGE * 60 * w
        return objective(w), np.concatenate([(slope @ b.T).ravel(), (a.T @ slope).ravel()])

    starts = rng.normal(size=(8, 9 * rank))
    best = min(
        optimize.minimize(factors, s, jac=True, method="BFGS", options={"gtol": 1e-9}).fun
        for s in starts
    )
    w = probe.weights.numpy() * spread[:, None]
    assert np.linalg.matrix_rank(w, tol=1e-8) == rank
    assert objective(w) == pytest.approx(best, rel=1e-9)


def test_a_rank_that_takes_nothing_away_changes_nothing(rng, seen, setting):
    x = rng.normal(size=(90, 6))
    y = torch.as_tensor(rng.normal(size=(90, 2)))
    fold = torch.as_tensor(blocks.folds(90, 5))
    full = cross_validated(torch.as_tensor(x), y, fold)
    for rank in (2, 3, 50):
        torch.testing.assert_close(cross_validated(torch.as_tensor(x), y, fold, rank), full)
    # The columns of three classes span two directions about their mean.
    who = rng.integers(0, 3, size=90)
    at = setting(x.astype(np.float32), who)
    assert low_rank.RANK == 2
    assert value(LOW, x, at, seen) == value(RIDGE, x, at, seen)


def test_eight_classes_in_a_plane_and_in_all_directions(rng, seen, setting):
    y = rng.integers(0, 8, size=800)
    angle = 2 * np.pi * y / 8
    plane = 4 * np.stack([np.cos(angle), np.sin(angle)], 1) @ rng.normal(size=(2, 12))
    corners = 6 * np.eye(8)[y] @ np.linalg.qr(rng.normal(size=(12, 12)))[0][:8]
    noise = 0.5 * rng.normal(size=(800, 12))
    at = setting(noise[:, :2].astype(np.float32), y)
    flat, full = plane + noise, corners + noise
    assert value(LOW, flat, at, seen) > value(RIDGE, flat, at, seen) - 0.02
    assert value(RIDGE, full, at, seen) > 0.95
    assert value(LOW, full, at, seen) < 0.75


# -- a small network -------------------------------------------------------------------------------


def test_a_network_finds_what_no_line_can_read(rng, seen, setting):
    x = rng.normal(size=(400, 4)).astype(np.float32)
    y = ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(int)
    at = setting(x, y, concepts={"bend": (x[:, 2] ** 2).astype(float)})
    assert value(RIDGE, x, at, seen) < 0.6
    assert value(MLP, x, at, seen) > 0.85
    assert value(RIDGE, x, at, seen, "bend") < 0.1
    assert value(MLP, x, at, seen, "bend") > 0.7


def test_a_network_is_about_as_good_as_a_line_where_that_is_all(rng, seen, setting):
    x = rng.normal(size=(600, 10)).astype(np.float32)
    s = x[:, 0] + x[:, 1] + rng.normal(size=600)
    at = setting(x, (s > 0).astype(int), concepts={"size": s.astype(float)})
    assert value(MLP, x, at, seen) == pytest.approx(value(RIDGE, x, at, seen), abs=0.04)
    line = value(RIDGE, x, at, seen, "size")
    assert value(MLP, x, at, seen, "size") == pytest.approx(line, abs=0.08)


def test_a_network_that_memorises_knows_nothing_of_other_rows(rng, seen, setting):
    x = rng.normal(size=(300, 50)).astype(np.float32)
    at = setting(x, rng.integers(0, 2, size=300), concepts={"noise": rng.normal(size=300)})
    assert abs(value(MLP, x, at, seen) - 0.5) < 0.1
    assert -0.6 < value(MLP, x, at, seen, "noise") < 0.05


def test_values_far_from_0_are_read_as_well_as_others(rng, seen, setting):
    x = rng.normal(size=(300, 4)).astype(np.float32)
    size = x[:, 0] + 0.3 * rng.normal(size=300)
    at = setting(x, concepts={"size": size, "far": size + 1e9})
    near, far = (value(MLP, x, at, seen, k) for k in ("size", "far"))
    assert near > 0.75
    assert far == pytest.approx(near, abs=0.05)


def test_networks_do_not_depend_on_their_neighbours(rng, seen, setting):
    """A layer reads the same alone and among others, of its own width or not."""
    x = rng.normal(size=(150, 6)).astype(np.float32)
    at = setting(x, (x[:, 0] * x[:, 1] > 0).astype(int))
    other, thin = rng.normal(size=(150, 6)), rng.normal(size=(150, 3))
    found = MLP.read(seen({"a": other, "b": x, "c": thin}), at)
    got = {r.layer: r.estimate.value for r in found}["b"]
    assert got == pytest.approx(value(MLP, x, at, seen), abs=0.02)


def test_another_order_or_unit_of_the_features_gives_the_same_numbers(rng):
    x = torch.as_tensor(rng.normal(size=(80, 7)) * 3 + 5)
    want = ordered(x, 0)
    changed = torch.cat([x[:, torch.randperm(7)] * 0.3, torch.full((80, 2), 0.1)], 1)
    assert torch.equal(ordered(changed, 0), want)
    # and it is still the layer: the same columns, standardised
    z = standardised(x).float()
    gaps = (want[:, :, None] - z[:, None, :]).abs().amax(0)
    assert float(gaps.min(1).values.max()) < 1e-4
    assert sorted(gaps.argmin(1).tolist()) == list(range(7))


# -- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", KINDS)
def test_two_clusters_a_fold_or_few_rows(entry, rng, seen, setting):
    """Few clusters are read whole; fewer than folds are not read at all."""
    x = rng.normal(size=(60, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    five = entry.read(seen(x), setting(x, y, cluster=np.arange(60) % 5))[0]
    assert math.isfinite(five.estimate.value)
    assert five.estimate.units == 5
    four = entry.read(seen(x), setting(x, y, cluster=np.arange(60) % 4))[0]
    assert math.isnan(four.estimate.value)
    assert "fewer than 5 folds" in four.reason


@pytest.mark.parametrize("entry", KINDS)
def test_wide_layers_and_values_are_read(entry, rng, seen, setting):
    x = rng.normal(size=(50, 120)).astype(np.float32)
    x[:, :40] += np.linspace(-3, 3, 50, dtype=np.float32)[:, None]
    size = np.linspace(-1, 1, 50) + 0.1 * rng.normal(size=50)
    at = setting(x[:, :2], np.arange(50) % 2, concepts={"size": size})
    assert value(entry, x, at, seen, "size") > 0.6
    assert not entry.default
