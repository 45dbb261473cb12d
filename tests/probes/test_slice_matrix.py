"""Matrices of slices by brute force, and on networks that use one direction, or one each."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from ringtest import blocks, margins
from ringtest.measure import measures
from ringtest.probes.directions import cosines, direction
from ringtest.probes.linear import narrow
from ringtest.probes.slices import Slices

MATRIX, LOSS = measures["probe.slice_matrix"], measures["probe.slice_loss"]
TRANSFER = measures["probe.slice_transfer"]


def read(entry, layers, y, where, seen, setting, x=None, **more):
    layers = layers if isinstance(layers, dict) else {"last": layers}
    layers = {k: np.asarray(v, dtype=np.float32) for k, v in layers.items()}
    x = np.zeros((len(y), 2)) if x is None else x
    groups = None if where is None else {"site": where}
    at = setting(np.asarray(x, dtype=np.float32), y, groups=groups, **more)
    return {(r.statistic, r.layer, r.slice): r for r in entry.read(seen(layers), at)}


def error(estimate):
    return math.sqrt(float((estimate.influence**2).sum()))


def probe(x, y):
    return Ridge(alpha=margins.PROBE_RIDGE * len(x)).fit(x, y)


def one_scale(code, where):
    """As directions see a layer: units at a standard deviation of 1 within slices."""
    code = np.float64(np.float32(code))
    return code / np.sqrt(np.mean([code[where == s].var(0) for s in np.unique(where)], axis=0))


def whitened_cosines(parts, answers):
    """(k, k): whiten by the square root of the pooled covariance, then the mean over columns."""
    spread = sqrtm(np.mean([np.cov(p.T, bias=True) for p in parts], axis=0)).real
    found = []
    for p, a in zip(parts, answers, strict=True):
        model = probe(p, a)
        found.append(spread @ model.coef_.reshape(a.shape[1], -1).T)
    unit = np.stack([w / np.linalg.norm(w, axis=0) for w in found])  # (k, d, q)
    return np.einsum("adc,bdc->abc", unit, unit).mean(-1)


def sites(rng, n=450, classes=3):
    """Three slices of 200, 130 and 120 rows, a layer that they share in part."""
    where = rng.permutation(np.repeat(["a", "b", "c"], [n - 250, 130, 120]))
    y = rng.integers(0, classes, size=n)
    code = rng.normal(size=(n, 5)) * [1, 3, 0.2, 1, 1] + 4 * (where == "b")[:, None]
    code[:, 0] += y
    code[:, 1] += 3 * (y == 1) * (where != "c")
    return code, y, where


# -- by brute force --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_both_matrices_by_brute_force(rng, seen, setting, kind):
    code, y, where = sites(rng)
    if kind == "values":
        y = (np.stack([y + code[:, 2], code[:, 3] ** 2], 1)).astype(np.float32)
    task = "classification" if kind == "classes" else "regression"
    got = read(MATRIX, code, y, where, seen, setting, task=task)
    x = one_scale(code, where)
    answers = np.eye(3)[y] if kind == "classes" else y.astype(np.float64)
    rows = {s: np.flatnonzero(where == s) for s in "abc"}
    folds = {s: blocks.folds(len(r), margins.PROBE_FOLDS) for s, r in rows.items()}
    cosine = whitened_cosines([x[rows[s]] for s in "abc"], [answers[rows[s]] for s in "abc"])
    statistic = "accuracy" if kind == "classes" else "R^2"
    for i, a in enumerate("abc"):
        for j, b in enumerate("abc"):
            found = np.empty(answers[rows[b]].shape)
            for f in range(5):
                train = rows[a][folds[a] != f]
                left = folds[b] == f
                z = x / x[rows[a]].std(0)  # as the probe's own slice sees it
                found[left] = probe(z[train], answers[train]).predict(z[rows[b][left]])
            if kind == "classes":
                scores = (found.argmax(1) == y[rows[b]]).astype(float)
            else:
                wrong = ((found - answers[rows[b]]) ** 2).sum(1)
                scores = np.maximum(1 - wrong / answers.var(0).sum(), -1)
            r = got[statistic, "last", f"site: {a} -> {b}"]
            assert r.estimate.value == pytest.approx(scores.mean(), abs=1e-9)
            assert r.estimate.n == len(rows[b])
            assert error(r.estimate) == pytest.approx(
                scores.std() / math.sqrt(len(scores)), rel=0.01
            )
            if i < j:
                r = got["cosine of directions", "last", f"site: {a} -> {b}"]
                assert r.estimate.value == pytest.approx(cosine[i, j], abs=1e-8)
                assert r.estimate.n == len(rows[a]) + len(rows[b])
    # 9 scores, 3 cosines, 1 summary
    assert len(got) == 13
    mean = got["mean cosine of directions", "last", "site"].estimate
    assert mean.value == pytest.approx(cosine[np.triu_indices(3, 1)].mean(), abs=1e-8)


@pytest.mark.parametrize("clusters", [None, 50])
def test_the_error_of_a_cosine_is_a_jackknife_of_probes_fitted_anew(rng, seen, setting, clusters):
    code, y, where = sites(rng)
    units = None if clusters is None else np.arange(450) // 9
    got = read(MATRIX, code, y, where, seen, setting, cluster=units)
    group = blocks.folds(450, margins.JACKKNIFE_GROUPS, units)
    x, hot = one_scale(code, where), np.eye(3)[y]
    without = []
    for g in range(20):
        kept = [np.flatnonzero((where == s) & (group != g)) for s in "abc"]
        found = whitened_cosines([x[r] for r in kept], [hot[r] for r in kept])
        without.append(found[np.triu_indices(3, 1)])
    without = np.array(without)
    for k, name in enumerate(("a -> b", "a -> c", "b -> c")):
        e = got["cosine of directions", "last", f"site: {name}"].estimate
        assert e.units == 20
        assert error(e) == pytest.approx(math.sqrt(19) * without[:, k].std(), rel=1e-6)
    e = got["mean cosine of directions", "last", "site"].estimate
    assert error(e) == pytest.approx(math.sqrt(19) * without.mean(1).std(), rel=1e-6)


def test_loss_is_slice_transfer_at_every_layer_and_the_matrix_says_the_same(rng, seen, setting):
    code, y, where = sites(rng)
    layers = {"mid": rng.normal(size=(450, 3)), "last": code}
    loss = read(LOSS, layers, y, where, seen, setting)
    transfer = read(TRANSFER, layers, y, where, seen, setting)
    name = "accuracy lost across slices"
    last, headline = loss[name, "last", "site"].estimate, transfer[name, None, "site"].estimate
    assert last.value == headline.value
    np.testing.assert_array_equal(last.influence, headline.influence)
    assert last.n == headline.n
    matrix = read(MATRIX, layers, y, where, seen, setting)
    table = np.array(
        [
            [matrix["accuracy", "last", f"site: {a} -> {b}"].estimate.value for b in "abc"]
            for a in "abc"
        ]
    )
    own = np.diag(table)
    assert last.value == pytest.approx(np.mean(own - (table.sum(0) - own) / 2), abs=1e-12)
    assert set(loss) == {(name, k, "site") for k in layers}
    # Matrices of the last hidden layer alone: one more layer is one more summary.
    assert sum(k[1] == "mid" for k in matrix) == 1


@pytest.mark.parametrize("d", [40, 200])
def test_wide_layers_have_the_same_directions(rng, d):
    """Wider than a slice is long, the weights come from its rows; scikit-learn solves both."""
    x, y = rng.normal(size=(60, d)) * np.exp(rng.normal(size=d)), rng.normal(size=(60, 2))
    x[:, 3] = 0.1
    x = StandardScaler().fit_transform(x)
    model = probe(x, y)
    got = direction(torch.as_tensor(x), torch.as_tensor(y))
    np.testing.assert_allclose(got.T, model.coef_, atol=1e-9)
    # Rotated into their span: the same answers.
    turned = narrow(torch.as_tensor(x))
    got = turned @ direction(turned, torch.as_tensor(y))
    want = model.predict(x) - y.mean(0)
    np.testing.assert_allclose(got - got.mean(0), want, atol=1e-7)


# -- networks --------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    """Inputs (value in (-1, 1), slice 0 or 1) -> value; rows of ``gates`` say what a unit sees."""

    def __init__(self, units, head):
        super().__init__()
        weight, bias = zip(*units, strict=True)
        self.inside, self.head = torch.nn.Linear(2, len(units)), torch.nn.Linear(len(units), 1)
        with torch.no_grad():
            self.inside.weight.copy_(torch.tensor(weight))
            self.inside.bias.copy_(torch.tensor(bias))
            self.head.weight.copy_(torch.tensor([head]))
            self.head.bias.zero_()

    def hidden(self, x):
        return torch.relu(self.inside(x)).detach()


WHOLE = Net([((1.0, 0.0), 0.0), ((-1.0, 0.0), 0.0)], [1.0, -1.0])
# The same twice: the first two units are silent in slice 1, the others in slice 0.
SPLIT = Net(
    [((1.0, -9.0), 0.0), ((-1.0, -9.0), 0.0), ((1.0, 9.0), -9.0), ((-1.0, 9.0), -9.0)],
    [1.0, -1.0, 1.0, -1.0],
)


def values(rng, n=400):
    x = np.stack([rng.uniform(-1, 1, size=n), np.arange(n) % 2], 1).astype(np.float32)
    return torch.as_tensor(x)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_two_networks_that_answer_alike_and_differ_inside(rng, seen, setting, task):
    x = values(rng)
    torch.testing.assert_close(WHOLE.head(WHOLE.hidden(x)), SPLIT.head(SPLIT.hidden(x)))
    y = (x[:, 0] > 0).long().numpy() if task == "classification" else x[:, 0].numpy()
    where = x[:, 1].numpy().astype(int)
    one, each = (
        read(MATRIX, net.hidden(x), y, where, seen, setting, task=task) for net in (WHOLE, SPLIT)
    )
    statistic, chance = ("accuracy", 0.5) if task == "classification" else ("R^2", 0.0)
    for s in (0, 1):
        t = 1 - s
        assert one[statistic, "last", f"site: {s} -> {s}"].estimate.value > 0.9
        assert one[statistic, "last", f"site: {s} -> {t}"].estimate.value > 0.9
        assert each[statistic, "last", f"site: {s} -> {s}"].estimate.value > 0.9
        lent = each[statistic, "last", f"site: {s} -> {t}"].estimate.value
        assert lent < chance + 0.15
    cosine = ("cosine of directions", "last", "site: 0 -> 1")
    assert one[cosine].estimate.value > 0.99
    # What one slice reads, the other's probe has no weight on at all.
    assert each[cosine].estimate.value == pytest.approx(0, abs=1e-6)
    lost = [
        read(LOSS, net.hidden(x), y, where, seen, setting, task=task)[
            f"{statistic} lost across slices", "last", "site"
        ].estimate
        for net in (WHOLE, SPLIT)
    ]
    assert abs(lost[0].value) < 3 * error(lost[0]) + 0.01
    assert lost[1].value > 0.3 > 5 * error(lost[1])


def test_opposite_answers_on_one_direction_are_no_shared_probe(rng, seen, setting):
    x = values(rng)
    where = x[:, 1].numpy().astype(int)
    y = ((x[:, 0] > 0).numpy() ^ (where == 1)).astype(int)
    got = read(MATRIX, x[:, :1], y, where, seen, setting)
    cosine = got["cosine of directions", "last", "site: 0 -> 1"].estimate
    assert cosine.value == pytest.approx(-1, abs=1e-9)
    assert got["accuracy", "last", "site: 0 -> 1"].estimate.value < 0.1


def cosine(parts, answers):
    """Of the first answer in two slices of a layer."""
    rows = torch.arange(sum(map(len, parts))).split([len(p) for p in parts])
    x = Slices("site", ("a", "b"), rows, ()).narrow(torch.cat(parts))
    return float(cosines([x[r] for r in rows], answers)[0, 1, 0])


def test_where_slices_lie_is_no_direction(rng):
    """Half of the layer only says which slice it is; whitened on all rows, that would decide."""
    y = rng.normal(size=(400, 1))
    where = np.arange(400) % 2
    site = where[:, None] * 50.0 + 0.01 * rng.normal(size=(400, 1))
    x = np.hstack([y + 0.1 * rng.normal(size=(400, 1)), site])
    parts = [torch.as_tensor(x[where == s]) for s in (0, 1)]
    answers = [torch.as_tensor(y[where == s]) for s in (0, 1)]
    assert cosine(parts, answers) > 0.99


def test_whitened_cosines_do_not_see_how_a_layer_is_stretched(rng):
    """Directions that look alike in a layer of unequal units differ in what they read of it."""
    parts = [torch.as_tensor(rng.normal(size=(300, 3)) * [100, 1, 1]) for _ in range(2)]
    answers = [p[:, [k]] + 0.01 * p[:, [0]] for k, p in enumerate(parts, 1)]
    # Each answer is half its own unit and half the shared one: 1/2, whatever the scale of units.
    found = cosine(parts, answers)
    assert found == pytest.approx(0.5, abs=0.1)
    same = cosine([p * torch.tensor([1e-3, 9.0, 1]) for p in parts], answers)
    assert same == pytest.approx(found, abs=1e-9)


# -- where slices come from ------------------------------------------------------------------------


def test_clusters_of_the_inputs_stand_in_where_no_column_has_two_slices(rng, seen, setting):
    n = 500
    blob = np.arange(n) % 4
    x = 20 * np.eye(4)[blob] + rng.normal(size=(n, 4))
    y = rng.integers(0, 2, size=n)
    code = rng.normal(size=(n, 4))
    code[np.arange(n), blob % 2] += 4 * (2 * y - 1)
    got = read(MATRIX, code, y, None, seen, setting, x=x)
    assert ("mean cosine of directions", "last", "cluster") in got
    assert len(got) == 1 + 1 + 4  # two clusters: 500 rows are too few for more
    assert all(k[2].startswith("cluster") for k in got)
    again = read(MATRIX, code, y, None, seen, setting, x=x)
    assert [r.estimate.value for r in got.values()] == [r.estimate.value for r in again.values()]
    # A column that has but one slice is told of, and does not stand in the way.
    small = np.repeat(["big", "small"], [450, 50])
    both = read(LOSS, code, y, small, seen, setting, x=x)
    name = "accuracy lost across slices"
    assert both[name, "last", "site"].reason == (
        f"site has under two slices of at least {margins.MIN_N} rows"
    )
    assert math.isfinite(both[name, "last", "cluster"].estimate.value)
    # A column that has slices needs no clusters.
    assert len(read(LOSS, code, y, blob, seen, setting, x=x)) == 1


def test_more_rows_make_more_clusters_and_equal_rows_none(rng, seen, setting):
    n = 900
    x = 20 * np.eye(4)[np.arange(n) % 4] + rng.normal(size=(n, 4))
    y = rng.integers(0, 2, size=n)
    code = rng.normal(size=(n, 2)) + y[:, None]
    got = read(MATRIX, code, y, None, seen, setting, x=x)
    assert len(got) == 1 + 6 + 16
    (r,) = read(LOSS, code, y, None, seen, setting, x=np.zeros((n, 4))).values()
    assert math.isnan(r.estimate.value)
    assert "cluster has under two slices" in r.reason


def test_at_most_ten_slices_are_compared_and_readings_stay_few(rng, seen, setting):
    n = 1300
    where = np.arange(n) % 13
    y = rng.integers(0, 2, size=n)
    layers = {k: rng.normal(size=(n, 2)) + y[:, None] for k in ("one", "two", "last")}
    got = read(MATRIX, layers, y, where, seen, setting)
    assert len(got) == 3 + 45 + 100


# -- what cannot be measured -----------------------------------------------------------------------


def test_a_slice_with_one_answer_says_so(rng, seen, setting):
    """Its own probe would be right every time."""
    where = np.arange(360) % 3
    y = rng.integers(0, 2, size=360)
    y[where == 2] = 1
    code = rng.normal(size=(360, 3)) + y[:, None]
    got = read(MATRIX, code, y, where, seen, setting)
    why = "site 2: target has one value only"
    for (statistic, _, slice_), r in got.items():
        spoilt = slice_ == "site" or "2" in slice_
        assert math.isnan(r.estimate.value) == spoilt, (statistic, slice_)
        assert r.reason == (why if spoilt else "")
    (r,) = read(LOSS, code, y, where, seen, setting).values()
    assert math.isnan(r.estimate.value)
    assert r.reason == why


def test_slices_that_share_no_class_share_no_direction(rng, seen, setting):
    where = np.arange(400) % 2
    y = rng.integers(0, 2, size=400) + 2 * where
    got = read(MATRIX, np.eye(4)[y] + rng.normal(size=(400, 4)), y, where, seen, setting)
    r = got["cosine of directions", "last", "site: 0 -> 1"]
    assert math.isnan(r.estimate.value)
    assert r.reason == "site: 0 -> 1: no answer has a direction in both"
    assert math.isnan(got["mean cosine of directions", "last", "site"].estimate.value)
    # Scores there are: a probe that knows other classes only is never right.
    assert got["accuracy", "last", "site: 0 -> 1"].estimate.value == 0


def test_a_layer_that_is_silent_in_one_slice_has_no_direction_there(rng, seen, setting):
    where = np.arange(400) % 2
    y = rng.integers(0, 2, size=400)
    code = (rng.normal(size=(400, 3)) + y[:, None]) * (where == 0)[:, None]
    got = read(MATRIX, code, y, where, seen, setting)
    assert math.isnan(got["cosine of directions", "last", "site: 0 -> 1"].estimate.value)
    why = "site 1: no unit of layer last of model varies"
    assert got["mean cosine of directions", "last", "site"].reason == why
    for pair in ("0 -> 1", "1 -> 0", "1 -> 1"):
        assert got["accuracy", "last", f"site: {pair}"].reason == why
    assert got["accuracy", "last", "site: 0 -> 0"].estimate.value > 0.6
    (r,) = read(LOSS, code, y, where, seen, setting).values()
    assert (r.reason, r.estimate.units) == (why, 0)


@pytest.mark.parametrize("entry", [MATRIX, LOSS])
def test_a_layer_that_only_says_which_slice_it_is_says_so(rng, seen, setting, entry):
    where = np.arange(300) % 3
    y = rng.integers(0, 2, size=300)
    layers = {
        "names": rng.normal(size=(3, 4))[where],
        "good": rng.normal(size=(300, 3)) + y[:, None],
    }
    got = read(entry, layers, y, where, seen, setting)
    (named,) = [r for k, r in got.items() if k[1] == "names"]
    assert named.reason in (
        "layer names of model: no unit varies within any slice of site",
        "site 0: no unit of layer names of model varies",
    )
    assert math.isnan(named.estimate.value)
    assert all(math.isfinite(r.estimate.value) and not r.reason for r in got.values() if r != named)


@pytest.mark.parametrize("d", [6, 350, 700])
def test_rows_of_slices_that_are_too_small_have_no_say(rng, seen, setting, d):
    """Units that only they move would fill the span: their size drowns that of all others."""
    n, y = 400, rng.integers(0, 2, size=400)
    where = np.repeat(["a", "b", "c"], [175, 175, 50])
    code = rng.normal(size=(n, d)) + 1.0 * y[:, None]
    rare = 1e-5 * np.abs(rng.normal(size=(n, d)))
    rare[350:] = 1 + np.abs(rng.normal(size=(50, d)))
    far = np.hstack([code, rare])
    far[350:, :d] *= 1e3
    only = slice(0, 350)
    for entry in (LOSS, MATRIX):
        got = read(entry, far, y, where, seen, setting)
        want = read(entry, far[only], y[only], where[only], seen, setting)
        assert set(got) == set(want)
        for place, r in got.items():
            assert r.estimate.value == pytest.approx(want[place].estimate.value, abs=1e-9)
            assert r.estimate.n == want[place].estimate.n
    assert got["accuracy", "last", "site: a -> b"].estimate.value > 0.7


@pytest.mark.parametrize("entry", [MATRIX, LOSS])
def test_damage_is_told_by_layer(rng, seen, setting, entry):
    where = np.arange(300) % 2
    y = rng.integers(0, 2, size=300)
    bad = rng.normal(size=(300, 3))
    bad[7, 0] = np.nan
    good = rng.normal(size=(300, 3)) + y[:, None]
    layers = {"good": good, "bad": bad, "flat": np.ones((300, 3))}
    got = {k[1]: r for k, r in read(entry, layers, y, where, seen, setting).items()}
    assert math.isfinite(got["good"].estimate.value)
    assert "NaN or infinity" in got["bad"].reason
    assert "no unit of layer flat varies" in got["flat"].reason
    assert math.isnan(got["bad"].estimate.value)
    assert math.isnan(got["flat"].estimate.value)
    units = np.arange(300) % 2 * 2 + np.arange(300) // 150
    got = read(entry, good, y, where, seen, setting, cluster=units)
    (r,) = got.values() if len(got) == 1 else [got[k] for k in got if k[2] == "site"]
    assert math.isnan(r.estimate.value)
    assert r.reason == "a slice of site has under 5 independent clusters"


def test_they_are_read_only_when_asked_for(rng, setting):
    assert not MATRIX.default
    assert not LOSS.default
    assert (MATRIX.direction, LOSS.direction) == ("higher", "lower")
    at = setting(np.zeros((9, 2), dtype=np.float32), np.arange(9) % 2)
    assert MATRIX.applies(at.condition, at.data, at.task)
    at = setting(np.zeros((9, 2), dtype=np.float32), task="embedding")
    assert not MATRIX.applies(at.condition, at.data, at.task)
