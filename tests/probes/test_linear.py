"""Ridge probes against scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.preprocessing import StandardScaler

from ringtest import blocks, margins
from ringtest.measure import measures
from ringtest.probes.concepts import Concept
from ringtest.probes.layer_probe import side_by_side
from ringtest.probes.linear import cross_validated, fold_probes


class Probe(Ridge):
    """Ridge whose penalty is PROBE_RIDGE for each training row."""

    def fit(self, x, y):
        self.alpha = margins.PROBE_RIDGE * len(x)
        return super().fit(x, y)


def oracle(x, y, fold):
    """Standardised once, on all rows: how a unit is scaled is no answer to learn from."""
    x = StandardScaler().fit_transform(x)
    return cross_val_predict(Probe(), x, y, cv=PredefinedSplit(fold)).reshape(len(x), -1)


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
    """Wider than long, rows are rotated into their span, which must not whiten them."""
    x, y = layer(rng, 60, d)
    fold = blocks.folds(60, 5)
    got = cross_validated(torch.as_tensor(x), torch.as_tensor(y), torch.as_tensor(fold))
    np.testing.assert_allclose(got, oracle(x, y, fold), atol=1e-7)
    assert 1 - ((got.numpy() - y) ** 2)[:, 1].mean() / y[:, 1].var() > 0.6


def test_a_fitted_probe_is_scikit_learns(rng):
    x, y = layer(rng, 80, 6)
    # A fold of one row beside the 80: its probe sees the 80 alone, and the scale of all.
    fold = torch.cat([torch.zeros(80), torch.ones(1)]).long()
    more = [np.vstack([v, v[:1] + 5]) for v in (x, y)]
    scaler = StandardScaler().fit(more[0])
    want = Probe().fit(scaler.transform(x), y).predict(scaler.transform(x[:9] + 1))
    probe = fold_probes(*map(torch.as_tensor, more), fold)[1]
    np.testing.assert_allclose(probe(torch.as_tensor(x[:9] + 1)), want, atol=1e-8)


def test_constant_columns_weigh_nothing(rng):
    x, y = layer(rng, 70, 5)
    fold = torch.as_tensor(blocks.folds(70, 5))
    padded = np.hstack([x, np.full((70, 2), 0.1), np.zeros((70, 1))])
    a = cross_validated(torch.as_tensor(x), torch.as_tensor(y), fold)
    b = cross_validated(torch.as_tensor(padded), torch.as_tensor(y), fold)
    torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("rest", [0.0, 1e-9, 1e-5, 1e-2])
def test_a_unit_that_next_to_no_row_moves_decides_nothing(rng, rest):
    """A ReLU unit that one row alone turns on, and the others hardly or not at all.

    At the scale of rows that do not move it, that row would lie millions of standard deviations
    out, and be all that the mean of R^2 is made of.
    """
    x, y = layer(rng, 400, 6)
    fold = torch.as_tensor(blocks.folds(400, 5))
    rare = rest * np.abs(rng.normal(size=(400, 3)))
    rare[[3, 50, 211], range(3)] = 1.0
    plain = cross_validated(torch.as_tensor(x), torch.as_tensor(y), fold).numpy()
    both = cross_validated(torch.as_tensor(np.hstack([x, rare])), torch.as_tensor(y), fold).numpy()

    def explained(said):
        return 1 - ((said - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()

    assert explained(both) == pytest.approx(explained(plain), abs=0.05)


def test_what_is_constant_where_a_probe_is_fitted_weighs_nothing(rng):
    """Whatever its value, and however large it is elsewhere; in any part of a sum of products."""
    x, y = layer(rng, 1000, 200)
    fold = torch.as_tensor(blocks.folds(1000, 5))
    held = rng.normal(size=(1000, 30)) * np.exp(5 * rng.normal(size=30))
    still = np.where(fold[:, None] == 2, held, rng.uniform(0.1, 1e3, size=30))
    both = np.insert(x, np.arange(0, 180, 6), still, axis=1)
    dead = np.isin(np.arange(230), np.arange(0, 180, 6) + np.arange(30))
    probes = fold_probes(torch.as_tensor(both), torch.as_tensor(y), fold)
    said = torch.as_tensor(both[:, dead] - both[:, dead].mean(0)) @ probes[2].weights[dead]
    assert float(said.abs().max()) < 1e-9
    assert bool((probes[1].weights != 0).all())
    want = fold_probes(torch.as_tensor(x), torch.as_tensor(y), fold)[2]
    torch.testing.assert_close(probes[2].weights[~dead], want.weights, atol=1e-9, rtol=1e-9)


def test_units_that_move_little_beside_their_offset_are_read(rng):
    """Mean 1,000 and a standard deviation of .01, of which float32 keeps two digits."""
    x, y = layer(rng, 400, 6)
    x = (1000 + 0.01 * (x - x.mean(0)) / x.std(0)).astype(np.float32)
    fold = blocks.folds(400, 5)
    got = cross_validated(torch.as_tensor(x), torch.as_tensor(y), torch.as_tensor(fold))
    np.testing.assert_allclose(got, oracle(x.astype(np.float64), y, fold), atol=1e-7)
    assert 1 - ((got.numpy() - y) ** 2)[:, 1].mean() / y[:, 1].var() > 0.6


def test_layers_side_by_side_are_as_if_alone(rng):
    """With threads of their own, which torch has back afterwards, also where one fails."""
    y, fold = torch.as_tensor(rng.normal(size=(300, 2))), torch.as_tensor(blocks.folds(300, 5))
    xs = [torch.as_tensor(rng.normal(size=(300, d))) for d in (5, 150, 9, 64, 5, 200)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        want = [cross_validated(x, y, fold) for x in xs]
        torch.set_num_threads(3)
        for a, b in zip(side_by_side(lambda x: cross_validated(x, y, fold), xs), want, strict=True):
            assert torch.equal(a, b)
        assert side_by_side(lambda x: torch.get_num_threads(), xs) == [1] * 6
        with pytest.raises(ZeroDivisionError):
            side_by_side(lambda x: 1 // (x.shape[1] - 9), xs)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("entry", ["probe.decodability", "probe.selectivity", "probe.shuffled"])
def test_concepts_that_share_a_layer_are_as_if_alone(rng, seen, setting, entry):
    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    more = {"size": x[:, 1].astype(float), "one": np.zeros(200), "kind": rng.integers(0, 4, 200)}

    def read(named):
        found = measures[entry].read(seen(x), setting(x, y, concepts=named))
        return {r.concept: r for r in found}

    together = read(more)
    assert "one value only" in together["one"].reason
    for name in more:
        alone = read({name: more[name]})
        for concept in ("target", name):
            a, b = alone[concept].estimate, together[concept].estimate
            assert a.value == pytest.approx(b.value, abs=1e-12, nan_ok=True)
            np.testing.assert_allclose(a.influence, b.influence, atol=1e-12)


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
